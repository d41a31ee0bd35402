//! Converts terminal output to lines: escapes and carriage returns are removed, a backspace removes the character before it,
//! and a cursor jump ends a line like a line feed.

#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// The last character of the line goes. iPXE overwrites a download's percentage in this way.
    Backspace,
    LineEnd,
}

#[derive(Default)]
enum State {
    #[default]
    Plain,
    /// After ESC.
    Escape,
    /// After ESC [.
    Sequence,
    /// After ESC ( and similar sequences, which have one more byte.
    Charset,
}

/// Keeps its state between reads, because an escape may be cut in two.
#[derive(Default)]
pub struct Cleaner {
    state: State,
    text: Vec<u8>,
    on_line: bool,
}

impl Cleaner {
    pub fn clean(&mut self, data: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for &byte in data {
            match self.state {
                State::Plain => self.plain(byte, &mut pieces),
                State::Escape => {
                    self.state = match byte {
                        b'[' => State::Sequence,
                        b'(' | b')' | b'#' => State::Charset,
                        _ => State::Plain,
                    }
                }
                State::Charset => self.state = State::Plain,
                State::Sequence if (0x40..=0x7e).contains(&byte) => {
                    self.state = State::Plain;
                    if matches!(byte, b'H' | b'f' | b'J') && self.on_line {
                        self.end(&mut pieces);
                    }
                }
                State::Sequence => {}
            }
        }
        self.flush(&mut pieces);
        pieces
    }

    fn plain(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        match byte {
            0x1b => self.state = State::Escape,
            b'\n' => self.end(pieces),
            b'\t' | 0x20..=0x7e | 0x80.. => {
                self.text.push(byte);
                self.on_line = true;
            }
            0x08 if self.text.pop().is_none() => pieces.push(Piece::Backspace),
            _ => {} // CR, bell, and a backspace that is done
        }
    }

    fn end(&mut self, pieces: &mut Vec<Piece>) {
        self.flush(pieces);
        self.on_line = false;
        pieces.push(Piece::LineEnd);
    }

    fn flush(&mut self, pieces: &mut Vec<Piece>) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            pieces.push(Piece::Text(String::from_utf8_lossy(&text).into_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut cleaner, mut lines) = (Cleaner::default(), vec![String::new()]);
        for piece in chunks.iter().flat_map(|chunk| cleaner.clean(chunk)) {
            match piece {
                Piece::Text(text) => lines.iter_mut().last().map_or((), |line| line.push_str(&text)),
                Piece::Backspace => lines.iter_mut().last().map_or((), |line| _ = line.pop()),
                Piece::LineEnd => lines.push(String::new()),
            }
        }
        lines
    }

    #[test]
    fn terminal_output_becomes_lines() {
        for (case, chunks, expected) in [
            ("carriage returns are removed", &[b"one\r\ntwo".as_slice()] as &[&[u8]], vec!["one", "two"]),
            ("colours go", &[b"\x1b[0m\x1b[37;40mred"], vec!["red"]),
            ("an escape cut in two", &[b"a\x1b[3", b"7mb"], vec!["ab"]),
            ("the cursor jumps", &[b"menu\x1b[2;1Hitem"], vec!["menu", "item"]),
            ("clearing an empty screen adds no line", &[b"\x1b[2J\x1b[01;01HBdsDxe"], vec!["BdsDxe"]),
            ("iPXE's percentage", &[b"vmlinuz... 94%\x08\x08", b"\x08\x08    \x08\x08\x08\x08 ok"], vec!["vmlinuz... ok"]),
            ("character sets", &[b"\x1b(Btext"], vec!["text"]),
        ] {
            assert_eq!(lines(chunks), expected, "{case}");
        }
    }
}
