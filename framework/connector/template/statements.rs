//! The statements that a text may have beside `{{ }}`: `if`, `for` and `set`, for what some vendors sign.
//!
//! Called by [`super::language`]. Nothing includes, imports, inherits or defines; a name of the language is
//! never given away.

use std::fmt::Write as _;

use minijinja::machinery::ast;

use super::dialect::{FOREIGN, FUNCTIONS, OWN, Writer, Written, quoted};
use super::syntax_error::SyntaxError;

impl Writer<'_> {
    pub(super) fn statements(&mut self, children: &[ast::Stmt]) -> Written {
        children.iter().try_for_each(|child| self.statement(child))
    }

    fn statement(&mut self, statement: &ast::Stmt) -> Written {
        match statement {
            ast::Stmt::EmitRaw(emit) => {
                let raw = quoted(emit.raw);
                let _ = write!(self.out, "{{{{ {raw} }}}}");
                Ok(())
            }
            ast::Stmt::EmitExpr(emit) => {
                self.push("{{ ");
                self.expression(&emit.expr)?;
                self.push(" }}");
                Ok(())
            }
            ast::Stmt::Set(set) => {
                let name = self.local(&set.target)?;
                let _ = write!(self.out, "{{% set {name} = ");
                self.expression(&set.expr)?;
                self.push(" %}");
                self.locals.push(name);
                Ok(())
            }
            ast::Stmt::IfCond(choice) => {
                self.push("{% if ");
                self.expression(&choice.expr)?;
                self.push(" %}");
                self.statements(&choice.true_body)?;
                self.push("{% else %}");
                self.statements(&choice.false_body)?;
                self.push("{% endif %}");
                Ok(())
            }
            ast::Stmt::ForLoop(repeat) => self.repeat(repeat),
            _ => {
                let help = "only `{{ }}`, `if`, `for` and `set` are".to_owned();
                let error = SyntaxError::new(self.source, 0, "this statement is no part of the language");
                Err(error.help(Some(help)))
            }
        }
    }

    fn repeat(&mut self, repeat: &ast::ForLoop) -> Written {
        if repeat.recursive || repeat.filter_expr.is_some() || !repeat.else_body.is_empty() {
            return Err(self.refuse(&repeat.iter, "a `for` here is plain: no `if`, no `else`, no recursion"));
        }
        let name = self.local(&repeat.target)?;
        let _ = write!(self.out, "{{% for {name} in ");
        self.expression(&repeat.iter)?;
        self.push(" %}");
        let outside = self.locals.len();
        self.locals.push(name);
        self.locals.push("loop".to_owned());
        self.statements(&repeat.body)?;
        self.locals.truncate(outside);
        self.push("{% endfor %}");
        Ok(())
    }

    fn local(&self, target: &ast::Expr) -> Result<String, SyntaxError> {
        let ast::Expr::Var(var) = target else {
            return Err(self.refuse(target, "one name stands here"));
        };
        let taken = OWN.contains(&var.id)
            || FOREIGN.contains(&var.id)
            || FUNCTIONS.contains(&var.id)
            || matches!(var.id, "now" | "omit" | "loop")
            || var.id.starts_with("__");
        if taken {
            return Err(self.refuse(target, format!("`{}` is a name of the language", var.id)));
        }
        Ok(var.id.to_owned())
    }
}
