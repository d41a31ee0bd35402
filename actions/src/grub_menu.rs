//! The first entry of an installed system's `grub.cfg`. Pure.
//!
//! Only `menuentry`, `linux` and `initrd` lines are read, as generated menus have them. Nothing is executed. GRUB's
//! variables in a command line count as empty, as the usual ones are on a machine without a screen.

/// Paths start at the file system that GRUB calls its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MenuEntry {
    pub title: String,
    pub kernel: String,
    pub initrd: Option<String>,
    pub command_line: String,
}

/// The first entry with a kernel, which is the default. GRUB runs commands outside of entries at once, so they count as
/// one.
pub fn first(menu: &str) -> Option<MenuEntry> {
    let mut title = String::new();
    let mut entry: Option<MenuEntry> = None;
    for line in menu.lines().map(str::trim) {
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (command, &mut entry) {
            ("menuentry", None) => title = quoted(rest),
            ("menuentry" | "submenu", Some(_)) => break,
            ("linux" | "linux16" | "linuxefi", None) => entry = kernel(&title, rest),
            ("initrd" | "initrd16" | "initrdefi", Some(entry)) if entry.initrd.is_none() => {
                entry.initrd = rest.split_whitespace().last().map(path); // only the CPU's microcode may stand before it
            }
            _ => {}
        }
    }
    entry
}

fn kernel(title: &str, rest: &str) -> Option<MenuEntry> {
    let mut words = rest.split_whitespace();
    let kernel = path(words.next()?);
    let words: Vec<&str> = words.filter(|word| !word.starts_with('$')).collect();
    Some(MenuEntry { title: title.to_owned(), kernel, initrd: None, command_line: words.join(" ") })
}

/// The path without a device such as `($root)` in front.
fn path(word: &str) -> String {
    let path = if word.starts_with('(') { word.split_once(')').map_or(word, |(_, path)| path) } else { word };
    path.to_owned()
}

fn quoted(rest: &str) -> String {
    let quote = rest.chars().next().filter(|first| matches!(first, '\'' | '"'));
    match quote.and_then(|quote| rest.get(1..)?.split(quote).next()) {
        Some(title) => title.to_owned(),
        None => rest.split_whitespace().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(title: &str, kernel: &str, initrd: Option<&str>, command_line: &str) -> Option<MenuEntry> {
        let owned = str::to_owned;
        Some(MenuEntry {
            title: owned(title),
            kernel: owned(kernel),
            initrd: initrd.map(owned),
            command_line: owned(command_line),
        })
    }

    #[test]
    fn the_first_entry_with_a_kernel_is_the_default() {
        let debian = "set default=\"0\"\nfunction load_video {\n  true\n}\nmenuentry 'Debian GNU/Linux' --class debian {\n\
            \tload_video\n\tif [ x$feature_platform_search_hint = xy ]; then\n\t  search --fs-uuid --set=root x\n\tfi\n\
            \techo\t'Loading Linux ...'\n\tlinux\t/boot/vmlinuz-6.1.0 root=UUID=ab ro  quiet $vt_handoff\n\
            \tinitrd\t/boot/initrd.img-6.1.0\n}\nsubmenu 'Advanced options' {\n\tmenuentry 'old' {\n\t\tlinux /boot/old\n\t}\n}\n";
        for (case, menu, expected) in [
            (
                "Debian's",
                debian,
                entry("Debian GNU/Linux", "/boot/vmlinuz-6.1.0", Some("/boot/initrd.img-6.1.0"), "root=UUID=ab ro quiet"),
            ),
            (
                "EFI, with a device and microcode",
                "menuentry \"Fedora\" {\nlinuxefi ($root)/vmlinuz a=b\ninitrdefi /ucode.img ($root)/initrd\n}",
                entry("Fedora", "/vmlinuz", Some("/initrd"), "a=b"),
            ),
            ("no initrd", "menuentry tiny {\nlinux /k\n}\nmenuentry two {\ninitrd /i\n}", entry("tiny", "/k", None, "")),
            (
                "firmware's entry first",
                "menuentry 'setup' {\nfwsetup\n}\nmenuentry 'x' {\nlinux /k\n}",
                entry("x", "/k", None, ""),
            ),
            ("commands without an entry", "echo x\nlinux /k a\ninitrd /i\nboot", entry("", "/k", Some("/i"), "a")),
            ("nothing", "", None),
            ("a word alone", "menuentry\nlinux\ninitrd", None),
        ] {
            assert_eq!(first(menu), expected, "{case}");
        }
    }
}
