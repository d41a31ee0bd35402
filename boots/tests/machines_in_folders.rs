//! Machines from a folder: changes are followed, and a change with a mistake changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use boots::FileSource;
use support::files::{FIRST, SECOND, comes_to_have, comes_to_log, hardware, names};
use support::{assert_logged, keep_log};

#[tokio::test]
async fn a_folder_is_all_its_yaml_files_and_a_mistake_in_one_changes_nothing() {
    keep_log();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("rack-1/.hidden")).unwrap();
    fs::write(at("a.yaml"), hardware("a", FIRST)).unwrap();
    fs::write(at("rack-1/b.yml"), hardware("b", SECOND)).unwrap();
    fs::write(at("rack-1/.hidden/c.yaml"), "nonsense").unwrap();
    fs::write(at("notes.txt"), "nonsense").unwrap();
    let source = FileSource::open(folder.path()).unwrap();
    assert_eq!(names(&source).await, ["a", "b"]);

    fs::write(at("a.yaml"), hardware("new-a", FIRST)).unwrap();
    fs::write(at("rack-1/b.yml"), hardware("b", SECOND).replace("allowPXE", "allowPxe")).unwrap();
    comes_to_log(&["rack-1/b.yml:4", "allowPxe", "had before stay in force"]).await;
    assert_eq!(names(&source).await, ["a", "b"], "the whole folder, or nothing of it");
    fs::write(at("rack-1/b.yml"), hardware("new-b", SECOND)).unwrap();
    comes_to_have(&source, &["new-a", "new-b"]).await;

    fs::remove_file(at("a.yaml")).unwrap();
    comes_to_have(&source, &["new-b"]).await;
    fs::rename(folder.path().join("rack-1"), folder.path().join(".away")).unwrap();
    comes_to_log(&["there is no file *.yaml or *.yml in", "had before stay in force"]).await;
    assert_eq!(names(&source).await, ["new-b"], "a file system that is not mounted takes no machine away");

    fs::rename(folder.path().join(".away"), folder.path().join("rack-1")).unwrap();
    fs::write(at("copy.yaml"), hardware("copy", SECOND)).unwrap();
    comes_to_have(&source, &["copy"]).await;
    assert_logged(&["default/copy and Hardware default/new-b both have 02:00:00:00:00:02; default/copy counts"]);
}
