//! Pushes the images over the OCI distribution API: blobs that are missing, then manifests.

use super::action::{Blob, Image, Images, MANIFEST};
use anyhow::{Context, bail, ensure};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(60);

/// Where the images go: `BASE/v2/PREFIX/NAME`, under one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    base: Url,
    prefix: String,
    tag: String,
}

impl Target {
    /// `http://registry:5000/tinkerbell:v2`; without a tag in the URL it is `tag`.
    pub fn parse(text: &str, tag: &str) -> anyhow::Result<Self> {
        let mut base = Url::parse(text).with_context(|| format!("--push \"{text}\" is no URL such as http://registry:5000"))?;
        ensure!(matches!(base.scheme(), "http" | "https"), "--push \"{text}\" must begin with http:// or https://");
        let path = base.path().trim_matches('/').to_owned();
        let (prefix, tag) = path.rsplit_once(':').unwrap_or((&path, tag));
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c);
        ensure!(prefix.chars().all(named), "--push \"{text}\": an image's name has only a-z, 0-9, '.', '_', '-' and '/'");
        let tagged = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fits = (1..=128).contains(&tag.len()) && tag.chars().all(tagged) && !tag.starts_with(['.', '-']);
        ensure!(fits, "\"{tag}\" is no tag: wanted letters, digits, '.', '_' and '-'");
        base.set_path("");
        base.set_query(None);
        Ok(Self { base, prefix: prefix.to_owned(), tag: tag.to_owned() })
    }

    fn repository(&self, image: &Image) -> String {
        if self.prefix.is_empty() { image.name.clone() } else { format!("{}/{}", self.prefix, image.name) }
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        self.base.join(path).with_context(|| format!("cannot make the URL of {path}"))
    }

    /// The name a template uses.
    pub fn reference(&self, image: &Image) -> String {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{host}{port}/{}:{}", self.repository(image), self.tag)
    }
}

/// Pushes every image and returns their names. On a thread of its own, so that it also works below a runtime.
pub fn run(images: &Images, target: &Target) -> anyhow::Result<Vec<String>> {
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(push(images, target))
        });
        pushing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
    .with_context(|| format!("cannot push to {}", target.base))
}

async fn push(images: &Images, target: &Target) -> anyhow::Result<Vec<String>> {
    let client = client(&target.base)?;
    let mut names = Vec::new();
    let mut mounted_from: Option<String> = None;
    for image in &images.images {
        let repository = target.repository(image);
        put_blob(&client, target, &repository, &images.layer, mounted_from.as_deref()).await?;
        put_blob(&client, target, &repository, &image.config, None).await?;
        put_manifest(&client, target, &repository, image).await?;
        mounted_from.get_or_insert(repository);
        names.push(target.reference(image));
    }
    Ok(names)
}

fn client(base: &Url) -> anyhow::Result<Client> {
    // The program may have installed it already; then this one is not needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().connect_timeout(CONNECT).read_timeout(STALL);
    // A host without CA certificates can still speak plain HTTP.
    let builder = if base.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
    builder.build().context("cannot set up the HTTP client")
}

async fn put_blob(client: &Client, target: &Target, repository: &str, blob: &Blob, mount: Option<&str>) -> anyhow::Result<()> {
    let head = target.url(&format!("/v2/{repository}/blobs/{}", blob.digest))?;
    if client.head(head).send().await?.status() == StatusCode::OK {
        return Ok(());
    }
    let mut start = target.url(&format!("/v2/{repository}/blobs/uploads/"))?;
    if let Some(from) = mount {
        start.query_pairs_mut().append_pair("mount", &blob.digest).append_pair("from", from);
    }
    let answer = client.post(start).send().await?;
    if mount.is_some() && answer.status() == StatusCode::CREATED {
        return Ok(());
    }
    let answer = accepted(answer, &[StatusCode::ACCEPTED], "start an upload").await?;
    let location = answer.headers().get(LOCATION).context("the registry names no place (Location) for the upload")?;
    let mut place = answer.url().join(location.to_str().context("the registry's Location is no URL")?)?;
    place.query_pairs_mut().append_pair("digest", &blob.digest);
    let put = client.put(place).header(CONTENT_TYPE, "application/octet-stream").body(blob.bytes.clone());
    accepted(put.send().await?, &[StatusCode::CREATED], "upload a blob").await?;
    Ok(())
}

async fn put_manifest(client: &Client, target: &Target, repository: &str, image: &Image) -> anyhow::Result<()> {
    let url = target.url(&format!("/v2/{repository}/manifests/{}", target.tag))?;
    let put = client.put(url).header(CONTENT_TYPE, MANIFEST).body(image.manifest.bytes.clone());
    let answer = accepted(put.send().await?, &[StatusCode::CREATED], "store a manifest").await?;
    if let Some(stored) = answer.headers().get("docker-content-digest") {
        let stored = String::from_utf8_lossy(stored.as_bytes()).into_owned();
        ensure!(stored == image.manifest.digest, "the registry stored {stored} instead of {}", image.manifest.digest);
    }
    Ok(())
}

async fn accepted(answer: Response, expected: &[StatusCode], what: &str) -> anyhow::Result<Response> {
    let (status, url) = (answer.status(), answer.url().clone());
    if expected.contains(&status) {
        return Ok(answer);
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        bail!("the registry wants a login to {what} ({status} from {url}), and pushing with a login is not supported");
    }
    let text: String = answer.text().await.unwrap_or_default().chars().take(300).collect();
    bail!("the registry refused to {what}: {status} from {url}: {}", text.trim())
}
