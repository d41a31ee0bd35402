//! A workflow of five images, with and without pulling the next image while an action runs.

use std::net::SocketAddr;

use super::*;

/// The unpacked size, which is about 20 MB in a registry.
const UNPACKED: u64 = 52 << 20;
const IMAGES: usize = 5;
/// A short action ends before the next image is pulled, a long one does not.
const ACTIONS: [(&str, &[&str]); 2] = [("`true`", TRUE), ("`sleep 1`", &["/bin/sleep", "1"])];

impl Bench {
    pub(super) fn five_images(&self, address: SocketAddr, runs: usize) -> Result<()> {
        let (mut names, mut bytes) = (Vec::new(), 0);
        for (number, files) in programs()?.iter().enumerate() {
            let (image, name) = (Image::busybox_with(files)?, format!("step{number}"));
            image.push(address, &name, "1")?;
            names.push(format!("{name}:1"));
            bytes += image.size();
        }
        let images: Vec<&str> = names.iter().map(String::as_str).collect();
        let each = bytes as f64 / 1e6 / IMAGES as f64;
        println!("\n{IMAGES} actions of {IMAGES} images, {each:.0} MB each, from first pull to last exit, median of {runs}");
        for (what, command) in ACTIONS {
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                with.push(self.seconds(&images, command, "true")?);
                without.push(self.seconds(&images, command, "false")?);
            }
            let [with, without] = [with, without].map(median);
            println!("  {what:10} pulling ahead {with:.2} s, without {without:.2} s, ratio {:.2}", with / without);
        }
        Ok(())
    }

    fn seconds(&self, images: &[&str], command: &[&str], ahead: &str) -> Result<f64> {
        let (mut child, state) = self.workflow_of(images, command, &[("THIMBLE_PULL_AHEAD", ahead)])?;
        let (mut first, mut last, mut said) = (None, None, String::new());
        for line in BufReader::new(child.stderr.take().context("no output")?).lines() {
            let (line, now) = (line.context("cannot read the agent's output")?, Instant::now());
            if line.contains(": pulling ") && first.is_none() {
                first = Some(now);
            }
            if line.contains(": SUCCESS in ") {
                last = Some(now);
            }
            said += &format!("{line}\n");
        }
        child.wait().context("the agent")?;
        fs::remove_dir_all(&state).context("cannot remove the agent's state")?;
        let done = said.matches(": SUCCESS in ").count();
        ensure!(done == images.len(), "the agent ended {done} actions of {}:\n{said}", images.len());
        let (first, last) = (first.context("no pull")?, last.context("no end")?);
        Ok(last.duration_since(first).as_secs_f64())
    }
}

/// Files of this host for each image.
fn programs() -> Result<Vec<Vec<PathBuf>>> {
    let mut images: Vec<(Vec<PathBuf>, u64)> = Vec::new();
    for (folder, _) in LAYERS {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot list {folder}"))?.flatten().map(|entry| entry.path());
        let mut entries: Vec<PathBuf> = entries.filter(|path| path.is_file() && !path.is_symlink()).collect();
        entries.sort();
        for file in entries {
            let size = fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
            match images.last_mut().filter(|(_, bytes)| bytes + size <= UNPACKED) {
                Some((files, bytes)) => {
                    files.push(file);
                    *bytes += size;
                }
                None if size <= UNPACKED => images.push((vec![file], size)),
                None => {}
            }
        }
    }
    images.truncate(IMAGES);
    ensure!(images.len() == IMAGES, "the host's programs fill {} images of {IMAGES}", images.len());
    Ok(images.into_iter().map(|(files, _)| files).collect())
}
