//! The outline of a template: what it would render if every action wrote one mark. It shows which keys a document has
//! before any machine's data is known.

use crate::node::{Branch, Node};
use crate::parse::Trees;

/// A text, and for each of its lines the line of the template it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    pub text: String,
    pub lines: Vec<usize>,
}

/// A template that defines more than this, or nests calls deeper, is not outlined further.
const SIZE: usize = 1 << 20;
const DEPTH: usize = 64;
/// Templates that call each other twice double the nodes with each level.
const NODES: usize = 1 << 18;

struct Writer<'t> {
    trees: &'t Trees,
    mark: char,
    /// Whether to take `else` instead of `if`.
    other: bool,
    out: Outline,
    /// Where the lines of the source begin, behind the first.
    begins: Vec<usize>,
    nodes: usize,
}

/// Two outlines: one takes every `if`, the other every `else`.
pub(crate) fn outlines(trees: &Trees, root: &str, source: &str, mark: char) -> [Outline; 2] {
    [false, true].map(|other| {
        let begins = source.match_indices('\n').map(|(at, _)| at + 1).collect();
        let out = Outline { text: String::new(), lines: vec![1] };
        let mut writer = Writer { trees, mark, other, out, begins, nodes: 0 };
        writer.nodes(trees.get(root).map(Vec::as_slice).unwrap_or_default(), 0);
        writer.out
    })
}

impl Writer<'_> {
    fn line(&self, pos: usize) -> usize {
        1 + self.begins.partition_point(|begin| *begin <= pos)
    }

    fn write(&mut self, text: &str, pos: usize) {
        let mut line = self.line(pos);
        // A line is attributed to the position of its first character.
        let end = |out: &Outline| out.text.is_empty() || out.text.ends_with('\n');
        for letter in text.chars() {
            if end(&self.out)
                && let Some(last) = self.out.lines.last_mut()
            {
                *last = line;
            }
            self.out.text.push(letter);
            if letter == '\n' {
                line += 1;
                self.out.lines.push(line);
            }
        }
    }

    fn nodes(&mut self, nodes: &[Node], depth: usize) {
        for node in nodes {
            self.nodes += 1;
            if depth > DEPTH || self.out.text.len() > SIZE || self.nodes > NODES {
                return;
            }
            match node {
                Node::Text { pos, text } => self.write(text, *pos),
                Node::Action { pos, pipe } if pipe.decl.is_empty() => {
                    let mark = self.mark.to_string();
                    self.write(&mark, *pos);
                }
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => self.branch(branch, depth),
                Node::Template { name, .. } => {
                    let trees = self.trees;
                    self.nodes(trees.get(name).map(Vec::as_slice).unwrap_or_default(), depth + 1);
                }
                Node::Action { .. } | Node::Break | Node::Continue => {}
            }
        }
    }

    fn branch(&mut self, branch: &Branch, depth: usize) {
        match &branch.otherwise {
            Some(otherwise) if self.other => self.nodes(otherwise, depth + 1),
            _ => self.nodes(&branch.list, depth + 1),
        }
    }
}
