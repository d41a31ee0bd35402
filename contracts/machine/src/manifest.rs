//! The lines of a ramdisk's manifest, [`crate::files::MANIFEST`]: `SIZE /PATH` of a file.

/// `path` is the archive's, without a leading slash.
pub fn line(path: &str, size: usize) -> String {
    format!("{size} /{path}\n")
}

/// Size and path.
pub fn parse(line: &str) -> Option<(u64, &str)> {
    let (size, path) = line.split_once(' ')?;
    Some((size.parse().ok()?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_as_it_was_written() {
        assert_eq!(line("lib/a file", 3), "3 /lib/a file\n");
        assert_eq!(parse("3 /lib/a file"), Some((3, "/lib/a file")));
        assert_eq!((parse("3"), parse("x /init")), (None, None));
    }
}
