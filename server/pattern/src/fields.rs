//! The fields of an event that patterns name, with their positions in arrays.

use std::collections::BTreeMap;

use serde_json::Value;

/// The paths of all patterns. A segment can be a leaf of one pattern and an inner node of another.
#[derive(Default)]
pub struct Tree<'p> {
    leaves: BTreeMap<&'p str, &'p str>,
    below: BTreeMap<&'p str, Self>,
}

impl<'p> Tree<'p> {
    pub fn of(paths: impl Iterator<Item = &'p str>) -> Self {
        let mut tree = Self::default();
        for path in paths {
            let mut node = &mut tree;
            let (above, leaf) = path.rsplit_once('\n').map_or((None, path), |(above, leaf)| (Some(above), leaf));
            for segment in above.iter().flat_map(|above| above.split('\n')) {
                node = node.below.entry(segment).or_default();
            }
            node.leaves.insert(leaf, path);
        }
        tree
    }
}

/// A leaf value of the event.
pub struct Field<'e> {
    pub value: &'e Value,
    path: &'e str,
    /// The arrays that contain it, and its element in each.
    trail: Vec<(u32, u32)>,
}

impl Field<'_> {
    /// Whether the two fields are not in different elements of the same array.
    pub fn goes_with(&self, other: &Self) -> bool {
        self.trail.iter().all(|(array, at)| other.trail.iter().all(|(other, other_at)| array != other || at == other_at))
    }
}

/// Sorted by path.
pub struct Fields<'e> {
    sorted: Vec<Field<'e>>,
    arrays: u32,
}

impl<'e> Fields<'e> {
    pub fn of(event: &'e Value, tree: &'e Tree<'e>) -> Self {
        let mut fields = Self { sorted: Vec::new(), arrays: 0 };
        if let Value::Object(members) = event {
            fields.object(members, tree, &[]);
        }
        fields.sorted.sort_by_key(|field| field.path);
        fields
    }

    fn object(&mut self, members: &'e serde_json::Map<String, Value>, tree: &'e Tree<'e>, trail: &[(u32, u32)]) {
        for (name, value) in members {
            let (path, below) = (tree.leaves.get(name.as_str()).copied(), tree.below.get(name.as_str()));
            if path.is_some() || below.is_some() {
                self.value(value, path, below, trail);
            }
        }
    }

    fn value(&mut self, value: &'e Value, path: Option<&'e str>, below: Option<&'e Tree<'e>>, trail: &[(u32, u32)]) {
        match (value, path, below) {
            (Value::Object(members), _, Some(below)) => self.object(members, below, trail),
            (Value::Array(elements), ..) => {
                self.arrays += 1;
                let array = self.arrays;
                for (element, at) in elements.iter().zip(1..) {
                    let trail: Vec<_> = trail.iter().copied().chain([(array, at)]).collect();
                    self.value(element, path, below, &trail);
                }
            }
            (Value::Object(_), _, None) | (_, None, _) => {}
            (_, Some(path), _) => self.sorted.push(Field { value, path, trail: trail.to_vec() }),
        }
    }

    pub fn at(&self, path: &str) -> &[Field<'e>] {
        let begin = self.sorted.partition_point(|field| field.path < path);
        let end = self.sorted.partition_point(|field| field.path <= path);
        self.sorted.get(begin..end).unwrap_or_default()
    }

    /// Whether a later field is compatible with this one.
    pub fn has_one_after(&self, field: &Field<'_>) -> bool {
        let begin = self.sorted.partition_point(|other| other.path <= field.path);
        self.sorted.iter().skip(begin).any(|other| field.goes_with(other))
    }
}
