//! Which layout has an image, by its name. Pure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use oci::layout::Index;
use oci::reference::{canonical, is_repository, is_tag};
use oci::{Digest, Reference};

/// Short names belong to Docker Hub.
const HUB: &str = "docker.io";

/// One image of a layout's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub digest: Digest,
    /// Names from its annotations: a tag, or a name with or without a tag.
    pub names: Vec<String>,
}

impl Listed {
    pub fn of(index: &Index) -> Vec<Self> {
        let listed = |entry: &oci::layout::IndexEntry| Self {
            digest: entry.digest.clone(),
            names: entry.names().map(str::to_owned).collect(),
        };
        index.manifests.iter().map(listed).collect()
    }
}

#[derive(Debug, Default)]
pub struct Repository {
    tags: BTreeMap<String, Digest>,
    /// Folders of layouts, relative to the served one.
    layouts: Vec<Arc<str>>,
}

impl Repository {
    pub fn tag(&self, tag: &str) -> Option<&Digest> {
        self.tags.get(tag)
    }

    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.keys().map(String::as_str)
    }

    pub fn layouts(&self) -> Vec<Arc<str>> {
        self.layouts.clone()
    }
}

#[derive(Debug, Default)]
pub struct Catalogue {
    repositories: BTreeMap<String, Repository>,
}

impl Catalogue {
    /// Adds a layout. Of two layouts with one name the first is served, and the problem says so.
    pub fn add(&mut self, folder: &str, listed: &[Listed]) -> Vec<String> {
        let (layout, mut problems): (Arc<str>, _) = (folder.into(), Vec::new());
        if is_repository(folder) {
            self.repository_mut(&normal(folder), &layout); // its manifests have digests, whatever their names
        }
        for image in listed {
            for text in &image.names {
                if text.contains('@') {
                    // Its digest finds it.
                    if let Ok(pinned) = text.parse::<Reference>() {
                        self.repository_mut(&normal(&format!("{}/{}", pinned.registry, pinned.repository)), &layout);
                    }
                    continue;
                }
                let Some((name, tag)) = split(folder, text) else {
                    problems.push(format!("{folder:?} has an image with the name {text:?}, which is not a valid name"));
                    continue;
                };
                match self.repository_mut(&name, &layout).tags.entry(tag) {
                    Entry::Vacant(place) => {
                        place.insert(image.digest.clone());
                    }
                    Entry::Occupied(other) if *other.get() == image.digest => {}
                    Entry::Occupied(other) => {
                        let tag = other.key();
                        problems.push(format!("{folder:?} has {name}:{tag}, too; the image of an earlier folder is served"));
                    }
                }
            }
        }
        problems
    }

    fn repository_mut(&mut self, name: &str, layout: &Arc<str>) -> &mut Repository {
        let repository = self.repositories.entry(name.to_owned()).or_default();
        if !repository.layouts.contains(layout) {
            repository.layouts.push(Arc::clone(layout));
        }
        repository
    }

    /// The repository with the name of a request. Clients of a mirror say in `ns` which registry's name it is.
    pub fn repository(&self, name: &str, ns: Option<&str>) -> Option<&Repository> {
        let of_registry = ns.and_then(|registry| self.repositories.get(&normal(&format!("{registry}/{name}"))));
        of_registry.or_else(|| self.repositories.get(&normal(name)))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.repositories.keys().map(String::as_str)
    }
}

/// One form for the names of Docker Hub, as in image references: `alpine` is `docker.io/library/alpine`.
fn normal(name: &str) -> String {
    let (registry, rest) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (canonical(first), rest),
        _ => (HUB.to_owned(), name),
    };
    if registry == HUB { rest.strip_prefix("library/").unwrap_or(rest).to_owned() } else { format!("{registry}/{rest}") }
}

/// The repository and the tag that a name in an index means. A tag alone belongs to the layout's folder.
fn split(folder: &str, text: &str) -> Option<(String, String)> {
    let (name, tag) = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ if text.contains('/') => (text, "latest"),
        _ => (folder, text),
    };
    let repository = match name.split_once('/') {
        Some((registry, rest)) if registry.contains(':') => rest, // a port is only valid in the name of a registry
        _ => name,
    };
    (is_repository(repository) && is_tag(tag)).then(|| (normal(name), tag.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(content: &str, names: &[&str]) -> Listed {
        Listed { digest: Digest::of(content.as_bytes()), names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn a_name_is_found_as_the_field_writes_it() {
        let mut catalogue = Catalogue::default();
        for (folder, names) in [
            ("actions", &["image2disk:v1", "lab/writefile:v1"][..]),
            ("alpine", &["3.20"]),
            ("quay.io/tinkerbell/kexec", &["v1"]),
            ("pulled", &["ghcr.io/org/tool:2", "reg.example:5000/app", "docker.io/library/busybox:1"]),
            ("", &["root:1"]),
        ] {
            assert_eq!(catalogue.add(folder, &[image(folder, names)]), [""; 0], "{folder}");
        }
        for (name, ns, tag, folder) in [
            ("image2disk", None, "v1", Some("actions")),
            ("library/image2disk", Some("docker.io"), "v1", Some("actions")),
            ("lab/writefile", None, "v1", Some("actions")),
            ("image2disk", None, "v2", None),
            ("alpine", None, "3.20", Some("alpine")),
            ("library/alpine", Some("registry-1.docker.io"), "3.20", Some("alpine")),
            ("quay.io/tinkerbell/kexec", None, "v1", Some("quay.io/tinkerbell/kexec")),
            ("tinkerbell/kexec", Some("quay.io"), "v1", Some("quay.io/tinkerbell/kexec")),
            ("tinkerbell/kexec", None, "v1", None),
            ("org/tool", Some("ghcr.io"), "2", Some("pulled")),
            ("org/tool", Some("other.example"), "2", None),
            ("app", Some("reg.example:5000"), "latest", Some("pulled")),
            ("busybox", None, "1", Some("pulled")),
            ("image2disk", Some("reg.example:5000"), "v1", Some("actions")), // a mirror for a registry that names it like this
            ("root", None, "1", Some("")),
        ] {
            let found = catalogue.repository(name, ns).and_then(|repository| repository.tag(tag));
            assert_eq!(found, folder.map(|folder| Digest::of(folder.as_bytes())).as_ref(), "{name} {ns:?} {tag}");
        }
    }

    #[test]
    fn an_image_without_a_name_is_found_in_its_folder() {
        let mut catalogue = Catalogue::default();
        let pinned = format!("quay.io/org/tool@{}", Digest::of(b"x"));
        assert_eq!(catalogue.add("sig/natures", &[image("x", &[]), image("x", &[&pinned])]), [""; 0]);
        for name in ["sig/natures", "quay.io/org/tool"] {
            let repository = catalogue.repository(name, None).unwrap();
            assert_eq!((repository.tags().count(), repository.layouts().len()), (0, 1), "{name}");
        }
    }

    #[test]
    fn a_bad_name_and_a_second_image_with_a_name_are_reported() {
        let mut catalogue = Catalogue::default();
        catalogue.add("a", &[image("one", &["tool:1"])]);
        assert_eq!(catalogue.add("b", &[image("one", &["tool:1"])]), [""; 0], "the same image");
        let problems = catalogue.add("c", &[image("two", &["tool:1", "../x:1", "Upper:1", "a:b c", "a//b"])]);
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert_eq!(catalogue.repository("tool", None).unwrap().tag("1"), Some(&Digest::of(b"one")));
        let lone = catalogue.add("", &[image("two", &["v1"])]);
        assert_eq!(lone.len(), 1, "a tag alone needs a folder: {lone:?}");
    }
}
