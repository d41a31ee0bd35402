//! `--embed`: layouts are used as they are, and names are pulled first.

use anyhow::{Context, ensure};
use oci::Puller;
use oci::registry::{Client, Limits, Patience};
use oci::store::Store;
use std::path::{Path, PathBuf};

/// The layouts. Pulled ones lie in the returned folder, which must be kept for as long as they are needed.
pub fn layouts(words: &[String]) -> anyhow::Result<(Vec<PathBuf>, tempfile::TempDir)> {
    let folder = tempfile::tempdir().context("cannot make a folder for images")?;
    let (names, mut layouts) = sorted(words);
    for name in &names {
        ensure!(
            name.parse::<oci::Reference>().is_ok(),
            "--embed {name:?} is neither an image layout that exists nor the name of an image"
        );
    }
    if !names.is_empty() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        layouts.extend(runtime.block_on(pull(&names, folder.path()))?);
    }
    Ok((layouts, folder))
}

/// Pulls each image into a separate layout, from the registries that an agent on this host would ask.
async fn pull(names: &[String], folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let client = Client::new(&super::registries()?, Limits::default()).context("cannot set up the registry client")?;
    let puller =
        Puller::new(client, Store::open(&folder.join("store"))?, Patience::default(), |_| oci::Free::of_memory(u64::MAX));
    let mut layouts = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let layout = folder.join(number.to_string());
        puller.save(name, &layout).await.with_context(|| format!("cannot pull {name}"))?;
        layouts.push(layout);
    }
    Ok(layouts)
}

/// A path that exists, or a word written as a path, is a layout. Any other word is a name.
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
