//! What of Jinja the spec language has.
//!
//! One walk over the tree that minijinja parsed. It refuses what is not listed here, with the nearest name,
//! notes every name that is used, and writes the expression out again with comparisons as calls of
//! [`super::operators`]: minijinja itself says that missing equals missing, which in a condition that guards
//! a request would let the request in that lacks what it is asked for. `~` and `*` are calls for the same
//! reason: one would hide what is missing, the other has no bound.

use std::fmt::Write as _;
use std::ops::Range;

use minijinja::Value;
use minijinja::machinery::ast;
use serde_json::Value as Json;

use super::filters;
use super::name::Name;
use super::syntax_error::SyntaxError;
use crate::spec::nearest::{Meant, meant};

/// What `is` may be followed by.
const TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "true",
    "false",
    "boolean",
    "string",
    "number",
    "integer",
    "sequence",
    "mapping",
    "startingwith",
    "endingwith",
];
/// What may be called.
pub(super) const FUNCTIONS: &[&str] = &["uuid", "random"];
/// Names whose values are ours: a comparison with one that is missing is an error.
pub(super) const OWN: &[&str] = &["settings", "secrets", "vars", "instance", "receiver", "state", "auth"];
/// Names whose values a vendor sends: any part may be missing.
pub(super) const FOREIGN: &[&str] =
    &["response", "item", "current", "request", "batch", "desired", "signature", "timestamp", "claims"];

/// A constant of an expression, and what it stands beside.
#[derive(Debug, Clone, PartialEq)]
pub struct Literal {
    /// What gives it its sense.
    pub beside: Beside,
    /// The constant.
    pub value: Json,
    /// Where it stands in the text.
    pub bytes: Range<usize>,
}

/// What a constant stands beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// The name that it is compared with.
    Name(String),
    /// The filter whose first argument it is.
    Filter(String),
}

/// Whether a name stands for something of the language itself.
pub(super) fn is_global(name: &str) -> bool {
    FUNCTIONS.contains(&name) || name == "omit"
}

/// The path of an expression that is a name followed by fixed keys, and nothing else.
pub(super) fn fixed_path(expr: &ast::Expr) -> Option<Name> {
    match expr {
        ast::Expr::Var(var) => Some(Name(vec![var.id.to_owned()])),
        ast::Expr::GetAttr(get) => fixed_path(&get.expr).map(|mut name| {
            name.0.push(get.name.to_owned());
            name
        }),
        ast::Expr::GetItem(get) => {
            let key = match &get.subscript_expr {
                ast::Expr::Const(key) if key.value.as_str().is_some() || key.value.is_integer() => {
                    key.value.to_string()
                }
                _ => return None,
            };
            fixed_path(&get.expr).map(|mut name| {
                name.0.push(key);
                name
            })
        }
        _ => None,
    }
}

/// Writes a checked expression out again, every part in parentheses.
pub(super) struct Writer<'a> {
    pub(super) source: &'a str,
    pub(super) out: String,
    pub(super) names: Vec<Name>,
    /// Constants whose sense depends on what they stand beside.
    pub(super) literals: Vec<Literal>,
    /// What `set` and `for` have named so far.
    pub(super) locals: Vec<String>,
}

pub(super) type Written = Result<(), SyntaxError>;

impl<'a> Writer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, out: String::new(), names: Vec::new(), literals: Vec::new(), locals: Vec::new() }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    pub(super) fn refuse(&self, expr: &ast::Expr, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.source, expr.span().start_offset as usize, message)
    }

    fn note(&mut self, name: Name) {
        if !self.locals.iter().any(|local| local == name.root()) && !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    pub(super) fn expression(&mut self, expr: &ast::Expr) -> Written {
        match expr {
            ast::Expr::Const(constant) => self.constant(expr, &constant.value),
            ast::Expr::Var(_) | ast::Expr::GetAttr(_) | ast::Expr::GetItem(_) => self.lookup(expr),
            ast::Expr::UnaryOp(unary) => {
                self.push(match unary.op {
                    ast::UnaryOpKind::Not => "(not ",
                    ast::UnaryOpKind::Neg => "(-",
                });
                match unary.op {
                    ast::UnaryOpKind::Not => self.expression(&unary.expr)?,
                    ast::UnaryOpKind::Neg => self.number(&unary.expr)?,
                }
                self.push(")");
                Ok(())
            }
            ast::Expr::BinOp(binary) => self.binary(binary),
            ast::Expr::Compare(compare) => self.chain(compare),
            ast::Expr::IfExpr(choice) => {
                self.push("(");
                self.expression(&choice.true_expr)?;
                self.push(" if ");
                self.expression(&choice.test_expr)?;
                if let Some(otherwise) = &choice.false_expr {
                    self.push(" else ");
                    self.expression(otherwise)?;
                }
                self.push(")");
                Ok(())
            }
            ast::Expr::Filter(filter) => self.filter(expr, filter),
            ast::Expr::Test(test) => {
                self.listed(expr, "test", test.name, TESTS)?;
                self.push("(");
                match test.name {
                    "number" | "integer" => self.number(&test.expr)?,
                    _ => self.expression(&test.expr)?,
                }
                self.push(" is ");
                self.push(test.name);
                self.arguments(expr, &test.args)?;
                self.push(")");
                Ok(())
            }
            ast::Expr::Call(call) => self.call(expr, call),
            ast::Expr::List(list) => self.sequence(&list.items),
            ast::Expr::Tuple(tuple) => self.sequence(&tuple.items),
            ast::Expr::Map(map) => {
                self.push("{");
                for (key, value) in map.keys.iter().zip(&map.values) {
                    self.expression(key)?;
                    self.push(": ");
                    self.expression(value)?;
                    self.push(", ");
                }
                self.push("}");
                Ok(())
            }
            ast::Expr::Slice(_) => Err(self.refuse(expr, "slices are no part of the language")),
        }
    }

    fn constant(&mut self, expr: &ast::Expr, value: &Value) -> Written {
        let written = serde_json::to_string(value).ok().filter(|text| {
            // A number too large for a float is written as null by JSON.
            value.is_none() || text != "null"
        });
        let Some(written) = written else {
            return Err(self.refuse(expr, "this value cannot be used"));
        };
        self.push(if value.is_none() { "none" } else { &written });
        Ok(())
    }

    /// A name and the keys after it. A path that is fixed is noted whole; of another, what it begins with.
    fn lookup(&mut self, expr: &ast::Expr) -> Written {
        if let Some(name) = fixed_path(expr) {
            self.note(name);
        }
        match expr {
            ast::Expr::Var(var) if var.id.starts_with("__") => {
                Err(self.refuse(expr, format!("`{}` is no name", var.id)))
            }
            ast::Expr::Var(var) => {
                self.push(var.id);
                Ok(())
            }
            ast::Expr::GetAttr(get) => {
                self.base(expr, &get.expr)?;
                self.push(".");
                self.push(get.name);
                Ok(())
            }
            ast::Expr::GetItem(get) => {
                self.base(expr, &get.expr)?;
                self.push("[");
                self.expression(&get.subscript_expr)?;
                self.push("]");
                Ok(())
            }
            other => self.expression(other),
        }
    }

    /// What a key is taken of.
    fn base(&mut self, whole: &ast::Expr, base: &ast::Expr) -> Written {
        let noted = self.names.len();
        self.push("(");
        self.expression(base)?;
        self.push(")");
        if fixed_path(whole).is_some() {
            // The whole path is noted already, and says more than its beginnings.
            self.names.truncate(noted);
        }
        Ok(())
    }

    fn binary(&mut self, binary: &ast::BinOp) -> Written {
        use ast::BinOpKind as Op;
        let operator = match binary.op {
            Op::Eq => return self.compared("__eq", &binary.left, &binary.right),
            Op::Ne => return self.compared("__ne", &binary.left, &binary.right),
            Op::Lt => return self.compared("__lt", &binary.left, &binary.right),
            Op::Lte => return self.compared("__le", &binary.left, &binary.right),
            Op::Gt => return self.compared("__gt", &binary.left, &binary.right),
            Op::Gte => return self.compared("__ge", &binary.left, &binary.right),
            Op::In => return self.compared("__in", &binary.left, &binary.right),
            Op::Concat => return self.compared("__join", &binary.left, &binary.right),
            Op::Mul => return self.compared("__times", &binary.left, &binary.right),
            Op::Pow => return Err(self.refuse(&binary.right, "`**` is no part of the language")),
            Op::ScAnd => " and ",
            Op::ScOr => " or ",
            Op::Add => " + ",
            Op::Sub => " - ",
            Op::Div => " / ",
            Op::FloorDiv => " // ",
            Op::Rem => " % ",
        };
        let numbers = !matches!(binary.op, Op::ScAnd | Op::ScOr);
        self.push("(");
        for (operand, behind) in [(&binary.left, operator), (&binary.right, ")")] {
            match operand {
                ast::Expr::Const(_) => self.expression(operand)?,
                _ if numbers => self.number(operand)?,
                _ => self.expression(operand)?,
            }
            self.push(behind);
        }
        Ok(())
    }

    /// An operand that is calculated with: minijinja knows no numbers but its own.
    fn number(&mut self, expr: &ast::Expr) -> Written {
        self.push("__number(");
        self.expression(expr)?;
        self.push(")");
        Ok(())
    }

    fn chain(&mut self, compare: &ast::Compare) -> Written {
        use ast::CompareOpKind as Op;
        self.push("(");
        let mut left = &compare.expr;
        for (index, step) in compare.ops.iter().enumerate() {
            if index > 0 {
                self.push(" and ");
            }
            let function = match step.op {
                Op::Eq => "__eq",
                Op::Ne => "__ne",
                Op::Lt => "__lt",
                Op::Lte => "__le",
                Op::Gt => "__gt",
                Op::Gte => "__ge",
                Op::In => "__in",
                Op::NotIn => "not __in",
            };
            self.compared(function, left, &step.expr)?;
            left = &step.expr;
        }
        self.push(")");
        Ok(())
    }

    fn compared(&mut self, function: &str, left: &ast::Expr, right: &ast::Expr) -> Written {
        if matches!(function, "__eq" | "__ne" | "__in" | "not __in") {
            self.literal_beside(left, right);
            self.literal_beside(right, left);
        }
        self.push(function);
        self.push("(");
        self.operand(left)?;
        self.push(", ");
        self.operand(right)?;
        self.push(")");
        Ok(())
    }

    /// Notes a constant, or each of a list, that a name is compared with.
    fn literal_beside(&mut self, name: &ast::Expr, constant: &ast::Expr) {
        let Some(name) = fixed_path(name) else { return };
        let constants: Vec<&ast::Expr> = match constant {
            ast::Expr::List(list) => list.items.iter().collect(),
            one => vec![one],
        };
        for constant in constants {
            self.note_literal(Beside::Name(name.to_string()), constant);
        }
    }

    fn note_literal(&mut self, beside: Beside, constant: &ast::Expr) {
        let ast::Expr::Const(value) = constant else { return };
        let Ok(value) = serde_json::to_value(&value.value) else { return };
        let span = constant.span();
        let bytes = span.start_offset as usize..span.end_offset as usize;
        self.literals.push(Literal { beside, value, bytes });
    }

    /// An operand that is one of our own names is checked to be there. Settings are not: validate has seen
    /// that they are declared, and one that was not given equals nothing.
    fn operand(&mut self, expr: &ast::Expr) -> Written {
        match fixed_path(expr) {
            Some(name) if OWN.contains(&name.root()) && name.root() != "settings" => {
                let _ = write!(self.out, "__own({}, ", quoted(&name.to_string()));
                self.expression(expr)?;
                self.push(")");
                Ok(())
            }
            _ => self.expression(expr),
        }
    }

    fn filter(&mut self, expr: &ast::Expr, filter: &ast::Filter) -> Written {
        self.listed(expr, "filter", filter.name, &filters::names())?;
        let Some(input) = &filter.expr else {
            return Err(self.refuse(expr, "filter blocks are no part of the language"));
        };
        if filter.name == "map"
            && let Some(ast::CallArg::Pos(ast::Expr::Const(inner))) = filter.args.first()
        {
            self.listed(expr, "filter", inner.value.as_str().unwrap_or("?"), &filters::names())?;
        }
        if filter.args.len() < filters::wanted(filter.name) {
            let words = if filter.args.is_empty() { "none" } else { "one" };
            let message = format!("the filter `{}` lacks an argument: it has {words}", filter.name);
            let help = match filter.name {
                "hmac" => "name the hash and the key: `x | hmac('sha256', secrets.key)`".to_owned(),
                "replace" => "say what becomes what: `x | replace('a', 'b')`".to_owned(),
                name => format!("it stands in parentheses behind the name: `x | {name}('…')`"),
            };
            return Err(self.refuse(expr, message).help(Some(help)));
        }
        for argument in &filter.args {
            if let ast::CallArg::Pos(argument) = argument {
                self.note_literal(Beside::Filter(filter.name.to_owned()), argument);
                break;
            }
        }
        self.push("(");
        self.expression(input)?;
        self.push("|");
        self.push(filter.name);
        self.arguments(expr, &filter.args)?;
        self.push(")");
        Ok(())
    }

    fn call(&mut self, expr: &ast::Expr, call: &ast::Call) -> Written {
        let ast::Expr::Var(function) = &call.expr else {
            let message = "values have no methods here; use a filter: `value | replace('a', 'b')`";
            return Err(self.refuse(expr, message));
        };
        self.listed(expr, "function", function.id, FUNCTIONS)?;
        self.note(Name(vec![function.id.to_owned()]));
        self.push(function.id);
        if call.args.is_empty() {
            self.push("()");
        }
        self.arguments(expr, &call.args)
    }

    fn arguments(&mut self, expr: &ast::Expr, arguments: &[ast::CallArg]) -> Written {
        if arguments.is_empty() {
            return Ok(());
        }
        self.push("(");
        for argument in arguments {
            match argument {
                ast::CallArg::Pos(value) => self.expression(value)?,
                ast::CallArg::Kwarg(name, value) => {
                    self.push(name);
                    self.push("=");
                    self.expression(value)?;
                }
                ast::CallArg::PosSplat(_) | ast::CallArg::KwargSplat(_) => {
                    return Err(self.refuse(expr, "`*` before an argument is no part of the language"));
                }
            }
            self.push(", ");
        }
        self.push(")");
        Ok(())
    }

    fn sequence(&mut self, items: &[ast::Expr]) -> Written {
        self.push("[");
        for item in items {
            self.expression(item)?;
            self.push(", ");
        }
        self.push("]");
        Ok(())
    }

    fn listed(&self, expr: &ast::Expr, what: &str, name: &str, known: &[&'static str]) -> Written {
        if known.contains(&name) {
            return Ok(());
        }
        let near = meant(name, known.iter().copied());
        let help = match near {
            Some(Meant { name, .. }) => format!("did you mean `{name}`?"),
            None => format!("there are: {}", known.join(", ")),
        };
        let refused = self.refuse(expr, format!("there is no {what} `{name}`")).help(Some(help));
        Err(SyntaxError { meant: near, ..refused })
    }
}

/// Text as a literal of the language: the escapes of JSON are understood there.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
