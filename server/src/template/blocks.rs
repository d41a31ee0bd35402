//! Blocks have to be opened and closed in pairs. The engine takes a missing `end` as the end of the text and drops
//! everything behind a stray one, so a slip of the finger would silently shorten an installation.

/// A place where the pairs do not match.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpaired {
    pub line: usize,
    pub message: String,
}

pub(super) fn check(source: &str) -> Result<(), Unpaired> {
    let mut open: Vec<(&str, usize)> = Vec::new();
    for (word, line) in actions(source) {
        let unpaired = |message: String| Err(Unpaired { line, message });
        match (word, open.last()) {
            ("if" | "range" | "with" | "define" | "block", _) => open.push((word, line)),
            ("else", Some(("if" | "range" | "with", _))) => {}
            ("else", _) => return unpaired("{{else}} stands outside of if, range and with".to_owned()),
            ("end", None) => return unpaired("this {{end}} ends nothing".to_owned()),
            ("end", Some(_)) => drop(open.pop()),
            _ => {}
        }
    }
    match open.pop() {
        Some((word, line)) => Err(Unpaired { line, message: format!("this {{{{{word}}}}} has no {{{{end}}}}") }),
        None => Ok(()),
    }
}

/// The first word of every action and its line. An action that is not closed is left to the engine, which refuses it.
fn actions(source: &str) -> Vec<(&str, usize)> {
    let (mut found, mut rest, mut line) = (Vec::new(), source, 1);
    while let Some(start) = rest.find("{{") {
        line += newlines(rest, start);
        let inside = rest.get(start + 2..).unwrap_or_default();
        let text = inside.strip_prefix('-').unwrap_or(inside).trim_start();
        let word = text.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
        found.push((word, line));
        let length = length(inside);
        line += newlines(inside, length);
        rest = inside.get(length..).unwrap_or_default();
    }
    found
}

fn newlines(text: &str, until: usize) -> usize {
    text.get(..until).unwrap_or_default().matches('\n').count()
}

/// Bytes up to the closing braces, which do not count inside of comments and quotes.
fn length(inside: &str) -> usize {
    let opening = inside.len() - inside.trim_start_matches('-').trim_start().len();
    if inside.get(opening..).is_some_and(|text| text.starts_with("/*")) {
        return inside.find("*/").map_or(inside.len(), |end| end + 2);
    }
    let (mut quote, mut escaped) = (None, false);
    for (at, letter) in inside.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), closing) if open == closing => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(letter),
            (None, '}') if inside.get(at..).is_some_and(|text| text.starts_with("}}")) => return at,
            _ => {}
        }
    }
    inside.len()
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn blocks_come_in_pairs() {
        for (source, expected) in [
            ("a {{ if .x }}b{{ else if .y }}c{{ else }}d{{ end }} e", None),
            ("{{- range .x -}}{{ with . }}{{ end }}{{- end -}}", None),
            ("{{ define \"end\" }}{{ end }}{{ template \"end\" }}{{ block \"b\" . }}{{ end }}", None),
            ("{{/* {{ end }} if */}}{{- /* }} */ -}} {{ \"{{ end }}\" }} {{ `}} {{ if` }} {{ '\"' }}{{ endless }}", None),
            ("{{ \"\\\"}}{{ end\" }}", None),
            ("{{ printf \"}}\n\" }}\n{{ end }}", Some((3, "this {{end}} ends nothing"))),
            ("a\n{{ if .x }}b\n", Some((2, "this {{if}} has no {{end}}"))),
            ("{{ if .x }}\n{{ range .y }}{{ end }}", Some((1, "this {{if}} has no {{end}}"))),
            ("{{ end }}", Some((1, "this {{end}} ends nothing"))),
            ("{{ define \"x\" }}{{ else }}{{ end }}", Some((1, "{{else}} stands outside of if, range and with"))),
            ("{{ if", Some((1, "this {{if}} has no {{end}}"))),
        ] {
            let found = check(source).err().map(|unpaired| (unpaired.line, unpaired.message));
            assert_eq!(found, expected.map(|(line, message)| (line, message.to_owned())), "{source}");
        }
    }
}
