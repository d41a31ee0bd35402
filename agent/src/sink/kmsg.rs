//! Lines as records of the kernel log.

use std::fs::{File, OpenOptions};

use log::Level;

use machine::syslog::FACILITY_LOCAL0;

/// The kernel refuses records above 1024 bytes less its own prefix (48); the priority and our name take their part.
const TEXT_MAX: usize = 900;

/// The kernel lets a writer have 10 lines in 5 seconds unless `printk_devkmsg` says otherwise; PID 1 may have said so already.
pub fn open() -> Option<File> {
    let _ = std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    OpenOptions::new().write(true).open("/dev/kmsg").ok()
}

/// One record for each piece of `text`. All go out as notices, or worse, so that every console shows them.
pub fn records(level: Level, text: &str) -> Vec<Vec<u8>> {
    let severity = match level {
        Level::Error => 3,
        Level::Warn => 4,
        _ => 5,
    };
    let priority = u32::from(FACILITY_LOCAL0) * 8 + severity; // the facility tells PID 1 that we send it by syslog
    text.lines().flat_map(pieces).map(|piece| format!("<{priority}>thimble: {piece}\n").into_bytes()).collect()
}

fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        if text.len() <= TEXT_MAX {
            rest = None;
            return Some(text);
        }
        let (piece, tail) = text.split_at(text.floor_char_boundary(TEXT_MAX));
        rest = Some(tail);
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_becomes_records_the_kernel_accepts_and_loses_nothing() {
        let line = "ü".repeat(1000);
        let records = records(Level::Info, &line);
        assert!(records.len() > 1 && records.iter().all(|r| r.len() <= 976));
        let texts = records.iter().map(|r| String::from_utf8(r.clone()).unwrap());
        let joined: String = texts.map(|t| t.trim_start_matches("<133>thimble: ").trim_end().to_owned()).collect();
        assert_eq!(joined, line);
    }

    #[test]
    fn a_line_break_starts_a_new_record() {
        let records = records(Level::Error, "one\ntwo");
        assert_eq!(records, [b"<131>thimble: one\n".to_vec(), b"<131>thimble: two\n".to_vec()]);
    }
}
