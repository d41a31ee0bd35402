//! The tree of a parsed template. A node's `Display` is its text in Go's errors.

use std::fmt::{self, Display, Formatter};

use crate::strconv::Number;
use crate::value::Text;

#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Pipe(Pipe),
    Identifier {
        pos: usize,
        name: String,
    },
    Variable {
        pos: usize,
        ident: Vec<String>,
    },
    Field {
        pos: usize,
        ident: Vec<String>,
    },
    Chain {
        pos: usize,
        node: Box<Self>,
        fields: Vec<String>,
    },
    Dot {
        pos: usize,
    },
    Nil {
        pos: usize,
    },
    Bool {
        pos: usize,
        truth: bool,
    },
    Number {
        pos: usize,
        text: String,
        number: Number,
    },
    /// A string constant: its source text and its value.
    Text {
        pos: usize,
        quoted: String,
        text: Vec<u8>,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub pos: usize,
    pub args: Vec<Expr>,
}

#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    pub pos: usize,
    pub assign: bool,
    pub decl: Vec<String>,
    pub cmds: Vec<Command>,
}

#[derive(Debug, Clone)]
pub(crate) struct Branch {
    pub pos: usize,
    pub pipe: Pipe,
    pub list: Vec<Node>,
    pub otherwise: Option<Vec<Node>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text { pos: usize, text: String },
    Action { pos: usize, pipe: Pipe },
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { pos: usize, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

impl Expr {
    pub(crate) fn pos(&self) -> usize {
        match self {
            Self::Pipe(pipe) => pipe.pos,
            Self::Identifier { pos, .. }
            | Self::Variable { pos, .. }
            | Self::Field { pos, .. }
            | Self::Chain { pos, .. }
            | Self::Dot { pos }
            | Self::Nil { pos }
            | Self::Bool { pos, .. }
            | Self::Number { pos, .. }
            | Self::Text { pos, .. } => *pos,
        }
    }
}

impl Display for Expr {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipe(pipe) => write!(out, "{pipe}"),
            Self::Identifier { name, .. } => out.write_str(name),
            Self::Variable { ident, .. } => out.write_str(&ident.join(".")),
            Self::Field { ident, .. } => ident.iter().try_for_each(|name| write!(out, ".{name}")),
            Self::Chain { node, fields, .. } => {
                match node.as_ref() {
                    Self::Pipe(pipe) => write!(out, "({pipe})")?,
                    other => write!(out, "{other}")?,
                }
                fields.iter().try_for_each(|name| write!(out, ".{name}"))
            }
            Self::Dot { .. } => out.write_str("."),
            Self::Nil { .. } => out.write_str("nil"),
            Self::Bool { truth, .. } => write!(out, "{truth}"),
            Self::Number { text, .. } => out.write_str(text),
            Self::Text { quoted, .. } => out.write_str(quoted),
        }
    }
}

impl Display for Command {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (index, arg) in self.args.iter().enumerate() {
            if index > 0 {
                out.write_str(" ")?;
            }
            match arg {
                Expr::Pipe(pipe) => write!(out, "({pipe})")?,
                other => write!(out, "{other}")?,
            }
        }
        Ok(())
    }
}

impl Display for Pipe {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if !self.decl.is_empty() {
            write!(out, "{} {} ", self.decl.join(", "), if self.assign { "=" } else { ":=" })?;
        }
        for (index, command) in self.cmds.iter().enumerate() {
            if index > 0 {
                out.write_str(" | ")?;
            }
            write!(out, "{command}")?;
        }
        Ok(())
    }
}

impl Display for Branch {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}}}}}", self.pipe)?;
        self.list.iter().try_for_each(|node| write!(out, "{node}"))?;
        if let Some(otherwise) = &self.otherwise {
            out.write_str("{{else}}")?;
            otherwise.iter().try_for_each(|node| write!(out, "{node}"))?;
        }
        out.write_str("{{end}}")
    }
}

impl Display for Node {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { text, .. } => out.write_str(text),
            Self::Action { pipe, .. } => write!(out, "{{{{{pipe}}}}}"),
            Self::If(branch) => write!(out, "{{{{if {branch}"),
            Self::With(branch) => write!(out, "{{{{with {branch}"),
            Self::Range(branch) => write!(out, "{{{{range {branch}"),
            Self::Template { name, pipe, .. } => {
                write!(out, "{{{{template {}", crate::strconv::quote(name.as_bytes(), false))?;
                if let Some(pipe) = pipe {
                    write!(out, " {pipe}")?;
                }
                out.write_str("}}")
            }
            Self::Break => out.write_str("{{break}}"),
            Self::Continue => out.write_str("{{continue}}"),
        }
    }
}

/// The constant text of a node, for the evaluator.
pub(crate) fn constant(text: &[u8]) -> Text {
    Text::from(text)
}
