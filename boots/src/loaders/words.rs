//! Which text may stand in the configuration of which loader.

use cmdline::Word;

/// A path or URL that no loader reads as anything else.
pub fn is_plain(path: &str) -> bool {
    !path.is_empty() && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/+~@:=%-".contains(&byte))
}

/// Text for a person. No loader has a meaning for what is left.
pub fn plain(text: &str) -> String {
    let text: String =
        text.chars().take(200).map(|c| if c.is_ascii_alphanumeric() || " ._:/,+=@-".contains(c) { c } else { '?' }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// U-Boot expands `${x}` and `$(x)`, and takes quotes and backslashes away. The line ends with its line.
pub fn for_pxelinux(word: &Word) -> Option<String> {
    let text = word.render();
    let is_good = word.is_renderable() && !text.contains(['$', '\\', '\'']) && !text.contains(char::is_control);
    is_good.then_some(text)
}

/// One word in single quotes, in which GRUB expands nothing. GRUB puts quotes around spaces itself, and a backslash before
/// quotes and backslashes.
pub fn for_grub(word: &Word) -> Option<String> {
    let text = match &word.value {
        Some(value) => format!("{}={value}", word.name),
        None => word.name.clone(),
    };
    let is_good = word.is_renderable() && !text.contains(['\'', '"', '\\']) && !text.contains(char::is_control);
    is_good.then(|| format!("'{text}'"))
}

/// The good words, and a note for each other one.
pub fn line(words: &[Word], say: fn(&Word) -> Option<String>, loader: &str, notes: &mut Vec<String>) -> String {
    let mut said = Vec::new();
    for word in words {
        match say(word) {
            Some(text) => said.push(text),
            None => notes.push(format!("{loader} would change {word}; it is left out")),
        }
    }
    said.join(" ")
}
