//! The line of the template in which rendering failed. The engine does not say it, so each action is preceded by a mark
//! that the writer swallows and remembers.

use std::fmt::{self, Write};

use gotmpl::parse::{BranchNode, ListNode, Node, Pos, TextNode};

const MARK: &str = "\0line ";

/// The same tree with a mark in front of everything that can fail.
pub(super) fn marked(list: ListNode) -> ListNode {
    let mut nodes = Vec::with_capacity(list.nodes.len() * 2);
    for node in list.nodes {
        if let Some(pos) = place(&node) {
            nodes.push(Node::Text(TextNode { pos, text: format!("{MARK}{}", pos.line).into() }));
        }
        nodes.push(match node {
            Node::List(inner) => Node::List(marked(inner)),
            Node::If(branch) => Node::If(branches(branch)),
            Node::Range(branch) => Node::Range(branches(branch)),
            Node::With(branch) => Node::With(branches(branch)),
            other => other,
        });
    }
    ListNode { pos: list.pos, nodes }
}

fn branches(branch: BranchNode) -> BranchNode {
    BranchNode { body: marked(branch.body), else_body: branch.else_body.map(marked), ..branch }
}

fn place(node: &Node) -> Option<Pos> {
    match node {
        Node::Action(action) => Some(action.pos),
        Node::If(branch) | Node::Range(branch) | Node::With(branch) => Some(branch.pos),
        Node::Template(call) => Some(call.pos),
        _ => None,
    }
}

/// Collects the output up to a limit and follows the marks.
pub(super) struct LineWriter {
    pub text: String,
    /// Line of the action under way; 0 before the first.
    pub line: usize,
    pub full: bool,
    limit: usize,
}

impl LineWriter {
    pub(super) fn new(limit: usize) -> Self {
        Self { text: String::new(), line: 0, full: false, limit }
    }
}

impl Write for LineWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(line) = text.strip_prefix(MARK).and_then(|line| line.parse().ok()) {
            self.line = line;
            return Ok(());
        }
        if self.text.len() + text.len() > self.limit {
            self.full = true;
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}
