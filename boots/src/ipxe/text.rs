//! What may stand in a script of iPXE. iPXE expands `${...}` wherever it finds it, splits at white space, knows no quotes, and
//! ends a command at `||`, `&&` and `;`.

use cmdline::Word;

/// Whether iPXE would hand this word to the kernel as it is.
#[must_use]
pub fn is_sayable(word: &Word) -> bool {
    let text = word.render();
    let is_command = matches!(text.as_str(), "&&" | "||" | ";") || text.split(' ').any(|part| matches!(part, "&&" | "||" | ";"));
    !is_command && !text.ends_with('\\') && !text.starts_with('#') && !text.contains("${") && !text.contains(char::is_control)
}

/// Text for `echo`. A name cannot become a variable, a comment, an operator or a line break.
#[must_use]
pub fn plain(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._:/,()+=@%-'".contains(c);
    let text: String = text.chars().take(200).map(|c| if allowed(c) { c } else { '?' }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An operator's URL. It may have variables of iPXE, but no second command.
#[must_use]
pub fn url(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !c.is_control() && *c != '\\').collect()
}

/// A path in a URL. Other characters are percent-encoded, and iPXE decodes them again.
#[must_use]
pub fn path(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'/'
            | b'.'
            | b'_'
            | b'-'
            | b'~'
            | b'+'
            | b','
            | b':'
            | b'@'
            | b'='
            | b'%' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    out
}
