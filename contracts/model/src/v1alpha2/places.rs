//! Where values that are judged after reading stand in the file that they were read from: those with templates, and
//! commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::is_template;
use crate::yaml::{Content, Node, Place};

/// Not part of the object: equal to every other one, so that objects compare by content.
#[derive(Debug, Clone, Default)]
pub struct Places(Option<Arc<Found>>);

#[derive(Debug)]
struct Found {
    file: String,
    /// By path, such as `spec.actions[0].if`.
    of: BTreeMap<String, Place>,
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}

impl Places {
    pub(crate) fn find(file: &str, document: &Node) -> Self {
        let mut of = BTreeMap::new();
        collect(document, String::new(), &mut of);
        Self(Some(Arc::new(Found { file: file.to_owned(), of })))
    }

    /// File, line and column of the value at this path. The line is that of its first one.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<(&str, usize, usize)> {
        let found = self.0.as_ref()?;
        found.of.get(path).map(|place| (found.file.as_str(), place.line, place.column))
    }
}

fn collect(node: &Node, path: String, found: &mut BTreeMap<String, Place>) {
    match &node.content {
        Content::Scalar { text, .. } if is_template(text) || path.ends_with(".command") => {
            found.insert(path, node.place);
        }
        Content::Scalar { .. } => {}
        Content::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{index}]"), found);
            }
        }
        Content::Map(entries) => {
            for (key, value) in entries {
                let below = if path.is_empty() { key.text.clone() } else { format!("{path}.{}", key.text) };
                collect(value, below, found);
            }
        }
    }
}
