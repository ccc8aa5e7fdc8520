//! How texts and conditions are compiled and run: parsed by minijinja, admitted by [`super::dialect`],
//! compiled by minijinja again, and evaluated with fuel in one environment that has no loader.

use std::sync::{LazyLock, OnceLock};

use minijinja::machinery::{Token, ast, parse, parse_expr, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value};
use serde_json::Value as Json;

use super::dialect::{FOREIGN, Literal, Writer, fixed_path};
use super::fault::{Fault, MAX_TEXT};
use super::name::Name;
use super::scope::Root;
use super::syntax_error::SyntaxError;
use super::{filters, operators};

/// Tokens inside the braces of one text: bounds the depth of the tree, and so the stack.
const MAX_TOKENS: usize = 1000;
/// Instructions that one evaluation may take.
const FUEL: u64 = 50_000;
/// The one environment: filters, functions, fuel; no loader, so nothing can be included.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    // Comments are no part of the language, so `{#` is text: their delimiters become what no text holds.
    let syntax = SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .comment_delimiters("\0{#", "#}\0")
        .build()
        .expect("the delimiters differ");
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(operators::format);
    filters::register(&mut environment);
    operators::register(&mut environment);
    environment
});

/// A compiled text.
pub(super) enum Form {
    /// Raw text and expressions in turn.
    Pieces(Vec<Piece>),
    /// A template with statements.
    Statements(Box<Statements>),
}

/// A part of a text.
pub(super) enum Piece {
    Raw(String),
    Expression(Expression),
}

/// A compiled expression.
pub(super) struct Expression {
    /// As it is shown in messages.
    pub(super) source: String,
    pub(super) names: Vec<Name>,
    /// The name that it is, where it is nothing else.
    pub(super) plain: Option<Name>,
    /// Constants whose sense depends on what they stand beside.
    pub(super) literals: Vec<Literal>,
    /// As it is given to minijinja, which compiled it once already.
    written: String,
    /// From its first use on: most are used seldom or never, and each takes six kilobytes.
    compiled: OnceLock<Box<minijinja::Expression<'static, 'static>>>,
}

impl Expression {
    /// Its value in a scope.
    pub(super) fn evaluate(&self, root: &Root) -> Result<Value, Fault> {
        self.compiled()?.eval(root.value()).map_err(|error| {
            let fault = Fault::from(error);
            // What a filter stumbled over is said by its name, where it is a name.
            let lacks = !fault.ours && root.lacks_any(&self.names);
            if lacks { Fault::new(root.culprit(&self.names, &self.source)) } else { fault }
        })
    }

    fn compiled(&self) -> Result<&minijinja::Expression<'static, 'static>, Fault> {
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled);
        }
        let compiled = ENVIRONMENT.compile_expression_owned(self.written.clone())?;
        Ok(self.compiled.get_or_init(|| Box::new(compiled)))
    }
}

/// A template with statements, in an environment of its own that holds just it.
pub(super) struct Statements {
    environment: Environment<'static>,
    source: String,
    names: Vec<Name>,
}

impl Statements {
    /// The text, bounded.
    pub(super) fn render(&self, root: &Root) -> Result<Vec<u8>, Fault> {
        let mut out = Bounded { most: MAX_TEXT.saturating_add(root.body_len()), out: Vec::new() };
        let template = self.environment.get_template("text")?;
        match template.render_captured_to(root.value(), &mut out) {
            Ok(_) => Ok(out.out),
            Err(error) => {
                let fault = Fault::from(error);
                Err(if fault.unnamed { Fault::new(root.culprit(&self.names, &self.source)) } else { fault })
            }
        }
    }
}

struct Bounded {
    most: usize,
    out: Vec<u8>,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.out.len() + bytes.len() > self.most {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Compiles a text.
pub(super) fn template(source: &str) -> Result<(Form, Vec<Name>), SyntaxError> {
    check_size(source, false)?;
    let syntax = ENVIRONMENT.syntax().clone();
    let parsed = parse(source, "text", syntax).map_err(|e| SyntaxError::from_parser(source, &e))?;
    let ast::Stmt::Template(parsed) = &parsed else {
        return Err(SyntaxError::new(source, 0, "this is no template"));
    };
    let simple = |stmt: &ast::Stmt| matches!(stmt, ast::Stmt::EmitRaw(_) | ast::Stmt::EmitExpr(_));
    if !parsed.children.iter().all(simple) {
        return statements(source, &parsed.children);
    }
    let mut pieces = Vec::new();
    let mut names = Vec::new();
    for child in &parsed.children {
        match child {
            ast::Stmt::EmitExpr(emit) => {
                let expression = expression(source, source, &emit.expr)?;
                names.extend(expression.names.iter().cloned());
                pieces.push(Piece::Expression(expression));
            }
            ast::Stmt::EmitRaw(emit) if !emit.raw.is_empty() => {
                pieces.push(Piece::Raw(emit.raw.to_owned()));
            }
            _ => {}
        }
    }
    Ok((Form::Pieces(pieces), names))
}

/// Compiles an expression that stands without braces.
pub(super) fn condition(source: &str) -> Result<Expression, SyntaxError> {
    if source.trim_start().starts_with("{{") {
        let help = "write the expression bare: current.status == 'active'".to_owned();
        return Err(SyntaxError::new(source, 0, "a condition has no braces").help(Some(help)));
    }
    check_size(source, true)?;
    let parsed = parse_expr(source).map_err(|e| {
        let error = SyntaxError::from_parser(source, &e);
        let assigns = source.replace("==", "").replace("!=", "").replace("<=", "").replace(">=", "");
        let help = assigns.contains('=').then(|| "equal is written ==".to_owned());
        error.help(help)
    })?;
    expression(source, source, &parsed)
}

/// What must be equal for a condition to hold, where it says nothing but that: names and constants, joined
/// by `and`.
pub(super) fn equalities(source: &str) -> Option<Vec<(Name, Json)>> {
    fn collect(expr: &ast::Expr, found: &mut Vec<(Name, Json)>) -> Option<()> {
        let ast::Expr::BinOp(binary) = expr else { return None };
        match binary.op {
            ast::BinOpKind::ScAnd => {
                collect(&binary.left, found)?;
                collect(&binary.right, found)
            }
            ast::BinOpKind::Eq => {
                let (name, constant) = match (&binary.left, &binary.right) {
                    (name, ast::Expr::Const(constant)) => (name, constant),
                    (ast::Expr::Const(constant), name) => (name, constant),
                    _ => return None,
                };
                found.push((fixed_path(name)?, serde_json::to_value(&constant.value).ok()?));
                Some(())
            }
            _ => None,
        }
    }
    let mut found = Vec::new();
    collect(&parse_expr(source).ok()?, &mut found)?;
    Some(found)
}

/// Comparisons of a vendor's name with something that is worked out, joined by `and`, each with the text that
/// gives its value.
pub(super) fn definitions(source: &str) -> Vec<(Name, String)> {
    let name = |text: &str| fixed_path(&parse_expr(text).ok()?).filter(|name| FOREIGN.contains(&name.root()));
    let parts = outside(source, " and ").into_iter().filter_map(|part| {
        let [left, right] = outside(part, "==").try_into().ok()?;
        let (name, value) = match (name(left), name(right)) {
            (Some(name), _) => (name, right),
            (None, Some(name)) => (name, left),
            (None, None) => return None,
        };
        Some((name, format!("{{{{ {} }}}}", value.trim())))
    });
    parts.collect()
}

/// What a condition holds a vendor's name against, joined by `and`: `claims.email == settings.account`, `claims.sub in
/// settings.accounts`. The name, and the text that gives the other side.
pub(super) fn pins(source: &str) -> Vec<(Name, String)> {
    let name = |text: &str| fixed_path(&parse_expr(text).ok()?).filter(|name| FOREIGN.contains(&name.root()));
    let members = outside(source, " and ").into_iter().filter_map(|part| {
        let [left, right] = outside(part, " in ").try_into().ok()?;
        Some((name(left)?, format!("{{{{ {} }}}}", right.trim())))
    });
    definitions(source).into_iter().chain(members).collect()
}

/// Whether a condition holds where one of several parts does: nothing in it must hold then.
pub(super) fn is_disjunction(source: &str) -> bool {
    fn has_or(expr: &ast::Expr) -> bool {
        match expr {
            ast::Expr::BinOp(binary) => {
                matches!(binary.op, ast::BinOpKind::ScOr)
                    || matches!(binary.op, ast::BinOpKind::ScAnd)
                        && (has_or(&binary.left) || has_or(&binary.right))
            }
            ast::Expr::IfExpr(_) | ast::Expr::UnaryOp(_) => true,
            _ => false,
        }
    }
    parse_expr(source).is_ok_and(|expr| has_or(&expr))
}

/// A text cut where a word stands outside of quotes and brackets.
fn outside<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let (mut parts, mut from, mut depth, mut quote) = (Vec::new(), 0, 0_i32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            (None, _) if depth == 0 && at >= from && text[at..].starts_with(word) => {
                parts.push(&text[from..at]);
                from = at + word.len();
            }
            (None, _) => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn statements(source: &str, children: &[ast::Stmt]) -> Result<(Form, Vec<Name>), SyntaxError> {
    let mut writer = Writer::new(source);
    writer.statements(children)?;
    let mut environment = ENVIRONMENT.clone();
    environment.add_template_owned("text", writer.out).map_err(|e| SyntaxError::from_parser(source, &e))?;
    let names = writer.names;
    let statements = Statements { environment, source: source.to_owned(), names: names.clone() };
    Ok((Form::Statements(Box::new(statements)), names))
}

fn expression(source: &str, shown: &str, parsed: &ast::Expr) -> Result<Expression, SyntaxError> {
    let mut writer = Writer::new(source);
    writer.expression(parsed)?;
    ENVIRONMENT
        .compile_expression(&writer.out)
        .map_err(|e| SyntaxError::new(source, 0, e.kind().to_string()))?;
    Ok(Expression {
        source: shown.to_owned(),
        names: writer.names,
        plain: fixed_path(parsed),
        literals: writer.literals,
        written: writer.out,
        compiled: OnceLock::new(),
    })
}

fn check_size(source: &str, in_expression: bool) -> Result<(), SyntaxError> {
    let tokens = tokenize(source, in_expression, ENVIRONMENT.syntax().clone());
    for (count, token) in tokens.enumerate() {
        let (token, span) = token.map_err(|e| SyntaxError::from_parser(source, &e))?;
        if count > MAX_TOKENS && !matches!(token, Token::TemplateData(_)) {
            let help = "say parts of it in `vars`".to_owned();
            let error = SyntaxError::new(source, span.start_offset as usize, "this is too long");
            return Err(error.help(Some(help)));
        }
    }
    Ok(())
}
