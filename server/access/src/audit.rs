//! One line of JSON for each change: its caller, from where, what it was, and the answer. The files have a bounded size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use machine::said;
use serde::Serialize;

use crate::caller::{Caller, Proof};

const SEGMENT: u64 = 8 << 20;
const SEGMENTS: usize = 32;
const LONGEST_PATH: usize = 1024;
const LONGEST_NAME: usize = 128;
const QUIET: Duration = Duration::from_secs(60);

/// A change that a caller asked for.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub at: Timestamp,
    pub caller: &'a Caller,
    /// GET, POST, ...
    pub method: &'a str,
    /// With its query.
    pub path: &'a str,
    /// Of the HTTP answer.
    pub code: u16,
    pub agent: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    user: String,
    roles: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    from: String,
    method: String,
    path: String,
    code: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    agent: String,
}

/// One line. What callers send is bounded, and nothing in it can end the line or reach a terminal.
#[must_use]
pub fn line(change: &Change<'_>) -> String {
    let Change { at, caller, method, path, code, agent } = *change;
    let token = match &caller.proof {
        Proof::Token(id) => Some(id.as_str()),
        Proof::None | Proof::LocalUser | Proof::Certificate => None,
    };
    let line = Line {
        time: at,
        user: said(&caller.name, LONGEST_NAME),
        roles: said(&caller.roles(), 8 * LONGEST_NAME),
        token,
        from: caller.origin.to_string(),
        method: said(method, 16),
        path: said(path, LONGEST_PATH),
        code,
        agent: said(agent, LONGEST_NAME),
    };
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

#[derive(Debug)]
pub struct Audit {
    folder: PathBuf,
    segment: u64,
    segments: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    file: Option<(File, u64)>,
    complained: Option<Instant>,
}

impl Audit {
    /// The log below this folder. Nothing is opened before the first line.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        Self::bounded(folder, SEGMENT, SEGMENTS)
    }

    /// With other limits.
    #[must_use]
    pub fn bounded(folder: &Path, segment: u64, segments: usize) -> Self {
        Self { folder: folder.to_owned(), segment, segments, open: Mutex::default() }
    }

    /// Writes a line. If that is impossible, the server's log says so, and the server goes on.
    pub fn note(&self, change: &Change<'_>) {
        let text = line(change);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.write(&mut open, text.as_bytes(), change.at) {
            open.file = None;
            if open.complained.is_none_or(|at| at.elapsed() >= QUIET) {
                open.complained = Some(Instant::now());
                log::error!("changes are not recorded in {}: {error}", self.folder.display());
            }
        }
    }

    fn write(&self, open: &mut Open, line: &[u8], now: Timestamp) -> io::Result<()> {
        if open.file.as_ref().is_none_or(|(_, length)| *length >= self.segment) {
            open.file = Some(self.next(now, open.file.is_some())?);
        }
        if let Some((file, length)) = &mut open.file {
            file.write_all(line)?;
            *length += line.len() as u64;
        }
        Ok(())
    }

    /// The newest file if it has room, else a new one. The oldest ones make room.
    fn next(&self, now: Timestamp, is_full: bool) -> io::Result<(File, u64)> {
        fs::create_dir_all(&self.folder)?;
        let mut names = self.names()?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        if let (Some(newest), false) = (names.last(), is_full) {
            let file = options.open(self.folder.join(newest))?;
            let length = file.metadata()?.len();
            if length < self.segment {
                return Ok((file, length));
            }
        }
        let number = names.last().and_then(|name| name.split('-').next()?.parse::<u64>().ok()).map_or(1, |last| last + 1);
        let name = format!("{number:08}-{}.jsonl", now.strftime("%Y%m%dT%H%M%SZ"));
        let file = options.open(self.folder.join(&name))?;
        names.push(name);
        let surplus = names.len().saturating_sub(self.segments);
        for old in names.iter().take(surplus) {
            fs::remove_file(self.folder.join(old))?;
        }
        Ok((file, 0))
    }

    /// The files in the order of their numbers.
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder)?.filter_map(Result::ok);
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".jsonl") && name.split('-').next().is_some_and(|number| number.parse::<u64>().is_ok()))
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Grant, Origin, Role};

    fn caller(name: &str) -> Caller {
        let origin = Origin::Network { address: "10.0.0.7:4000".parse().unwrap(), encrypted: true };
        Caller::new(name, vec![Grant::everywhere(Role::Operator)], origin, Proof::Token("00ff".to_owned()))
    }

    fn change<'a>(caller: &'a Caller, path: &'a str) -> Change<'a> {
        Change { at: Timestamp::UNIX_EPOCH, caller, method: "DELETE", path, code: 204, agent: "kubectl" }
    }

    #[test]
    fn a_line_says_who_changed_what_from_where() {
        let alice = caller("alice");
        assert_eq!(
            line(&change(&alice, "/apis/tinkerbell.org/v1alpha1/namespaces/lab/hardware/m1?dryRun=All")),
            "{\"time\":\"1970-01-01T00:00:00Z\",\"user\":\"alice\",\"roles\":\"operator\",\"token\":\"00ff\",\"from\":\"10.0.0.7:4000\",\
             \"method\":\"DELETE\",\"path\":\"/apis/tinkerbell.org/v1alpha1/namespaces/lab/hardware/m1?dryRun=All\",\"code\":204,\
             \"agent\":\"kubectl\"}\n"
        );
    }

    #[test]
    fn what_a_caller_sends_stays_one_bounded_line() {
        let hostile = caller("eve\u{1b}[2J\n{\"user\":\"root\"}");
        let path = format!("/x\u{9b}\u{202e}\"{}", "y".repeat(10_000));
        let text = line(&Change { agent: "\r\nX", ..change(&hostile, &path) });
        assert_eq!(text.matches('\n').count(), 1);
        assert!(
            text.len() < 3000 && text.bytes().all(|byte| byte == b'\n' || byte >= b' ') && !text.contains('\u{9b}'),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["user"], "eve?[2J {\"user\":\"root\"}");
    }

    #[test]
    fn files_are_bounded_in_size_and_number_and_a_restart_goes_on() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("log/audit");
        let alice = caller("alice");
        for n in 0..40 {
            let audit = Audit::bounded(&folder, 1000, 3);
            audit.note(&change(&alice, &format!("/{n}/{}", "x".repeat(100))));
        }
        let audit = Audit::bounded(&folder, 1000, 3);
        for n in 40..60 {
            audit.note(&change(&alice, &format!("/{n}/{}", "x".repeat(100))));
        }
        let names = audit.names().unwrap();
        assert_eq!(names.len(), 3, "{names:?}");
        let sizes: Vec<u64> = names.iter().map(|name| fs::metadata(folder.join(name)).unwrap().len()).collect();
        assert!(sizes.iter().all(|size| *size < 1400), "{sizes:?}");
        let newest = fs::read_to_string(folder.join(names.last().unwrap())).unwrap();
        assert!(newest.lines().last().unwrap().contains("/59/"), "{newest}");
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_nothing() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("log"), "a file").unwrap();
        let audit = Audit::below(&place.path().join("log/audit"));
        let alice = caller("alice");
        audit.note(&change(&alice, "/1"));
        fs::remove_file(place.path().join("log")).unwrap();
        audit.note(&change(&alice, "/2"));
        assert_eq!(audit.names().unwrap().len(), 1, "it goes on when it can");
    }
}
