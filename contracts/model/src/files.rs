//! Files to objects, or to every mistake in them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use crate::{Mistake, Object, parse_documents};

/// Everything that is wrong with some texts, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(out, "{count} {}", if count == 1 { "mistake" } else { "mistakes" })?;
        self.0.iter().try_for_each(|mistake| write!(out, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot read {}", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

/// The objects of all texts. Each text comes after the name that its mistakes give it.
///
/// # Errors
/// The mistakes of all texts.
pub fn parse_texts<N: AsRef<str>, T: AsRef<str>>(texts: impl IntoIterator<Item = (N, T)>) -> Result<Vec<Object>, Mistakes> {
    let (mut objects, mut mistakes) = (Vec::new(), Vec::new());
    for (name, text) in texts {
        match parse_documents(text.as_ref(), name.as_ref()) {
            Ok(found) => objects.extend(found),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() { Ok(objects) } else { Err(Mistakes(mistakes)) }
}

/// The objects of all files. A folder stands for its files `*.yaml` and `*.yml`, and `-` for standard input.
///
/// # Errors
/// When a file cannot be read, or all mistakes of all files.
pub fn read_files(paths: &[impl AsRef<Path>]) -> Result<Vec<Object>, FilesError> {
    Ok(parse_texts(read_texts(paths)?)?)
}

/// The same files as texts, each after its name.
///
/// # Errors
/// When a file cannot be read.
pub fn read_texts(paths: &[impl AsRef<Path>]) -> Result<Vec<(String, String)>, FilesError> {
    let mut texts = Vec::new();
    for path in paths {
        let path = path.as_ref();
        read(path, &mut texts).map_err(|source| FilesError::Unreadable { path: path.to_owned(), source })?;
    }
    Ok(texts)
}

fn read(path: &Path, texts: &mut Vec<(String, String)>) -> io::Result<()> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        texts.push(("standard input".to_owned(), text));
        return Ok(());
    }
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        files.retain(|path| path.is_file() && path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
        files.sort();
    }
    for file in files {
        texts.push((file.display().to_string(), fs::read_to_string(&file)?));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: NAME}\nspec: {data: x}\n";

    #[test]
    fn a_folder_is_its_yaml_files_and_each_mistake_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("b.yaml", &TEMPLATE.replace("NAME", "b"));
        write("a.yml", &TEMPLATE.replace("NAME", "a"));
        write("c.txt", "x: [");
        let names: Vec<String> = read_files(&[folder.path()]).unwrap().iter().map(|object| object.name().name).collect();
        assert_eq!(names, ["a", "b"]);
        write("b.yaml", &TEMPLATE.replace("spec", "spek"));
        write("a.yml", &TEMPLATE.replace("data", "dato"));
        let text = read_files(&[folder.path()]).unwrap_err().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("{} mistakes", lines.len() - 1));
        assert!(lines[1].contains("a.yml:1:1") && lines.last().unwrap().contains("b.yaml:4:1"), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let refused = read_files(&["/nonexistent.yaml"]).unwrap_err();
        assert!(matches!(&refused, FilesError::Unreadable { .. }), "{refused}");
        assert_eq!(refused.to_string(), "cannot read /nonexistent.yaml");
    }
}
