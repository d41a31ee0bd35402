//! The module lists in a kernel's folder below `/lib/modules`: their files, and a writer and a reader of each line.
//!
//! The forms are kmod's, except for `modules.load` and `modules.firmware`. A driver pack adds a file to the folder `LIST.d`
//! of each list that it extends.

use crate::module::ModuleName;

/// `PATH: PATH...`: a module and everything it needs; the last is loaded first.
pub const DEP: &str = "modules.dep";
/// `alias PATTERN NAME`
pub const ALIAS: &str = "modules.alias";
/// `softdep NAME pre: NAME... post: NAME...`
pub const SOFTDEP: &str = "modules.softdep";
/// Paths of the modules that are built into the kernel.
pub const BUILTIN: &str = "modules.builtin";
/// Names of modules that are loaded first, whatever the devices are.
pub const LOAD: &str = "modules.load";
/// `NAME FILE...`: the firmware files that a driver may ask for.
pub const FIRMWARE: &str = "modules.firmware";

/// The folder in which driver packs put their part of a list, each under its name.
pub fn of_packs(list: &str) -> String {
    format!("{list}.d")
}

pub fn dep_line<'a>(path: &str, needs: impl IntoIterator<Item = &'a str>) -> String {
    let needs: String = needs.into_iter().map(|need| format!(" {need}")).collect();
    format!("{path}:{needs}\n")
}

/// The module's path, and those of its needs with blanks between.
pub fn dep(line: &str) -> Option<(&str, &str)> {
    line.split_once(':')
}

pub fn alias_line(pattern: &str, module: &ModuleName) -> String {
    format!("alias {pattern} {module}\n")
}

/// The pattern, which may have blanks, and the module's name.
pub fn alias(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("alias ")?.rsplit_once(' ')
}

/// `wishes` is in the form that [`Wishes::parse`] reads.
pub fn softdep_line(module: &ModuleName, wishes: &str) -> String {
    format!("softdep {module} {wishes}\n")
}

pub fn softdep(line: &str) -> Option<(ModuleName, Wishes<'_>)> {
    let rest = line.strip_prefix("softdep ")?.trim_start();
    let (name, wishes) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    (!name.is_empty()).then(|| (ModuleName::new(name), Wishes::parse(wishes)))
}

pub fn load_line(module: &str) -> String {
    format!("{module}\n")
}

/// The names in `modules.load`, which may have comments.
pub fn load(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

pub fn firmware_line(module: &ModuleName, files: &[String]) -> String {
    format!("{module} {}\n", files.join(" "))
}

/// The names in `modules.builtin`.
pub fn builtin(text: &str) -> impl Iterator<Item = ModuleName> {
    text.lines().map(str::trim).filter(|path| !path.is_empty()).map(ModuleName::of_path)
}

/// Names or aliases of modules that should be loaded before and after a module, if present.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wishes<'a> {
    pub pre: Vec<&'a str>,
    pub post: Vec<&'a str>,
}

impl<'a> Wishes<'a> {
    /// `pre: NAME... post: NAME...`; kmod ignores what stands before the first of the two words.
    pub fn parse(text: &'a str) -> Self {
        let mut wishes = Self::default();
        let mut list: Option<&mut Vec<&str>> = None;
        for word in text.split_whitespace() {
            match word {
                "pre:" => list = Some(&mut wishes.pre),
                "post:" => list = Some(&mut wishes.post),
                wish => list.iter_mut().for_each(|list| list.push(wish)),
            }
        }
        wishes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_back_as_it_was_written() {
        let name = ModuleName::new("virtio-net");
        let line = |text: String| text.strip_suffix('\n').unwrap().to_owned();
        assert_eq!(dep(&line(dep_line("a/b.ko", ["c.ko", "d.ko"]))), Some(("a/b.ko", " c.ko d.ko")));
        assert_eq!(dep(&line(dep_line("a/b.ko", []))), Some(("a/b.ko", "")));
        assert_eq!(alias(&line(alias_line("platform:Fixed MDIO*", &name))), Some(("platform:Fixed MDIO*", "virtio_net")));
        let wishes = Wishes { pre: vec!["a", "b-c"], post: vec!["d"] };
        assert_eq!(softdep(&line(softdep_line(&name, "pre: a b-c post: d"))), Some((name, wishes)));
        assert_eq!(load(&format!("# first\n\n{}", load_line("overlay"))).collect::<Vec<_>>(), ["overlay"]);
        assert_eq!(firmware_line(&ModuleName::new("tg3"), &["a.bin".into(), "b.bin".into()]), "tg3 a.bin b.bin\n");
    }

    #[test]
    fn lines_of_another_form_are_passed_over() {
        assert_eq!((dep("# text"), alias("alias nothing"), alias("softdep a b")), (None, None, None));
        assert_eq!((softdep("softdep "), softdep("alias a b")), (None, None));
        assert_eq!(softdep("softdep a b"), Some((ModuleName::new("a"), Wishes::default())));
    }
}
