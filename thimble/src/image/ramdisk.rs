//! `thimble image build`: converts the arguments to a request, and the report to text or JSON.

use super::{BuildArguments, Profile, defaults, embed, hardware, settings};
use anyhow::Context;
use initramfs::{CaBundle, KernelSource, Listing, Media, Report, Request, Selection, Signer};
use std::fmt::Write;
use std::path::PathBuf;

/// How many missing files the text names. `--json` has all of them.
const MISSING_SHOWN: usize = 10;
/// The largest ramdisk of each profile that the smallest machines of its kind can unpack.
const LIMITS: &[(&str, usize)] = &[("cloud", 4_000_000), ("metal", 16_000_000), ("media", 12_000_000)];

pub fn run(arguments: &BuildArguments) -> anyhow::Result<()> {
    let (embed, _pulled) = embed::layouts(&arguments.embed)?;
    let checked = settings::check(arguments.policy.as_deref(), arguments.registries.as_deref())?;
    if checked.has_secrets {
        eprintln!("warning: registries.json has a password or a key, and everyone who gets the ramdisk can read it");
    }
    let request = Request { embed, settings: checked.files, ..request(arguments)? };
    let report = initramfs::build(&request).context("cannot build kernel and ramdisk")?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table(&report));
    }
    Ok(())
}

fn request(arguments: &BuildArguments) -> anyhow::Result<Request> {
    let kernel = match &arguments.kernel_dir {
        Some(folder) => KernelSource::Directory(folder.clone()),
        None => KernelSource::Debs(arguments.kernel.clone()),
    };
    let (ca, extra_ca) = certificates(&arguments.ca);
    Ok(Request {
        kernel,
        init: defaults::program(arguments.init.as_deref(), "--init", "init")?,
        selection: selection(arguments)?,
        ca,
        extra_ca,
        cmdline: words(arguments),
        settings: Vec::new(),
        embed: Vec::new(), // added by `run`, which may have to pull them
        firmware: arguments.firmware.clone(),
        rescue: arguments.rescue,
        media: Media {
            uki: arguments.uki,
            iso: arguments.iso,
            placeholder: arguments.placeholder,
            stub: arguments.stub.clone(),
            signer: arguments
                .sign_key
                .clone()
                .zip(arguments.sign_cert.clone())
                .map(|(key, certificate)| Signer { key, certificate }),
            server_ca: server_ca(arguments)?,
            site: None,
            packs: None,
        },
        mtime: arguments.source_date_epoch,
        output: arguments.output.clone(),
    })
}

/// The kernel arguments inside the ramdisk. Those of the boot loader follow them and win.
fn words(arguments: &BuildArguments) -> Option<String> {
    let disk = arguments.image_disk.then(|| "thimble.image_disk=true".to_owned());
    let words: Vec<String> = disk.into_iter().chain(arguments.cmdline.clone()).collect();
    if words.is_empty() { None } else { Some(words.join(" ")) }
}

fn selection(arguments: &BuildArguments) -> anyhow::Result<Selection> {
    let listing = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Listing::parse(&text).with_context(|| path.display().to_string())
    };
    let only = match arguments.hardware.as_slice() {
        [] => None,
        paths => Some(hardware::families(paths)?),
    };
    Ok(Selection {
        profile: match arguments.profile {
            Profile::Cloud => initramfs::Profile::Cloud,
            Profile::Metal => initramfs::Profile::Metal,
            Profile::Media => initramfs::Profile::Media,
        },
        with: arguments.with.clone(),
        only,
        machines: arguments.from_lspci.iter().map(listing).collect::<anyhow::Result<_>>()?,
        modules: arguments.modules.clone(),
        packs: arguments.packs,
    })
}

/// Files are added to the host's bundle, unless `none` is given, too.
fn certificates(words: &[String]) -> (CaBundle, Vec<PathBuf>) {
    let files = words.iter().filter(|word| !matches!(word.as_str(), "host" | "none")).map(PathBuf::from).collect();
    let bundle = if words.iter().any(|word| word == "none") { CaBundle::None } else { CaBundle::Host };
    (bundle, files)
}

/// The file that was named, else that of this host's server. The ramdisk alone needs none: it gets it from boots.
fn server_ca(arguments: &BuildArguments) -> anyhow::Result<Option<PathBuf>> {
    match arguments.server_ca.as_deref() {
        Some("none") => return Ok(None),
        Some(path) => return Ok(Some(path.into())),
        None if !arguments.uki && !arguments.iso => return Ok(None),
        None => {}
    }
    let path = arguments.data.authority()?;
    match path.try_exists() {
        Ok(exists) => Ok(exists.then_some(path)),
        Err(error) => {
            let path = path.display();
            eprintln!(
                "warning: the media do not get the certificate authority {path}: {error}; run this as root, or name it with --server-ca"
            );
            Ok(None)
        }
    }
}

fn table(report: &Report) -> String {
    let mut text = format!("kernel {} with the drivers of profile {}\n\n", report.kernel_version, report.profile);
    let _ = writeln!(text, "{:>10} {:>10}  file (compressed alone)", "bytes", "compressed");
    for part in &report.parts {
        let _ = writeln!(text, "{:>10} {:>10}  {}", part.size, part.compressed, part.path);
    }
    let ramdisk = &report.initramfs;
    let _ = writeln!(text, "{:>10} {:>10}  the whole ramdisk\n", report.unpacked, ramdisk.size);
    if !report.packs.is_empty() {
        let _ =
            writeln!(text, "{:>10} {:>10}  packs, further initrd segments for machines that need them", "bytes", "compressed");
        for pack in &report.packs {
            let (file, about) = (pack.file.path.display(), &pack.about);
            let _ = writeln!(text, "{:>10} {:>10}  {file}: {about}, {} modules", pack.unpacked, pack.file.size, pack.modules);
        }
        text.push('\n');
    }
    if !report.missing_firmware.is_empty() {
        let shown = report.missing_firmware.iter().take(MISSING_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let all = report.missing_firmware.len();
        let _ = writeln!(
            text,
            "{all} files that drivers may ask for are missing in the sources of firmware: {shown}{}\n",
            if all > MISSING_SHOWN { ", ..." } else { "" }
        );
    }
    for file in &report.settings {
        let _ = writeln!(text, "{}  {} in the ramdisk", file.sha256, file.path.display());
    }
    if let Some(file) = &report.server_ca {
        let _ = writeln!(text, "{}  {} in UKI and ISO", file.sha256, file.path.display());
    }
    for artifact in [&report.kernel, ramdisk].into_iter().chain(report.packs.iter().map(|pack| &pack.file)).chain(&report.media) {
        let _ = writeln!(text, "{}  {}  {} bytes", artifact.sha256, artifact.path.display(), artifact.size);
    }
    if let Some(value) = &report.pcr11 {
        let _ = writeln!(text, "{value}  PCR 11 of a machine that started the unified kernel image");
    }
    if let Some((profile, limit)) = LIMITS.iter().find(|(name, limit)| *name == report.profile && ramdisk.size > *limit) {
        let _ = writeln!(
            text,
            "warning: the ramdisk of profile {profile} is larger than {limit} bytes: small machines may not unpack it"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: BuildArguments,
    }

    #[test]
    fn media_get_the_authority_of_this_hosts_server() {
        let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = with.path().join("access/ca.crt");
        std::fs::create_dir(with.path().join("access")).unwrap();
        std::fs::write(&authority, "certificate").unwrap();
        for (case, data, words, expected) in [
            ("a UKI", &with, "--uki", Some(authority.clone())),
            ("an ISO image", &with, "--iso", Some(authority.clone())),
            ("the ramdisk alone", &with, "", None),
            ("no server on this host", &without, "--uki --iso", None),
            ("another server", &with, "--uki --server-ca other.pem", Some("other.pem".into())),
            ("none", &with, "--iso --server-ca none", None),
        ] {
            let data = data.path().to_str().unwrap();
            let line = ["build", "--kernel", "k.deb", "--init", "i", "--output", "o", "--data", data];
            let arguments = Line::try_parse_from(line.into_iter().chain(words.split_whitespace())).unwrap().arguments;
            assert_eq!(server_ca(&arguments).unwrap(), expected, "{case}");
        }
        let alone = ["build", "--kernel", "k.deb", "--init", "i", "--output", "o", "--server-ca", "c.pem"];
        assert!(Line::try_parse_from(alone).is_err(), "the ramdisk alone gets it from boots");
    }
}
