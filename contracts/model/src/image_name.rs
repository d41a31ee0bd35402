//! Names of images, as Docker normalises them.

/// Whether the text is a reference as Docker normalises it: `[domain/]path[:tag][@digest]`.
#[must_use]
pub fn is_image(name: &str) -> bool {
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return false; // taken for the identifier of an image
    }
    let (name, digest) = name.split_once('@').map_or((name, None), |(name, digest)| (name, Some(digest)));
    if let Some(digest) = digest {
        let Some((algorithm, hash)) = digest.split_once(':') else { return false };
        let part = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphabetic()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if !algorithm.split(['-', '_', '+', '.']).all(part) || hash.len() < 32 || !hexadecimal(hash) {
            return false;
        }
    }
    let (domain, rest) = match name.split_once('/') {
        Some((domain, rest)) if domain.contains(['.', ':']) || domain == "localhost" || domain.to_lowercase() != domain => {
            (Some(domain), rest)
        }
        _ => (None, name),
    };
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if let Some(tag) = tag {
        let edge = tag.bytes().next().is_some_and(word);
        if !edge || tag.len() > 128 || !tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-')) {
            return false;
        }
    }
    name.len() <= 255 && domain.is_none_or(is_domain) && path.split('/').all(is_path_component)
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => return address.parse::<std::net::Ipv6Addr>().is_ok(),
        Some((address, port)) => {
            let digits =
                port.strip_prefix(':').is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
            return digits && address.parse::<std::net::Ipv6Addr>().is_ok();
        }
        None => domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port))),
    };
    let component = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(component) && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Small letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_path_component(part: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let separators = part.split(plain).filter(|between| !between.is_empty());
    let good = |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-');
    part.starts_with(plain) && part.ends_with(plain) && { separators }.all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_those_that_docker_takes() {
        for (name, good) in [
            ("img", true),
            ("quay.io/tinkerbell/actions/image2disk:v1.0.0", true),
            ("127.0.0.1:5000/a/b__c-d.e", true),
            ("localhost/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", true),
            ("[::1]:5000/x", true),
            ("Registry/x", true), // a host, because paths are in small letters
            ("Image", false),
            ("quay.io/Tinkerbell/x", false),
            ("a b", false),
            ("a:b:c", false),
            ("a:", false),
            ("a//b", false),
            ("-a", false),
            ("a_-b", false),
            ("http://quay.io/x", false),
            ("x@sha256:12", false),
            ("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", false),
        ] {
            assert_eq!(is_image(name), good, "{name}");
        }
    }
}
