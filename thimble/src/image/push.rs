//! `--push`: pushes the images to a registry, with the login that the host has for it.

use super::action::{Images, Named};
use anyhow::{Context, ensure};
use oci::registry::{Client, Limits, RequestError, Settings, Url};
use std::path::PathBuf;
use std::time::Duration;

/// A slow line may take this long for a whole layer.
const UPLOAD: Duration = Duration::from_secs(600);

/// The target of a push: `BASE/v2/PREFIX/NAME`, with one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    base: Url,
    prefix: String,
    tag: String,
}

impl Target {
    /// Parses `http://registry:5000/tinkerbell:v2`. Without a tag in the URL, `tag` is used.
    pub fn parse(text: &str, tag: &str) -> anyhow::Result<Self> {
        let mut base =
            Url::parse(text).with_context(|| format!("--push \"{text}\" is not a URL such as http://registry:5000"))?;
        ensure!(matches!(base.scheme(), "http" | "https"), "--push \"{text}\" must begin with http:// or https://");
        let path = base.path().trim_matches('/').to_owned();
        let (prefix, tag) = path.rsplit_once(':').unwrap_or((&path, tag));
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c);
        ensure!(prefix.chars().all(named), "--push \"{text}\": an image's name has only a-z, 0-9, '.', '_', '-' and '/'");
        let tagged = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fits = (1..=128).contains(&tag.len()) && tag.chars().all(tagged) && !tag.starts_with(['.', '-']);
        ensure!(fits, "\"{tag}\" is not a valid tag: use letters, digits, '.', '_' and '-'");
        base.set_path("");
        base.set_query(None);
        Ok(Self { base, prefix: prefix.to_owned(), tag: tag.to_owned() })
    }

    fn repository(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    /// `host` or `host:port`.
    fn registry(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{host}{port}")
    }

    /// The name a template uses.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{}:{}", self.registry(), self.repository(name), self.tag)
    }
}

/// Pushes every image and returns their names. It uses a separate thread, so that it also works below a runtime.
pub fn run(images: &Images, target: &Target, settings: &Settings) -> anyhow::Result<Vec<String>> {
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(push(images, target, settings))
        });
        pushing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
    .with_context(|| format!("cannot push to {}", target.base))
}

async fn push(images: &Images, target: &Target, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let client = Client::new(settings, Limits { answer: UPLOAD, ..Limits::default() })?;
    let registry = client.push_to(&target.base);
    let mut names = Vec::new();
    let mut lender: Option<String> = None;
    for Named { name, images: parts, top } in &images.actions {
        let repository = target.repository(name);
        let pushed = async {
            for layer in &images.layers {
                registry.blob(&repository, &layer.blob, lender.as_deref()).await?;
            }
            for image in parts {
                registry.blob(&repository, &image.config, None).await?;
                registry.manifest(&repository, &image.manifest.digest.to_string(), &image.manifest).await?;
            }
            registry.manifest(&repository, &target.tag, top).await
        };
        pushed.await.map_err(|error| with_advice(error, target))?;
        lender.get_or_insert(repository);
        names.push(target.reference(name));
    }
    Ok(names)
}

fn with_advice(error: RequestError, target: &Target) -> anyhow::Error {
    match error {
        RequestError::Denied { .. } => anyhow::Error::new(error)
            .context(format!("a login is needed: run `docker login {}` as a user who may push", target.registry())),
        other => other.into(),
    }
}

/// Docker's logins of the user who pushes, and those that an agent on this host would use.
pub fn settings() -> anyhow::Result<Settings> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")));
    let docker_file = docker.map(|folder| folder.join("config.json")).filter(|file| file.exists());
    Ok(Settings { docker_file, ..super::registries()? })
}
