//! Warnings that are logged only once, because at every turn they would fill the console.

/// Other hosts determine some of the texts, so no more lines than this are kept and shown.
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
