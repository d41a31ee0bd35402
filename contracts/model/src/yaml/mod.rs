//! YAML text to nodes that remember where they stood and how their scalars were written.
//!
//! Resolving scalars before knowing what a field wants turns the file mode `0644` into 420, so nodes keep raw text and
//! `Shape` decides. Depth, size and alias expansion are bounded, because the text may come from an attacker.

mod compose;
mod scalar;
mod shape;

pub use compose::{Twice, documents};
pub use scalar::plain_value;
pub(crate) use shape::check;
pub use shape::{Field, Shape};

use std::rc::Rc;

use crate::Mistake;

/// Bounds of one text: far above any real inventory file, and far below what would harm the server.
pub(crate) const MAX_BYTES: usize = 8 << 20;
pub(crate) const MAX_DEPTH: usize = 64;
pub(crate) const MAX_NODES: usize = 500_000;

/// A place in the text, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub(crate) fn mistake(self, file: &str, path: &str, message: impl Into<String>) -> Mistake {
        Mistake {
            file: file.to_owned(),
            line: self.line,
            column: self.column,
            path: path.to_owned(),
            message: message.into(),
            hint: None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    pub content: Content,
    /// The cost of an alias to this node: the nodes in it, of which long texts weigh more.
    weight: usize,
}

#[derive(Debug, Clone)]
pub enum Content {
    /// `plain` is false for a quoted or block scalar, which is always text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<(Key, Rc<Node>)>),
}

#[derive(Debug, Clone)]
pub struct Key {
    pub text: String,
    /// False for a quoted one.
    pub plain: bool,
    pub place: Place,
}

impl Node {
    /// Nothing, `~` or `null`, as YAML's core schema has it.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Rc<Node>> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }

    /// The text of a scalar as written.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let Content::Scalar { text, .. } = &self.content else { return None };
        (!self.is_null()).then_some(text)
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.content {
            _ if self.is_null() => "nothing",
            Content::Scalar { .. } => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Twice, documents};

    #[test]
    fn a_block_scalar_that_ends_with_the_text_has_no_line_break_of_its_own() {
        for (text, value) in [
            ("a: |\n  x\n  y", "x\ny"),
            ("a: |\n  x\n  y\n", "x\ny\n"),
            ("b: |\n  x\na: |\n  y", "y"),
            ("a: >\n  x", "x"),
            ("a: \"x\\n\"", "x\n"),
        ] {
            let (found, mistakes) = documents(text, "f", Twice::Mistake);
            assert!(mistakes.is_empty(), "{mistakes:?}");
            assert_eq!(found[0].get("a").and_then(|node| node.text()), Some(value), "{text:?}");
        }
    }
}
