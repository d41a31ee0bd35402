//! Warnings that are logged once: at every turn they would fill the console.

/// Hosts on the network choose some of the texts. More lines than this are not kept and not shown.
const MOST: usize = 100;

#[derive(Default)]
pub struct Once(Vec<String>);

impl Once {
    pub fn warn(&mut self, line: String) {
        if self.0.len() < MOST && !self.0.contains(&line) {
            log::warn!("{line}");
            self.0.push(line);
        }
    }
}
