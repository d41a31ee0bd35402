//! Warnings that are logged once: at every turn they would fill the console.

#[derive(Default)]
pub struct Once(Vec<String>);

impl Once {
    pub fn warn(&mut self, line: String) {
        if !self.0.contains(&line) {
            log::warn!("{line}");
            self.0.push(line);
        }
    }
}
