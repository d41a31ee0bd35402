//! Messages on a TCP connection (RFC 6587): each with its length before it, or each with a line feed behind it. Pure.

/// Longer messages are cut. Their text is cut further by `parse`.
pub const LONGEST: usize = 16 * 1024;
/// The most digits of a length. A line that begins with more of them is text.
const DIGITS: usize = 9;

/// Takes a connection's bytes in any pieces, and gives whole messages. It needs memory for one message.
#[derive(Debug, Default)]
pub struct Frames {
    held: Vec<u8>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a message. `held` has what may be its length: digits, and then a space.
    #[default]
    Start,
    /// In a message that has so many bytes left.
    Counted(usize),
    /// In a message that ends with its line.
    Line,
}

impl Frames {
    /// The next message of `bytes`, which loses what was read. `None` if all of them are read.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Vec<u8>> {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.state {
                State::Start => {
                    *bytes = rest;
                    if self.begin(first) {
                        return self.take();
                    }
                }
                State::Counted(left) => {
                    let (part, rest) = bytes.split_at(left.min(bytes.len()));
                    *bytes = rest;
                    self.hold(part);
                    self.state = State::Counted(left - part.len());
                    if left == part.len() {
                        return self.take();
                    }
                }
                State::Line => {
                    let end = bytes.iter().position(|byte| is_end(*byte));
                    let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    self.hold(part);
                    *bytes = rest.get(usize::from(end.is_some())..).unwrap_or_default();
                    if end.is_some() {
                        return self.take();
                    }
                }
            }
        }
        None
    }

    /// The message that was not complete when the connection ended.
    pub fn end(&mut self) -> Option<Vec<u8>> {
        self.take().filter(|message| !message.is_empty())
    }

    /// The first bytes of a message. Whether they are all of it.
    ///
    /// A length counts only if `<` follows it, because each message begins so. A line of text may begin with a number.
    fn begin(&mut self, byte: u8) -> bool {
        let length = self.held.strip_suffix(b" ").map(parse);
        match byte {
            _ if self.held.is_empty() && is_end(byte) => return false, // between two messages
            b'<' if length.is_some() => {
                self.held.clear();
                self.held.push(byte);
                let left = length.unwrap_or(1) - 1;
                self.state = State::Counted(left);
                return left == 0;
            }
            b'1'..=b'9' if length.is_none() && self.held.len() < DIGITS => {}
            b'0' if length.is_none() && !self.held.is_empty() && self.held.len() < DIGITS => {}
            b' ' if length.is_none() && !self.held.is_empty() => {}
            _ => self.state = State::Line,
        }
        let ends = self.state == State::Line && is_end(byte);
        if !ends {
            self.held.push(byte);
        }
        ends
    }

    fn hold(&mut self, part: &[u8]) {
        let room = LONGEST.saturating_sub(self.held.len());
        self.held.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.state = State::Start;
        Some(std::mem::take(&mut self.held))
    }
}

/// Line feed is usual. RFC 6587 (3.4.2) names NUL, too.
const fn is_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\0')
}

/// It has 1 to 9 digits, and the first is not 0.
fn parse(digits: &[u8]) -> usize {
    digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(pieces: &[&[u8]]) -> Vec<String> {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while let Some(message) = frames.next(&mut piece) {
                found.push(message);
            }
        }
        found.extend(frames.end());
        found.into_iter().map(|message| String::from_utf8_lossy(&message).into_owned()).collect()
    }

    #[test]
    fn both_framings_are_read_in_any_pieces() {
        for (case, stream, expected) in [
            ("octet counting", "9 <13>1 a b8 <13>x: y", vec!["<13>1 a b", "<13>x: y"]),
            ("lines", "<13>a: b\n<13>c: d\n", vec!["<13>a: b", "<13>c: d"]),
            ("NUL", "<13>a: b\0<13>c: d\0", vec!["<13>a: b", "<13>c: d"]),
            ("both on one connection", "8 <13>a: b<13>c: d\n8 <13>e: f\n", vec!["<13>a: b", "<13>c: d", "<13>e: f"]),
            ("empty lines", "\n\n<13>a: b\n\n\n", vec!["<13>a: b"]),
            ("no end", "<13>a: b", vec!["<13>a: b"]),
            ("cut off", "100 <13>a: b", vec!["<13>a: b"]),
            ("a line feed inside", "10 <13>a:\nb c8 <13>d: e", vec!["<13>a:\nb c", "<13>d: e"]),
            ("text that begins with a number", "12 monkeys\n1\n007 <x\n", vec!["12 monkeys", "1", "007 <x"]),
            ("a long number", "1234567890 <13>a\n", vec!["1234567890 <13>a"]),
            ("two spaces", "8  <13>a: b\n", vec!["8  <13>a: b"]),
            ("one byte", "1 <<13>a\n", vec!["<", "<13>a"]),
            ("a length of nothing", "0 <13>a\n", vec!["0 <13>a"]),
            ("only a length", "12 ", vec!["12 "]),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(messages(&[stream.as_bytes()]), expected, "{case}");
            let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(messages(&bytes), expected, "{case}, byte by byte");
        }
    }

    #[test]
    fn a_long_message_is_cut_and_the_next_one_is_whole() {
        let long = "x".repeat(LONGEST * 3);
        for stream in [format!("<13>{long}\n<13>a: b\n"), format!("{} <13>{long}8 <13>a: b", long.len() + 4)] {
            let found = messages(&[stream.as_bytes()]);
            assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [LONGEST, 8]);
            assert_eq!(found[1], "<13>a: b");
        }
    }
}
