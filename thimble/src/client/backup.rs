//! `thimble backup`: the whole store of a running server in one file, which has its name only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use api::backup::{Head, Reader};

use super::connection::Connection;

pub(super) async fn run(server: &Connection, file: &Path, force: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if file.exists() && !force {
        bail!("{} exists already; --force replaces it", file.display());
    }
    let partial = partial(file);
    let taken = take(server, &partial).await.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    fs::rename(&partial, file).with_context(|| format!("cannot give the backup its name {}", file.display()))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all().with_context(|| format!("cannot write {}", folder.display()))?;
    writeln!(out, "{} entries at revision {} are in {}", taken.entries, taken.revision, file.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Beside the file, so that the name changes in one step.
fn partial(file: &Path) -> PathBuf {
    file.with_file_name(format!("{}.partial", file.file_name().unwrap_or_default().to_string_lossy()))
}

/// Everything is on the disk and was read again when this returns.
async fn take(server: &Connection, partial: &Path) -> anyhow::Result<Head> {
    let shown = partial.display();
    let _ = fs::remove_file(partial); // what an earlier backup has left
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600); // every secret of the server is in it
    let mut file = options.open(partial).with_context(|| format!("cannot make {shown}"))?;
    server.download(api::paths::BACKUP, &mut file).await?;
    file.sync_all().with_context(|| format!("cannot write {shown}"))?;
    drop(file);
    let read = || {
        let mut reader = Reader::open(BufReader::new(File::open(partial)?))?;
        while reader.next_entry()?.is_some() {}
        anyhow::Ok(reader.head().clone())
    };
    read().context("the backup did not arrive as the server sent it; take it again")
}
