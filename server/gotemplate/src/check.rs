//! Mistakes of a template that do not depend on its data: a wrong number of arguments, constants of a wrong type, and
//! templates that are not defined. Go finds these only when the rendering reaches them.

use crate::functions::{self, Param};
use crate::node::{Branch, Command, Expr, Node, Pipe};
use crate::parse::Trees;
use crate::{Fault, strconv};

type Checked = Result<(), Box<Fault>>;

struct Checker<'t> {
    file: &'t str,
    source: &'t str,
    trees: &'t Trees,
    name: &'t str,
}

pub(crate) fn check(file: &str, source: &str, trees: &Trees) -> Checked {
    for (name, nodes) in trees {
        Checker { file, source, trees, name }.nodes(nodes)?;
    }
    Ok(())
}

/// A fault in the words of Go's `ExecError`.
pub(crate) fn fault(file: &str, source: &str, name: &str, pos: usize, shown: &str, message: &str) -> Box<Fault> {
    let before = source.get(..pos).unwrap_or_default();
    let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
    let column = before.rfind('\n').map_or(pos, |newline| pos - newline - 1);
    let name = strconv::quote(name.as_bytes(), false);
    let text = format!("template: {file}:{line}:{column}: executing {name} at <{shown}>: {message}");
    let column = before.rfind('\n').map_or(before, |newline| before.get(newline + 1..).unwrap_or_default()).chars().count();
    Box::new(Fault { text, message: format!("<{shown}>: {message}"), line, column: column + 1 })
}

impl Checker<'_> {
    fn fail(&self, pos: usize, shown: &str, message: &str) -> Checked {
        Err(fault(self.file, self.source, self.name, pos, shown, message))
    }

    fn nodes(&self, nodes: &[Node]) -> Checked {
        for node in nodes {
            match node {
                Node::Text { .. } | Node::Break | Node::Continue => {}
                Node::Action { pipe, .. } => self.pipe(pipe)?,
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => self.branch(branch)?,
                Node::Template { pos, name, pipe } => {
                    if !self.trees.contains_key(name) {
                        let quoted = strconv::quote(name.as_bytes(), false);
                        self.fail(*pos, &node.to_string(), &format!("template {quoted} not defined"))?;
                    }
                    pipe.as_ref().map_or(Ok(()), |pipe| self.pipe(pipe))?;
                }
            }
        }
        Ok(())
    }

    fn branch(&self, branch: &Branch) -> Checked {
        self.pipe(&branch.pipe)?;
        self.nodes(&branch.list)?;
        self.nodes(branch.otherwise.as_deref().unwrap_or_default())
    }

    fn pipe(&self, pipe: &Pipe) -> Checked {
        for (stage, command) in pipe.cmds.iter().enumerate() {
            self.command(command, stage > 0)?;
        }
        Ok(())
    }

    fn command(&self, command: &Command, piped: bool) -> Checked {
        let Some((first, args)) = command.args.split_first() else { return Ok(()) };
        self.expr(first, piped, args)?;
        for arg in args {
            self.expr(arg, false, &[])?;
        }
        Ok(())
    }

    fn expr(&self, expr: &Expr, piped: bool, args: &[Expr]) -> Checked {
        match expr {
            Expr::Identifier { name, .. } => self.call(expr, name, piped, args),
            Expr::Pipe(pipe) => self.pipe(pipe),
            Expr::Chain { node, .. } => self.expr(node, false, &[]),
            _ => Ok(()),
        }
    }

    fn call(&self, at: &Expr, name: &str, piped: bool, args: &[Expr]) -> Checked {
        let Some(function) = functions::find(name) else { return Ok(()) };
        let (fixed, given) = (function.params.len(), args.len() + usize::from(piped));
        if function.rest.is_some() && given < fixed {
            let message = format!("wrong number of args for {name}: want at least {fixed} got {}", args.len());
            return self.fail(at.pos(), &at.to_string(), &message);
        }
        if function.rest.is_none() && given != fixed {
            return self.fail(at.pos(), &at.to_string(), &format!("wrong number of args for {name}: want {fixed} got {given}"));
        }
        for (index, arg) in args.iter().enumerate() {
            let param = function.params.get(index).copied().or(function.rest).unwrap_or(Param::Any);
            let fits = match (param.expected(), arg) {
                (Some(_), Expr::Nil { .. }) => false,
                (Some(_), Expr::Bool { .. }) => param == Param::Bool,
                (Some(_), Expr::Text { .. }) => param == Param::Text,
                (Some(_), Expr::Number { number, .. }) => match param {
                    Param::Int | Param::Duration => number.int.is_some(),
                    Param::Uint32 => number.uint.is_some(),
                    Param::Float => number.float.is_some(),
                    _ => false,
                },
                _ => true,
            };
            match param.expected().filter(|_| !fits) {
                Some(_) if matches!(arg, Expr::Nil { .. }) => {
                    self.fail(arg.pos(), "nil", &format!("cannot assign nil to {param}"))?;
                }
                Some(expected) => self.fail(arg.pos(), &arg.to_string(), &format!("expected {expected}; found {arg}"))?,
                None => {}
            }
        }
        Ok(())
    }
}
