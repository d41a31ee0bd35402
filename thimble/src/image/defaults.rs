//! The static programs that the package has installed, for commands that name none.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// Where they are: beside the folder of this program, in the package's folder, or where the page on installing puts them.
const FOLDERS: [&str; 3] = ["../lib/thimble", "/usr/lib/thimble", "/usr/local/lib/thimble"];

/// The named program, or the one of the package.
///
/// # Errors
/// If no program is named, and the package has none.
pub fn program(named: Option<&Path>, flag: &str, name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().ok();
    choose(named, own.as_deref(), flag, name)
}

fn choose(named: Option<&Path>, own: Option<&Path>, flag: &str, name: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let beside = own.and_then(Path::parent).unwrap_or(Path::new("/usr/bin"));
    let mut installed = FOLDERS.iter().filter_map(|folder| beside.join(folder).join(name).canonicalize().ok());
    match installed.find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("give the program with {flag} PATH: the package's own, /usr/lib/thimble/{name}, is not installed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_program_wins_and_the_packages_one_is_the_default() {
        let root = tempfile::tempdir().unwrap();
        let (bin, lib) = (root.path().join("bin"), root.path().join("lib/thimble"));
        [&bin, &lib].into_iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
        let own = bin.join("thimble");
        let error = choose(None, Some(&own), "--init", "no-such-program").unwrap_err().to_string();
        assert!(error.contains("--init PATH") && error.contains("/usr/lib/thimble/no-such-program"), "{error}");
        std::fs::write(lib.join("init"), "").unwrap();
        assert_eq!(choose(None, Some(&own), "--init", "init").unwrap(), lib.join("init").canonicalize().unwrap());
        let named = Path::new("/else/init");
        assert_eq!(choose(Some(named), Some(&own), "--init", "init").unwrap(), named);
    }
}
