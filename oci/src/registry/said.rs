//! A registry's text about an error, short and harmless for a log. Pure.

use std::fmt;

use serde_json::Value;

/// How many bytes of an error's body are read.
pub const READ: usize = 16 << 10;
/// How many characters are shown.
const SHOWN: usize = 300;
/// How many errors of one answer are shown.
const ERRORS: usize = 3;

/// The registry's text, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(String);

/// Written in parentheses after a message.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (it says: {})", self.0) }
    }
}

impl Said {
    /// The text in an answer's body: from the formats of the distribution specification, token services and blob stores,
    /// from a page's title, or plain text.
    pub fn read(body: &[u8]) -> Self {
        let body = body.get(..READ).unwrap_or(body);
        if let Ok(value @ Value::Object(_)) = serde_json::from_slice(body) {
            return Self::shown(&of_json(&value).unwrap_or_else(|| value.to_string()));
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with('<') { Self::shown(&of_markup(text)) } else { Self::shown(text) }
    }

    /// One line without control characters, and without those that change the direction of text.
    fn shown(text: &str) -> Self {
        let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let mut line = String::new();
        for word in words {
            if line.len() > SHOWN * 4 {
                break;
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.extend(word.chars().filter(|c| !is_invisible(*c)).take(SHOWN + 1));
        }
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => Self(format!("{}…", line.get(..end).unwrap_or_default())),
            None => Self(line),
        }
    }
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}' | '\u{fffd}')
}

fn of_json(value: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
    if let Some(errors) = value.get("errors").and_then(Value::as_array).filter(|errors| !errors.is_empty()) {
        let said: Vec<String> = errors.iter().take(ERRORS).filter_map(|error| text(error).or_else(|| one_error(error))).collect();
        return (!said.is_empty()).then(|| said.join("; "));
    }
    // Docker's token service uses `details`, and OAuth2 uses `error_description`. `error` may be an object with a message.
    let named = ["details", "error_description", "message", "error", "detail", "reason", "title"];
    named.iter().find_map(|name| value.get(name)).and_then(|found| text(found).or_else(|| one_error(found)))
}

/// `code: message (detail)`, from those that are texts.
fn one_error(error: &Value) -> Option<String> {
    let text = |name| error.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let (code, message) = (text("code"), text("message"));
    let mut said: Vec<String> = [code, message].into_iter().flatten().map(str::to_owned).collect();
    if let Some(detail) = text("detail").filter(|detail| Some(*detail) != message) {
        said.push(detail.to_owned());
    }
    (!said.is_empty()).then(|| said.join(": "))
}

/// The title of a page, or else all text between the tags.
fn of_markup(text: &str) -> String {
    let lower = text.to_ascii_lowercase(); // it has the length of the text, so positions are the same
    let title = lower.find("<title>").map(|at| at + 7).and_then(|start| {
        let end = start + lower.get(start..)?.find("</title>")?;
        text.get(start..end).filter(|title| !title.trim().is_empty())
    });
    if let Some(title) = title {
        return entities(title);
    }
    let pieces = text.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, text)| text.trim());
    entities(&pieces.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" "))
}

fn entities(text: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (name, c)| text.replace(name, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_error_is_found_in_every_format() {
        for (case, body, want) in [
            (
                "Harbor's policy",
                r#"{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"current image with 5 vulnerabilities cannot be pulled","detail":null}]}"#,
                "PROJECTPOLICYVIOLATION: current image with 5 vulnerabilities cannot be pulled",
            ),
            (
                "distribution, with details that are an object",
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"1"}}]}"#,
                "MANIFEST_UNKNOWN: manifest unknown",
            ),
            (
                "two errors, one with a text for details",
                r#"{"errors":[{"code":"A","message":"b","detail":"c"},{"message":"d"}]}"#,
                "A: b: c; d",
            ),
            ("more errors than are shown", r#"{"errors":["1","2","3","4"]}"#, "1; 2; 3"),
            ("Docker's token service", r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            ("OAuth2", r#"{"error":"invalid_grant","error_description":"expired"}"#, "expired"),
            ("a cloud's", r#"{"error":{"code":"403","message":"denied"}}"#, "403: denied"),
            ("unknown JSON", r#"{"status": 7}"#, r#"{"status":7}"#),
            ("no errors", r#"{"errors":[]}"#, r#"{"errors":[]}"#),
            ("a page", "<!DOCTYPE html><HTML><head><Title>502 Bad\n Gateway</title></head><body>x</body>", "502 Bad Gateway"),
            (
                "a page without a title",
                "<html><body><h1>No &lt;way&gt; &amp; out</h1> nginx</body></html>",
                "No <way> & out nginx",
            ),
            (
                "a blob store",
                "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                "AccessDenied Request has expired",
            ),
            ("plain text", "\n  the disk\r\n\tis full\u{1b}[31m\n", "the disk is full [31m"),
            ("text of another direction", "a\u{202e}b", "ab"),
            ("nothing", " \n", ""),
        ] {
            assert_eq!(Said::read(body.as_bytes()).0, want, "{case}");
        }
    }

    #[test]
    fn the_text_is_short_for_any_input() {
        for body in ["x".repeat(1 << 20), "x ".repeat(1 << 20), format!("<{}", "x>".repeat(1 << 20)), "[".repeat(1 << 20)] {
            let shown = Said::read(body.as_bytes()).to_string();
            assert!(shown.chars().count() <= SHOWN + 20 && shown.contains('…'), "{}", shown.len());
        }
        assert_eq!(Said::read(&[0xff, 0x00, 0xfe]).to_string(), "");
        assert_eq!(Said::default().to_string(), "");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "\\PC{0,60}") {
            for body in [&bytes[..], text.as_bytes(), format!("<title>{text}").as_bytes()] {
                let said = Said::read(body);
                assert!(!said.0.contains(char::is_control));
            }
        }
    }
}
