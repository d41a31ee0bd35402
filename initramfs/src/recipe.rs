//! Which file goes where in the ramdisk.

use crate::depmod::{self, Listed};
use crate::elf::{self, NotStatic};
use crate::modinfo::ModInfo;
use cpio::{Archive, CpioError, Node};
use devices::lists::{BUILTIN, LOAD, load_line};
use machine::files::{CA_BUNDLE, MANIFEST};
use machine::manifest;

/// What this ramdisk is made of, as `KEY=value`.
pub const RELEASE: &str = "/etc/thimble/release";
pub const INIT: &str = "/init";
/// The kernel starts it for `request_module`. PID 1's program loads modules when it is started by this name.
const MODPROBE: &str = "sbin/modprobe";

/// Mount points and folders that init, agent and actions expect, with their permissions.
const FOLDERS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc", 0o755),
    ("newroot", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("worker", 0o755),
];

/// Everything the ramdisk holds, in memory.
#[derive(Debug, Clone, Default)]
pub struct Ingredients {
    pub init: Vec<u8>,
    pub kernel_version: String,
    pub profile: String,
    pub modules: Vec<Module>,
    /// Modules that are loaded first on any hardware: no device asks for them.
    pub load: Vec<String>,
    /// The kernel's `modules.builtin`.
    pub builtin: String,
    pub ca_bundle: Option<Vec<u8>>,
    pub extra: Vec<ExtraFile>,
    /// The time of every file: 0 or `SOURCE_DATE_EPOCH`.
    pub mtime: u32,
}

/// A driver as the ramdisk holds it. The path is below the kernel's module folder.
#[derive(Debug, Clone, Default)]
pub struct Module {
    pub path: String,
    pub data: Vec<u8>,
    pub info: ModInfo,
}

impl Module {
    pub fn listed(&self) -> Listed<'_> {
        Listed { path: &self.path, info: &self.info }
    }
}

/// A file that only some ramdisks have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraFile {
    pub path: String,
    pub data: Vec<u8>,
    pub is_program: bool,
}

impl ExtraFile {
    pub fn text(path: String, text: String) -> Self {
        Self { path, data: text.into_bytes(), is_program: false }
    }

    pub fn program(path: &str, data: Vec<u8>) -> Self {
        Self { path: path.to_owned(), data, is_program: true }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecipeError {
    #[error("/init cannot be this file")]
    Init(#[from] NotStatic),
    #[error("the CA bundle holds no certificate in PEM form")]
    NoCertificates,
    #[error(transparent)]
    Cpio(#[from] CpioError),
}

/// The archive of these ingredients. The same ingredients give the same archive.
pub fn archive(ingredients: &Ingredients) -> Result<Archive, RecipeError> {
    elf::static_program(&ingredients.init)?;
    let mut archive = Archive::new(ingredients.mtime);
    for (path, permissions) in FOLDERS {
        archive.add(path, *permissions, Node::Directory)?;
    }
    // Without it PID 1 has no standard output until devtmpfs is mounted.
    archive.add("dev/console", 0o600, Node::CharDevice { major: 5, minor: 1 })?;
    archive.add(INIT, 0o755, Node::File(ingredients.init.clone()))?;
    archive.add(MODPROBE, 0o777, Node::Symlink(INIT.to_owned()))?;
    add_modules(&mut archive, ingredients)?;
    if let Some(bundle) = &ingredients.ca_bundle {
        if !is_pem(bundle) {
            return Err(RecipeError::NoCertificates);
        }
        archive.add(CA_BUNDLE, 0o644, Node::File(bundle.clone()))?;
    }
    for file in &ingredients.extra {
        let permissions = if file.is_program { 0o755 } else { 0o644 };
        archive.add(&file.path, permissions, Node::File(file.data.clone()))?;
    }
    archive.add(RELEASE, 0o644, Node::File(release(ingredients).into_bytes()))?;
    let manifest = manifest(&archive);
    archive.add(MANIFEST, 0o644, Node::File(manifest.into_bytes()))?;
    Ok(archive)
}

fn add_modules(archive: &mut Archive, ingredients: &Ingredients) -> Result<(), CpioError> {
    let folder = format!("lib/modules/{}", ingredients.kernel_version);
    for module in &ingredients.modules {
        archive.add(&format!("{folder}/{}", module.path), 0o644, Node::File(module.data.clone()))?;
    }
    let listed: Vec<_> = ingredients.modules.iter().map(Module::listed).collect();
    let load = ingredients.load.iter().map(|name| load_line(name)).collect::<String>();
    let rest = [(LOAD, load), (BUILTIN, ingredients.builtin.clone())];
    for (file, text) in depmod::lists(&listed, &[]).into_iter().chain(rest) {
        archive.add(&format!("{folder}/{file}"), 0o644, Node::File(text.into_bytes()))?;
    }
    Ok(())
}

fn release(ingredients: &Ingredients) -> String {
    format!(
        "NAME=thimble\nVERSION={}\nKERNEL={}\nPROFILE={}\nMODULES={}\n",
        env!("CARGO_PKG_VERSION"),
        ingredients.kernel_version,
        ingredients.profile,
        ingredients.modules.len()
    )
}

/// Holds a certificate in PEM form.
pub fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(27).any(|text| text == b"-----BEGIN CERTIFICATE-----")
}

/// A line for every file of the archive.
pub fn manifest(archive: &Archive) -> String {
    archive.files().map(|(path, data)| manifest::line(path, data.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::program;
    use std::collections::BTreeMap;

    fn module(path: &str, info: &str) -> Module {
        Module { path: path.into(), data: path.as_bytes().to_vec(), info: ModInfo::parse(info.as_bytes()) }
    }

    fn ingredients() -> Ingredients {
        Ingredients {
            init: program(1, b"static code"),
            kernel_version: "6.1.0".into(),
            profile: "cloud".into(),
            modules: vec![module("kernel/b.ko", "alias=fs-b"), module("kernel/a.ko.zst", "depends=b")],
            load: vec!["a".into()],
            builtin: "kernel/fs/ext4/ext4.ko\n".into(),
            ca_bundle: Some(b"-----BEGIN CERTIFICATE-----\nx\n".to_vec()),
            extra: vec![ExtraFile::text(machine::files::CMDLINE.into(), "console=ttyS0\n".into())],
            mtime: 0,
        }
    }

    fn files(ingredients: &Ingredients) -> BTreeMap<String, String> {
        let archive = archive(ingredients).unwrap();
        archive.files().map(|(path, data)| (path.to_owned(), String::from_utf8_lossy(data).into_owned())).collect()
    }

    #[test]
    fn the_lists_say_what_the_modules_are_and_what_loads_first() {
        let files = files(&ingredients());
        let list = |name: &str| files[&format!("lib/modules/6.1.0/modules.{name}")].as_str();
        assert_eq!(list("dep"), "kernel/b.ko:\nkernel/a.ko.zst: kernel/b.ko\n");
        assert_eq!(list("alias"), "alias fs-b b\n");
        assert_eq!((list("load"), list("builtin")), ("a\n", "kernel/fs/ext4/ext4.ko\n"));
        assert_eq!(files["lib/modules/6.1.0/kernel/a.ko.zst"], "kernel/a.ko.zst");
    }

    #[test]
    fn the_manifest_lists_every_other_file_with_its_size() {
        let files = files(&ingredients());
        let expected: String = files
            .iter()
            .filter(|(path, _)| *path != "etc/thimble/manifest")
            .map(|(path, text)| format!("{} /{path}\n", if path == "init" { ingredients().init.len() } else { text.len() }))
            .collect();
        assert_eq!(files["etc/thimble/manifest"], expected);
        assert_eq!(files.len(), 13, "init, two modules, their six lists, certificates, arguments, release and the manifest");
    }

    #[test]
    fn a_ramdisk_without_certificates_has_no_bundle() {
        let without = Ingredients { ca_bundle: None, ..ingredients() };
        assert!(!files(&without).contains_key("etc/ssl/certs/ca-certificates.crt"));
    }

    #[test]
    fn an_init_that_could_not_start_is_refused() {
        let dynamic = program(3, b"/lib64/ld-linux-x86-64.so.2\0");
        let error = archive(&Ingredients { init: dynamic, ..ingredients() }).unwrap_err();
        assert!(matches!(error, RecipeError::Init(NotStatic::Dynamic(_))), "{error}");
    }

    #[test]
    fn a_ca_bundle_without_certificates_is_refused() {
        let wrong = Ingredients { ca_bundle: Some(b"\x30\x82".to_vec()), ..ingredients() };
        assert_eq!(archive(&wrong).unwrap_err(), RecipeError::NoCertificates);
    }
}
