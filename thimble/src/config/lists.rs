//! Settings that are lists, separated by commas.

pub fn networks(setting: &str, text: Option<&str>, mistakes: &mut Vec<String>) -> Vec<server::Network> {
    let mut found = Vec::new();
    for text in list(text) {
        match text.parse() {
            Ok(network) => found.push(network),
            Err(error) => mistakes.push(format!("{setting}: {error}")),
        }
    }
    found
}

pub fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
