//! `thimble image iso`: one ISO image for all machines of a site, from the kernel and the ramdisk that `image build` made.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use api::packs::{INDEX, Index, Offer};
use boots::iso::{Site, table};
use clap::Args;
use initramfs::media::{self, Made};
use initramfs::uki::Parts;
use initramfs::{Media, Signer, kernel};
use model::{Hardware, Object};

use crate::client::{self, ServerArgs};
use crate::config::{Config, Settings};
use crate::up;

/// What virtual media of a BMC should not exceed.
const LARGE: usize = 20_000_000;
/// How many names a line has.
const SHOWN: usize = 10;

#[derive(Debug, Args)]
pub struct IsoArguments {
    /// The ISO image to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Take the Hardware of these files or folders in place of that of a server (repeatable)
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["url", "kubeconfig"])]
    site: Vec<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    /// Settings file of the host that serves the machines, with its address and kernel arguments
    #[arg(long, env = "THIMBLE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of that host, if the settings file does not have it
    #[arg(long, env = "THIMBLE_ADDRESS", value_name = "IP")]
    address: Option<std::net::Ipv4Addr>,
    /// Address at which agents reach the workflow service; the default is ADDRESS:42113
    #[arg(long, env = "THIMBLE_GRPC_AUTHORITY", value_name = "HOST:PORT")]
    grpc_authority: Option<String>,
    /// Folder with `kernel` and `initramfs.cpio.zst`; the default is that of the settings file, or /var/lib/thimble/files
    #[arg(long, env = "THIMBLE_FILES", value_name = "DIR")]
    files: Option<PathBuf>,
    /// The URL of the folder with the driver packs, which are beside the ramdisk. The default is where boots serves that folder
    #[arg(long, value_name = "URL")]
    packs_url: Option<String>,
    /// Kernel arguments of the boot loaders, such as `console=ttyS0`. They win over those of each machine
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    cmdline: String,
    /// The certificate authority of the server: a PEM file, or `none`. The default is that of this host's server. With it the
    /// machines speak TLS
    #[arg(long, value_name = "FILE|none")]
    server_ca: Option<String>,
    /// Sign the EFI program for Secure Boot with this key, PEM without passphrase (needs Debian's package sbsigntool)
    #[arg(long, value_name = "FILE", requires = "sign_cert")]
    sign_key: Option<PathBuf>,
    /// The key's certificate in PEM form, which the machines have in `db`
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    sign_cert: Option<PathBuf>,
    /// The EFI stub to use instead of Debian's
    #[arg(long, value_name = "PATH")]
    stub: Option<PathBuf>,
    /// The time of every file in the image, in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS", default_value_t = 0)]
    source_date_epoch: u32,
}

pub fn run(arguments: &IsoArguments) -> anyhow::Result<()> {
    let config = config(arguments)?;
    let hardware = hardware(arguments)?;
    let of_boots = boots::Config {
        arguments: up::arguments(&config),
        ..boots::Config::new(config.address, config.files.clone(), config.nbp.clone())
    };
    let site = match table(&of_boots, &hardware) {
        Ok(site) => site,
        Err(mistakes) => bail!("these machines cannot share an image:\n  {}", mistakes.join("\n  ")),
    };
    for note in &site.notes {
        eprintln!("warning: {note}");
    }
    let server_ca = server_ca(arguments, &config)?;
    let packs = packs(arguments, &config, &of_boots)?;
    let iso = made(arguments, &config, &site, (server_ca, packs.as_ref()))?;
    machine::files::replace(&arguments.output, &iso).with_context(|| format!("cannot write {}", arguments.output.display()))?;
    print!("{}", report(&arguments.output, iso.len(), &site, packs.as_ref()));
    Ok(())
}

/// The packs beside the ramdisk, if there are any.
fn packs(arguments: &IsoArguments, config: &Config, of_boots: &boots::Config) -> anyhow::Result<Option<Offer>> {
    let path = config.files.join(&config.initrd).with_file_name(INDEX);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => bail!("cannot read {}: {error}", path.display()),
    };
    let index = Index::parse(&text).with_context(|| format!("cannot use {}", path.display()))?;
    let url = match &arguments.packs_url {
        Some(url) => url.clone(),
        None => {
            let file = arguments.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
            let served = Settings { address: arguments.address, ..Settings::default() }.or(file).check()?.files;
            let folder = path.parent().unwrap_or(&path);
            let Some(url) = url_of(folder, &served, of_boots) else {
                eprintln!(
                    "warning: the machines fetch no driver packs, because {} does not lie below {}, which boots serves; \
                     name the URL of that folder with --packs-url",
                    folder.display(),
                    served.display()
                );
                return Ok(None);
            };
            url
        }
    };
    Ok(Some(Offer { url, index }))
}

/// Where boots serves a folder below its files.
fn url_of(folder: &Path, served: &Path, of_boots: &boots::Config) -> Option<String> {
    let below = folder.strip_prefix(served).ok()?.to_str()?;
    Some(of_boots.http_url(format!("files/{below}").trim_end_matches('/')))
}

fn config(arguments: &IsoArguments) -> anyhow::Result<Config> {
    let file = arguments.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let given = Settings {
        address: arguments.address,
        grpc_authority: arguments.grpc_authority.clone(),
        files: arguments.files.clone(),
        ..Settings::default()
    };
    Ok(given.or(file).check()?)
}

fn hardware(arguments: &IsoArguments) -> anyhow::Result<Vec<Hardware>> {
    let found: Vec<Hardware> = if arguments.site.is_empty() {
        client::block_on(client::all_hardware(&arguments.server)).context("cannot get the Hardware of the server")?
    } else {
        let objects = model::read_files(&arguments.site)?.into_iter();
        objects.filter_map(|object| if let Object::Hardware(hardware) = object { Some(*hardware) } else { None }).collect()
    };
    if found.is_empty() {
        bail!("there is no Hardware, so the image would serve no machine");
    }
    Ok(found)
}

fn server_ca(arguments: &IsoArguments, config: &Config) -> anyhow::Result<Option<PathBuf>> {
    match arguments.server_ca.as_deref() {
        Some("none") => return Ok(None),
        Some(path) => return Ok(Some(path.into())),
        None => {}
    }
    let path = config.data.join(access::FOLDER).join(access::CERTIFICATE);
    match path.try_exists() {
        Ok(true) => Ok(Some(path)),
        Ok(false) => {
            eprintln!(
                "warning: this host's server has no certificate authority at {}, so the machines speak no TLS; name it with \
                 --server-ca",
                path.display()
            );
            Ok(None)
        }
        Err(error) => bail!("cannot look for {}: {error}; run this as root, or name it with --server-ca", path.display()),
    }
}

fn made(
    arguments: &IsoArguments,
    config: &Config,
    site: &Site,
    (server_ca, packs): (Option<PathBuf>, Option<&Offer>),
) -> anyhow::Result<Vec<u8>> {
    let read = |name: &str| {
        let path = config.files.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}; `thimble image build` makes it", path.display()))
    };
    let (kernel, ramdisk) = (read(&config.kernel)?, read(&config.initrd)?);
    let signer = arguments.sign_key.clone().zip(arguments.sign_cert.clone());
    let wanted = Media {
        iso: true,
        stub: arguments.stub.clone(),
        signer: signer.map(|(key, certificate)| Signer { key, certificate }),
        server_ca,
        site: Some(site.text.clone().into_bytes()),
        packs: packs.map(serde_json::to_vec).transpose().context("cannot write down the driver packs")?,
        ..Media::default()
    };
    let version = kernel::version_in(&kernel).unwrap_or_default();
    let parts = Parts { kernel: &kernel, ramdisk: &ramdisk, cmdline: &arguments.cmdline, kernel_version: &version };
    let Made { iso, .. } = media::make(&wanted, &parts, arguments.source_date_epoch).context("cannot make the ISO image")?;
    iso.context("no ISO image was made")
}

fn report(path: &Path, size: usize, site: &Site, packs: Option<&Offer>) -> String {
    let mut text = format!("{}  {size} bytes for {} machines\n", path.display(), site.machines);
    let without = &site.without_address;
    if !without.is_empty() {
        let (shown, more) =
            (without.get(..SHOWN).unwrap_or(without).join(", "), if without.len() > SHOWN { ", ..." } else { "" });
        text += &format!("{} machines have no static address in their Hardware, and ask by DHCP: {shown}{more}\n", without.len());
    }
    if let Some(Offer { url, index }) = packs {
        text += &format!("the machines fetch the {} driver packs that they need from {url}\n", index.packs.len());
    }
    if size > LARGE {
        text += "warning: the image is larger than 20 MB; `thimble image build` with --profile media or --from-lspci \
                 makes a smaller ramdisk\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_are_fetched_from_where_boots_serves_their_folder() {
        let of_boots = boots::Config::new("192.0.2.1".parse().unwrap(), "/srv/files".into(), "/srv/nbp".into());
        let url = |folder: &str| url_of(Path::new(folder), Path::new("/srv/files"), &of_boots);
        assert_eq!(url("/srv/files").as_deref(), Some("http://192.0.2.1:7080/files"));
        assert_eq!(url("/srv/files/media").as_deref(), Some("http://192.0.2.1:7080/files/media"));
        assert_eq!(url("/srv/files-of-another"), None);
    }

    #[test]
    fn the_report_names_machines_that_need_dhcp_and_a_large_image() {
        let names = (0..12).map(|number| format!("m{number}")).collect();
        let site = Site { machines: 20, without_address: names, ..Site::default() };
        let text = report(Path::new("site.iso"), 21_000_000, &site, None);
        assert!(text.starts_with("site.iso  21000000 bytes for 20 machines\n12 machines have no static address"), "{text}");
        assert!(text.contains(": m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, ...\nwarning:"), "{text}");
        let index = Index { kernel: "6.1".into(), packs: Vec::new() };
        let offer = Offer { url: "http://192.0.2.1:7080/files".into(), index };
        let text = report(Path::new("a"), 1, &Site { machines: 1, ..Site::default() }, Some(&offer));
        assert_eq!(
            text,
            "a  1 bytes for 1 machines\nthe machines fetch the 0 driver packs that they need from http://192.0.2.1:7080/files\n"
        );
    }
}
