//! Objects by what they name or have. A copy of an index costs the same at any size.

use imbl::OrdSet;
use model::ObjectName;

/// This is one flat set. With a set for each key, the first change of a copy would copy that whole set.
#[derive(Clone)]
pub struct Index<K>(OrdSet<(K, u64, ObjectName)>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(OrdSet::default())
    }
}

impl<K: Ord + Clone> Index<K> {
    /// Adds the key to the object, or removes it. The revision of its first write identifies the object.
    pub fn set(&mut self, key: K, created: u64, name: &ObjectName, has: bool) {
        let entry = (key, created, name.clone());
        if has {
            self.0.insert(entry);
        } else {
            self.0.remove(&entry);
        }
    }

    /// The objects that have the key, with the revisions of their first writes, oldest first.
    pub fn entries(&self, key: &K) -> impl Iterator<Item = (u64, &ObjectName)> + use<'_, K> {
        let key = key.clone();
        let first = (key.clone(), 0, ObjectName::new("", ""));
        self.0.range(first..).take_while(move |(other, ..)| *other == key).map(|(_, created, name)| (*created, name))
    }

    pub fn of(&self, key: &K) -> impl Iterator<Item = &ObjectName> + use<'_, K> {
        self.entries(key).map(|(_, name)| name)
    }

    /// All objects that have any key, once for each.
    pub fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.0.iter().map(|(_, _, name)| name)
    }

    pub fn has(&self, key: &K) -> bool {
        self.of(key).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_objects_oldest_first() {
        let mut index = Index::default();
        let names = |index: &Index<u8>, key: u8| index.of(&key).map(|name| name.name.clone()).collect::<Vec<_>>();
        for (key, created, name) in [(1, 7, "a"), (1, 3, "b"), (2, 1, "c"), (0, 9, "d")] {
            index.set(key, created, &ObjectName::new("default", name), true);
        }
        let before = index.clone();
        index.set(1, 3, &ObjectName::new("default", "b"), false);
        assert_eq!((names(&index, 1), names(&before, 1)), (vec!["a".to_owned()], vec!["b".to_owned(), "a".to_owned()]));
        assert!(index.has(&2) && !index.has(&3));
    }
}
