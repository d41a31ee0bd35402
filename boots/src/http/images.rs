//! `/v2/`: the image layouts of this host, by the OCI distribution specification. Nothing can be pushed.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use oci::manifest;
use oci::reference::Version;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::files;
use super::router::{Boots, peer};
use crate::images::call::{Call, Page, Refused, page, parse};
use crate::images::{Catalogue, Images, Repository, Unserved};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The answer to a push.
const READ_ONLY: &str = "the images of this host are read-only; put an image layout into its folder DATA/images, with \
                         `thimble image action --into DIR` or `skopeo copy docker://NAME oci:DIR/NAME:TAG`";

pub(super) async fn v2(State(boots): State<Boots>, parts: Parts) -> Response {
    let mut response = answer(&boots, &parts).await.unwrap_or_else(|refused| error(&refused));
    response.headers_mut().insert(VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

async fn answer(boots: &Boots, parts: &Parts) -> Result<Response, Refused> {
    let off = || Refused::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "this host serves no images");
    let images = boots.images.as_ref().ok_or_else(off)?;
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", READ_ONLY));
    }
    let call = parse(parts.uri.path().strip_prefix("/v2/").unwrap_or_default())?;
    if call == Call::Base {
        return Ok(whole(StatusCode::OK, "application/json", "{}".into()));
    }
    let bad = |_| Refused::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", "the part after the question mark cannot be read");
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(&parts.uri).map_err(bad)?;
    let catalogue = images.catalogue().await;
    let wanted = Wanted { boots, parts, images, catalogue: &catalogue, query: &query };
    match call {
        Call::Base | Call::Catalog => wanted.names(),
        Call::Tags { name } => wanted.tags(&name),
        Call::Manifest { name, version } => wanted.manifest(&name, &version).await,
        Call::Blob { name, digest } => wanted.blob(&name, &digest).await,
    }
}

struct Wanted<'a> {
    boots: &'a Boots,
    parts: &'a Parts,
    images: &'a Images,
    catalogue: &'a Catalogue,
    query: &'a HashMap<String, String>,
}

impl Wanted<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.query.get(key).map(String::as_str)
    }

    fn repository(&self, name: &str) -> Option<&Repository> {
        self.catalogue.repository(name, self.text("ns"))
    }

    fn names(&self) -> Result<Response, Refused> {
        let page = page(self.catalogue.names(), self.text("n"), self.text("last"))?;
        Ok(self.listing(&page, &json!({"repositories": page.items})))
    }

    fn tags(&self, name: &str) -> Result<Response, Refused> {
        let repository = self.repository(name).ok_or_else(|| self.missing("NAME_UNKNOWN", name))?;
        let page = page(repository.tags(), self.text("n"), self.text("last"))?;
        Ok(self.listing(&page, &json!({"name": name, "tags": page.items})))
    }

    /// A page with the address of the next one (RFC 5988).
    fn listing(&self, page: &Page, body: &Value) -> Response {
        let mut response = whole(StatusCode::OK, "application/json", body.to_string().into());
        if let Some(last) = page.items.last().filter(|_| page.more) {
            let ns = self.text("ns").map(|ns| format!("&ns={ns}")).unwrap_or_default();
            let link = format!("<{}?n={}&last={last}{ns}>; rel=\"next\"", self.parts.uri.path(), page.items.len());
            HeaderValue::try_from(link).ok().map(|link| response.headers_mut().insert(header::LINK, link));
        }
        response
    }

    async fn manifest(&self, name: &str, version: &Version) -> Result<Response, Refused> {
        let image = match version {
            Version::Tag(tag) => format!("{name}:{tag}"),
            Version::Digest(digest) => format!("{name}@{digest}"),
        };
        let missing = || self.missing("MANIFEST_UNKNOWN", &image);
        let repository = self.repository(name).ok_or_else(missing)?;
        let digest = match version {
            Version::Tag(tag) => repository.tag(tag).ok_or_else(missing)?,
            Version::Digest(digest) => digest,
        };
        let read = self.images.manifest(repository, digest).await;
        let bytes = read.map_err(|unserved| self.unserved(unserved, "MANIFEST_UNKNOWN", &image))?;
        let kind = media_type(&bytes).ok_or_else(missing)?;
        if matches!(version, Version::Tag(_)) && self.parts.method == Method::GET {
            log::info!("HTTP {}: image {image} is {digest}", self.who());
        }
        let mut response = whole(StatusCode::OK, &kind, bytes);
        HeaderValue::try_from(digest.to_string()).ok().map(|digest| response.headers_mut().insert(DIGEST, digest));
        Ok(response)
    }

    async fn blob(&self, name: &str, digest: &oci::Digest) -> Result<Response, Refused> {
        let image = format!("{name}@{digest}");
        let repository = self.repository(name).ok_or_else(|| self.missing("BLOB_UNKNOWN", &image))?;
        let opened = self.images.blob(repository, digest).await;
        let file = opened.map_err(|unserved| self.unserved(unserved, "BLOB_UNKNOWN", &image))?;
        let download = self.boots.download(format!("v2/{name}/blobs/{digest}"), self.parts).await;
        let mut response = files::respond(self.parts, file, download);
        HeaderValue::try_from(digest.to_string()).ok().map(|digest| response.headers_mut().insert(DIGEST, digest));
        Ok(response)
    }

    fn unserved(&self, unserved: Unserved, code: &'static str, image: &str) -> Refused {
        match unserved {
            Unserved::Missing => self.missing(code, image),
            // For the client it is as if it were missing, so that it asks another mirror.
            Unserved::Unusable(_) => {
                let text = format!("a file of {image} is damaged or cannot be read; the log of this host names it");
                Refused::new(StatusCode::NOT_FOUND, code, text)
            }
        }
    }

    /// A mirror is asked for many images that it does not have.
    fn missing(&self, code: &'static str, image: &str) -> Refused {
        let is_news = !self.query.contains_key("ns") && self.boots.is_news(peer(self.parts));
        let level = if is_news { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "HTTP {}: no image layout has {image}", self.who());
        Refused::new(StatusCode::NOT_FOUND, code, format!("no image layout in DATA/images of this host has {image}"))
    }

    fn who(&self) -> String {
        peer(self.parts).map(|peer| peer.to_string()).unwrap_or_default()
    }
}

/// The type of a manifest or an index: its own, or else what its form says. `None` for another file.
fn media_type(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Form {
        manifests: Option<IgnoredAny>,
        config: Option<IgnoredAny>,
        layers: Option<IgnoredAny>,
    }
    let form: Form = serde_json::from_slice(bytes).ok()?;
    let of_form = match (form.manifests, form.config, form.layers) {
        (Some(_), ..) => INDEX,
        (None, Some(_), Some(_)) => manifest::MANIFEST,
        _ => return None,
    };
    let own = manifest::media_type(bytes).filter(|kind| HeaderValue::try_from(kind).is_ok());
    Some(own.unwrap_or_else(|| of_form.to_owned()))
}

fn error(refused: &Refused) -> Response {
    let body = json!({"errors": [{"code": refused.code, "message": refused.message}]});
    let mut response = whole(refused.status, "application/json", body.to_string().into());
    if refused.status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// A small answer. HTTP leaves its body out of the answer to HEAD, and keeps its length.
fn whole(status: StatusCode, kind: &str, body: Vec<u8>) -> Response {
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    HeaderValue::try_from(kind).ok().map(|kind| response.headers_mut().insert(header::CONTENT_TYPE, kind));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
