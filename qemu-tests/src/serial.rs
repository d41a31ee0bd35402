//! A machine's serial console: every line with its time and without escapes, and waiting for text with a limit.

mod clean;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use regex::Regex;

use clean::Cleaner;

const LAST_LINES: usize = 15;

#[derive(Debug, Clone)]
pub struct Line {
    pub at: Instant,
    pub text: String,
}

impl Line {
    /// The guest's clock, from the kernel's time stamp.
    pub fn uptime(&self) -> Option<f64> {
        let (stamp, _) = self.text.trim_start().strip_prefix('[')?.split_once(']')?;
        stamp.trim().parse().ok()
    }
}

#[derive(Default)]
struct Transcript {
    lines: Vec<Line>,
    partial: String,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    transcript: Mutex<Transcript>,
    changed: Condvar,
    /// What is written here is typed at the machine.
    keyboard: Mutex<Option<UnixStream>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Transcript> {
        self.transcript.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading end. Clones share the transcript, and each one has its own position in it.
#[derive(Clone)]
pub struct Serial {
    shared: Arc<Shared>,
    next: usize,
    log: PathBuf,
}

impl Serial {
    /// Listens at `socket` for the machine and copies its output to `log` as it arrives.
    pub fn listen(socket: &Path, log: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        let copy =
            File::options().create(true).append(true).open(log).with_context(|| format!("cannot write {}", log.display()))?;
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            if let Ok((socket, _)) = listener.accept() {
                *writer.keyboard.lock().unwrap_or_else(PoisonError::into_inner) = socket.try_clone().ok();
                read(socket, copy, &writer);
            }
            writer.lock().ended = true;
            writer.changed.notify_all();
        });
        Ok(Self { shared, next: 0, log: log.to_owned() })
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The next line that matches, after the end of the last match. Fails at the limit or when the machine ends.
    pub fn expect(&mut self, pattern: &str, limit: Duration) -> Result<Line> {
        let regex = Regex::new(pattern).with_context(|| format!("{pattern:?} is not a pattern"))?;
        let deadline = Instant::now() + limit;
        loop {
            let transcript = self.shared.lock();
            if let Some((line, next)) = find(&transcript, self.next, &regex) {
                self.next = next;
                return Ok(line);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if transcript.ended || left.is_zero() {
                let why = if transcript.ended { "the machine ended".into() } else { format!("{} s passed", limit.as_secs()) };
                bail!("{why} without {pattern:?} on the console; last lines ({}):\n{}", self.log.display(), last(&transcript));
            }
            drop(self.shared.changed.wait_timeout(transcript, left));
        }
    }

    /// Types text at the machine.
    pub fn send(&self, text: &str) -> Result<()> {
        let mut keyboard = self.shared.keyboard.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = keyboard.as_mut().context("the machine has not opened its console")?;
        socket.write_all(text.as_bytes()).context("cannot type at the machine's console")
    }

    /// Waits for the next line. `None` if no line comes within the limit.
    pub fn next_line(&mut self, limit: Duration) -> Option<Line> {
        let deadline = Instant::now() + limit;
        loop {
            let transcript = self.shared.lock();
            if let Some(line) = transcript.lines.get(self.next) {
                self.next += 1;
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if transcript.ended || left.is_zero() {
                return None;
            }
            drop(self.shared.changed.wait_timeout(transcript, left));
        }
    }

    /// The text of the line that has not ended yet, such as a prompt.
    pub fn partial(&self) -> String {
        self.shared.lock().partial.clone()
    }

    /// Every line so far that matches.
    pub fn all(&self, pattern: &str) -> Result<Vec<Line>> {
        let regex = Regex::new(pattern).with_context(|| format!("{pattern:?} is not a pattern"))?;
        Ok(self.shared.lock().lines.iter().filter(|line| regex.is_match(&line.text)).cloned().collect())
    }

    /// Skips all unread lines. Returns the number of the next line.
    pub fn skip_to_end(&mut self) -> usize {
        self.next = self.shared.lock().lines.len();
        self.next
    }

    /// The number of the last line that matches, starting at line `from`.
    pub fn last_match(&self, pattern: &str, from: usize) -> Result<Option<usize>> {
        let regex = Regex::new(pattern).with_context(|| format!("{pattern:?} is not a pattern"))?;
        let transcript = self.shared.lock();
        Ok(transcript
            .lines
            .iter()
            .enumerate()
            .skip(from)
            .rev()
            .find(|(_, line)| regex.is_match(&line.text))
            .map(|(index, _)| index))
    }

    pub fn last_lines(&self) -> String {
        last(&self.shared.lock())
    }
}

fn find(transcript: &Transcript, from: usize, regex: &Regex) -> Option<(Line, usize)> {
    let whole = transcript.lines.iter().enumerate().skip(from).find(|(_, line)| regex.is_match(&line.text));
    if let Some((index, line)) = whole {
        return Some((line.clone(), index + 1));
    }
    let unread = from <= transcript.lines.len();
    let prompt = unread && !transcript.partial.is_empty() && regex.is_match(&transcript.partial);
    // The rest of this line will not match again.
    prompt.then(|| (Line { at: Instant::now(), text: transcript.partial.clone() }, transcript.lines.len() + 1))
}

fn last(transcript: &Transcript) -> String {
    let lines = &transcript.lines;
    let mut text: Vec<&str> = lines.iter().skip(lines.len().saturating_sub(LAST_LINES)).map(|line| line.text.as_str()).collect();
    text.push(&transcript.partial);
    text.iter().map(|line| format!("  | {line}\n")).collect()
}

fn read(mut socket: impl Read, mut copy: File, shared: &Shared) {
    let (mut cleaner, mut buffer) = (Cleaner::default(), [0_u8; 4096]);
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        let data = &buffer[..count];
        let _a_full_disk_must_not_stop_the_scenario = copy.write_all(data);
        let mut transcript = shared.lock();
        for piece in cleaner.clean(data) {
            match piece {
                clean::Piece::Text(text) => transcript.partial.push_str(&text),
                clean::Piece::Backspace => drop(transcript.partial.pop()),
                clean::Piece::LineEnd => {
                    let text = std::mem::take(&mut transcript.partial);
                    transcript.lines.push(Line { at: Instant::now(), text });
                }
            }
        }
        drop(transcript);
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (tempfile::TempDir, Serial, UnixStream) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("serial");
        let serial = Serial::listen(&socket, &folder.path().join("serial.log")).unwrap();
        let machine = UnixStream::connect(&socket).unwrap();
        (folder, serial, machine)
    }

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn lines_are_found_in_order_and_once() {
        let (_folder, mut serial, mut machine) = console();
        machine.write_all(b"[    1.500000] one\r\n\x1b[0mtwo\r\none again\r\n").unwrap();
        let first = serial.expect("one", SOON).unwrap();
        assert_eq!((first.text.as_str(), first.uptime()), ("[    1.500000] one", Some(1.5)));
        assert_eq!(serial.expect("one", SOON).unwrap().text, "one again");
        assert_eq!(serial.all("o").unwrap().len(), 3);
    }

    #[test]
    fn a_prompt_without_line_end_is_found_once() {
        let (_folder, mut serial, mut machine) = console();
        machine.write_all(b"debian login: ").unwrap();
        assert_eq!(serial.expect("login:", SOON).unwrap().text, "debian login: ");
        machine.write_all(b"\r\nlogin: ").unwrap();
        assert_eq!(serial.expect("login:", SOON).unwrap().text, "login: ");
    }

    #[test]
    fn what_is_sent_arrives_at_the_machine() {
        let (_folder, mut serial, mut machine) = console();
        machine.write_all(b"passphrase: ").unwrap();
        serial.expect("passphrase:", SOON).unwrap();
        serial.send("secret\n").unwrap();
        let mut typed = [0; 7];
        machine.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"secret\n");
    }

    #[test]
    fn the_end_of_the_machine_ends_the_waiting_and_shows_the_last_lines() {
        let (_folder, mut serial, mut machine) = console();
        machine.write_all(b"Kernel panic\r\n").unwrap();
        drop(machine);
        let error = serial.expect("login:", Duration::from_secs(3600)).unwrap_err().to_string();
        assert!(error.contains("the machine ended") && error.contains("| Kernel panic"), "{error}");
    }
}
