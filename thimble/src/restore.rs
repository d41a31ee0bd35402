//! `thimble restore`: a backup becomes the store of this host's server, which must not run.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use server::store::{Restored, restore};

use crate::data_folder::DataFolder;
use crate::up::STORE;

#[derive(Args, Debug)]
pub struct RestoreArguments {
    /// What `thimble backup` wrote
    file: PathBuf,
    /// Replace a store that has content; it is kept beside the new one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    data: DataFolder,
}

pub fn run(arguments: &RestoreArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let RestoreArguments { file, force, data } = arguments;
    let shown = file.display();
    let backup = File::open(file).with_context(|| format!("cannot read the backup {shown}"))?;
    if let Some(store) = data.store()? {
        bail!(
            "the store of this host's server is {store}, which `thimble restore` does not write: `etcdctl snapshot restore` \
             brings back a snapshot of etcd, and `thimble import` what `thimble export` wrote"
        );
    }
    let folder = data.path()?;
    access::take_over(&folder, &[STORE]).with_context(|| format!("cannot use the data folder {}", folder.display()))?;
    let store = folder.join(STORE);
    let Restored { head, kept } =
        restore(&store, BufReader::new(backup), *force).with_context(|| format!("{shown} is not restored"))?;
    let (store, taken) = (store.display(), head.taken);
    writeln!(out, "{store} has the {} entries of {shown}, as they were at {taken:.0}", head.entries)?;
    if let Some(kept) = kept {
        writeln!(out, "the earlier store is {}", kept.display())?;
    }
    writeln!(out, "machines that had an order then are held at the next start; `thimble machine list --all` shows them")?;
    Ok(())
}
