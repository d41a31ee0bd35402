//! Images for a ramdisk, pulled on the host that builds it: with the agent's registry client and its settings.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;

use crate::image::{Client, Puller, pace, retry::Patience, space, store::Store};
use crate::settings::Settings;

/// Asks nobody for actions, so that no server has to be named.
const NO_SERVER: [&str; 2] = ["-workflow", "none"];

/// Writes each image as an OCI image layout into a folder of its own below `folder`. Registries are what the agent's
/// variables and `/etc/thimble/registries.json` say of them.
pub async fn images(references: &[String], folder: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let settings = Settings::read(&NO_SERVER.map(OsString::from), |name| std::env::var(name).ok())?;
    let client = Client::new(&settings, pace::Limits::default()).context("cannot set up the registry client")?;
    let puller = Puller::new(client, Store::open(&folder.join("store"))?, Patience::default(), space::free);
    let mut layouts = Vec::new();
    for (number, reference) in references.iter().enumerate() {
        let layout = folder.join(number.to_string());
        puller.save(reference, &layout).await.with_context(|| format!("cannot pull {reference}"))?;
        layouts.push(layout);
    }
    Ok(layouts)
}

/// Whether it can be the name of an image.
pub fn is_reference(text: &str) -> bool {
    text.parse::<crate::image::reference::Reference>().is_ok()
}
