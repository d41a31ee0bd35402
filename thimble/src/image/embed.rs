//! `--embed`: layouts are taken as they are, names are pulled first.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};

/// The layouts, and the folder in which those that were pulled live for as long as it is held.
pub fn layouts(words: &[String]) -> anyhow::Result<(Vec<PathBuf>, tempfile::TempDir)> {
    let folder = tempfile::tempdir().context("cannot make a folder for images")?;
    let (names, mut layouts) = sorted(words);
    for name in &names {
        ensure!(
            agent::download::is_reference(name),
            "--embed {name:?} is neither an image layout that exists nor the name of an image"
        );
    }
    if !names.is_empty() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        layouts.extend(runtime.block_on(agent::download::images(&names, folder.path()))?);
    }
    Ok((layouts, folder))
}

/// What exists, or is written as a path, is one.
fn sorted(words: &[String]) -> (Vec<String>, Vec<PathBuf>) {
    let is_path = |word: &&String| Path::new(word).exists() || word.starts_with(['/', '.']);
    let (paths, names): (Vec<_>, Vec<_>) = words.iter().partition(is_path);
    (names.into_iter().cloned().collect(), paths.into_iter().map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_layout_and_anything_else_a_name() {
        let words = ["src", "./gone", "/gone.tar", "quay.io/a/b:1", "alpine"].map(str::to_owned);
        let (names, layouts) = sorted(&words);
        assert_eq!(names, ["quay.io/a/b:1", "alpine"]);
        assert_eq!(layouts, ["src", "./gone", "/gone.tar"].map(PathBuf::from));
        assert!(super::layouts(&["No Such Image".to_owned()]).is_err_and(|error| error.to_string().contains("No Such Image")));
    }
}
