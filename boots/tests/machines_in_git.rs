//! Machines from a folder in git: changes are followed from commit to commit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boots::{FileSource, Place};
use support::files::{FIRST, SECOND, comes_to_have, comes_to_log, hardware, names};
use support::{assert_logged, count_logged, keep_log};

/// A repository with work tree, as an operator has it.
struct Work(tempfile::TempDir);

impl Work {
    fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        work.git("init --quiet --initial-branch main .");
        work
    }

    fn git(&self, words: &str) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=operator", "-c", "user.email=operator@example.org", "-c", "commit.gpgsign=false"]);
        let output = git.args(words.split(' ')).current_dir(self.0.path()).output().expect("apt-get install git");
        assert!(output.status.success(), "git {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn at(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// The name of the commit.
    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            fs::write(self.at(name), text).unwrap();
        }
        self.git("add --all");
        self.git("commit --quiet --message change");
        self.git("rev-parse HEAD")
    }

    fn source(repository: &Path, rest: &str) -> FileSource {
        FileSource::of(place(repository, rest)).unwrap()
    }
}

#[tokio::test]
async fn a_folder_in_git_follows_its_branch_from_commit_to_commit() {
    keep_log();
    let work = Work::new();
    work.commit(&[("machines/a.yaml", &hardware("a", FIRST)), ("README.yaml", "nonsense")]);
    let source = Work::source(work.0.path(), "#main:machines");
    assert_eq!(names(&source).await, ["a"]);

    fs::write(work.at("machines/a.yaml"), "half writ").unwrap(); // not committed
    let added = work.commit(&[("machines/a.yaml", &hardware("a", FIRST)), ("machines/rack/b.yaml", &hardware("b", SECOND))]);
    comes_to_have(&source, &["a", "b"]).await;
    assert_logged(&["main:machines has changed to commit", &added[..12], ": 2 Hardware"]);

    let broken = work.commit(&[("machines/rack/b.yaml", &hardware("b", SECOND).replace("mac", "mak"))]);
    comes_to_log(&[&format!("machines/rack/b.yaml in {}", &broken[..12]), "had before stay in force"]).await;
    assert_eq!(names(&source).await, ["a", "b"]);

    fs::remove_file(work.at("machines/a.yaml")).unwrap();
    work.commit(&[("machines/rack/b.yaml", &hardware("b", SECOND))]);
    comes_to_have(&source, &["b"]).await;

    work.git("checkout --quiet -b other");
    work.commit(&[("machines/a.yaml", &hardware("other", FIRST))]);
    work.git("gc --quiet"); // into a pack, and the refs into one file
    work.git("checkout --quiet main");
    work.commit(&[("machines/c.yaml", &hardware("c", FIRST))]);
    comes_to_have(&source, &["c", "b"]).await;
    assert_eq!(count_logged("other"), 0, "another branch");
}

#[tokio::test]
async fn a_bare_repository_has_branches_tags_and_commits() {
    let work = Work::new();
    let first = work.commit(&[("a.yaml", &hardware("first", FIRST))]);
    work.git("tag --annotate --message stable stable");
    work.commit(&[("a.yaml", &hardware("second", FIRST))]);
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("site.git");
    work.git(&format!("clone --quiet --bare . {}", bare.display()));
    for (rest, expected) in [
        ("", "second"),
        ("#main", "second"),
        ("#refs/heads/main", "second"),
        ("#stable", "first"),
        (&format!("#{first}"), "first"),
    ] {
        assert_eq!(names(&Work::source(&bare, rest)).await, [expected], "{rest}");
    }
    let source = Work::source(&bare, "#main");
    work.commit(&[("a.yaml", &hardware("pushed", FIRST))]);
    work.git(&format!("push --quiet {} main", bare.display()));
    comes_to_have(&source, &["pushed"]).await;
    for (rest, mistake) in [
        ("#nobody", "has no branch, tag or commit \"nobody\""),
        ("#main:nowhere", "has no folder \"nowhere\""),
        ("#main:a.yaml", "has no folder \"a.yaml\""),
        (&format!("#{}", "1".repeat(40)), "cannot read commit 111111111111"),
    ] {
        let refused = machine::Chain(&FileSource::of(place(&bare, rest)).unwrap_err()).to_string();
        assert!(refused.contains(mistake), "{rest}: {refused}");
    }
    let refused = machine::Chain(&FileSource::of(place(folder.path(), "")).unwrap_err()).to_string();
    assert!(refused.contains("cannot open the git repository"), "{refused}");
}

fn place(repository: &Path, rest: &str) -> Place {
    format!("git:{}{rest}", repository.display()).parse().unwrap()
}

#[tokio::test]
async fn a_linked_work_tree_has_a_head_of_its_own_and_the_branches_of_all() {
    let work = Work::new();
    work.commit(&[("a.yaml", &hardware("first", FIRST))]);
    let folder = tempfile::tempdir().unwrap();
    let linked = folder.path().join("linked");
    work.git(&format!("worktree add --quiet -b side {}", linked.display()));
    work.commit(&[("a.yaml", &hardware("second", FIRST))]);
    for (rest, expected) in [("", "first"), ("#side", "first"), ("#main", "second")] {
        assert_eq!(names(&Work::source(&linked, rest)).await, [expected], "{rest}");
    }
    let paths = place(&linked, "").paths();
    let is_read = |path: &Path| paths.iter().any(|found| path.canonicalize().unwrap().starts_with(found.canonicalize().unwrap()));
    assert!(is_read(&work.at(".git/objects")) && is_read(&work.at(".git/worktrees/linked/HEAD")), "{paths:?}");
}

#[tokio::test]
async fn objects_of_another_repository_are_read_and_its_folder_is_named() {
    let work = Work::new();
    work.commit(&[("a.yaml", &hardware("shared", FIRST))]);
    let folder = tempfile::tempdir().unwrap();
    let clone = folder.path().join("clone.git");
    work.git(&format!("clone --quiet --bare --shared . {}", clone.display()));
    assert_eq!(names(&Work::source(&clone, "#main")).await, ["shared"]);
    let objects = work.at(".git/objects").canonicalize().unwrap();
    let paths = place(&clone, "#main").paths();
    assert!(paths.iter().any(|path| path.canonicalize().unwrap() == objects), "{paths:?}");
}

#[test]
fn a_repository_whose_format_is_another_one_is_refused_with_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let init = Command::new("git").args(["init", "--quiet", "--object-format=sha256"]).arg(folder.path()).status().unwrap();
    assert!(init.success());
    let refused = machine::Chain(&FileSource::of(place(folder.path(), "")).unwrap_err()).to_string();
    assert!(refused.contains("cannot open the git repository") && refused.contains("sha256"), "{refused}");
}
