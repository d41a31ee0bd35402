//! The variables of image2disk, checked before anything happens.

use super::checksum::{Checksum, Wanted};
use super::http::Web;
use super::oci::Access;
use super::signed::Key;
use super::table::Grow;
use super::{ImageError, source};
use crate::device::Named;
use crate::variables::{VariableError, Variables, unusable, unusable_because};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    /// The first one, for messages and for its suffix.
    pub url: String,
    pub urls: Vec<String>,
    pub named: Named,
    /// Once it was found.
    pub disk: PathBuf,
    pub compressed: Option<bool>,
    /// Whatever it is: IMG_FORMAT=raw.
    pub as_it_is: bool,
    pub wanted: Wanted,
    /// The key that must have signed the list, and the URL of the signature.
    pub signed: Option<(Key, Option<String>)>,
    /// Once it is known.
    pub checksum: Option<Checksum>,
    pub grow: Option<Grow>,
    /// And the file system in that partition.
    pub grow_fs: bool,
    pub discard: bool,
    pub web: Web,
    pub access: Access,
    /// How long nothing may arrive before the action fails. Zero disables retries.
    pub retry_for: Duration,
    pub progress_every: Duration,
}

impl Settings {
    pub fn read(variables: &Variables) -> Result<Self, ImageError> {
        let retry = variables.flag("RETRY_ENABLED")?.unwrap_or(true);
        let retry_for = variables.minutes("RETRY_DURATION_MINUTES", 10)?;
        // The output is text in any case, but a misspelt value is still an error.
        variables.flag("TEXT_LOGGING")?;
        let urls = source::checked("IMG_URL", &variables.text("IMG_URL")?)?;
        let wanted = Wanted::read(variables)?;
        let is_local = urls.iter().all(|url| source::is_file(url)) && !matches!(wanted, Wanted::List(_));
        let web = if is_local { Web::without_certificates::<ImageError> } else { Web::read::<ImageError> };
        Ok(Self {
            url: urls.first().cloned().unwrap_or_default(),
            urls,
            named: Named::read(variables, "DEST_DISK")?,
            disk: PathBuf::new(),
            compressed: variables.flag("COMPRESSED")?,
            as_it_is: as_it_is(variables)?,
            wanted,
            signed: signed(variables)?,
            checksum: None,
            grow: grow(variables)?,
            web: web(variables)?,
            grow_fs: grow_fs(variables)?,
            discard: variables.flag("DISCARD")?.unwrap_or(false),
            access: Access::read(variables)?,
            retry_for: if retry { retry_for } else { Duration::ZERO },
            progress_every: variables.seconds("PROGRESS_INTERVAL_SECONDS", 3)?,
        })
    }
}

fn as_it_is(variables: &Variables) -> Result<bool, VariableError> {
    const NAME: &str = "IMG_FORMAT";
    match variables.optional(NAME).map(|_| variables.text(NAME)).transpose()?.as_deref() {
        None | Some("auto") => Ok(false),
        Some("raw") => Ok(true),
        Some(value) => Err(unusable(NAME, value, "auto or raw")),
    }
}

fn signed(variables: &Variables) -> Result<Option<(Key, Option<String>)>, VariableError> {
    const NAME: &str = "IMG_CHECKSUM_KEY";
    let Some(text) = variables.optional(NAME).map(|_| variables.text(NAME)).transpose()? else { return Ok(None) };
    if !matches!(Wanted::read(variables)?, Wanted::List(_)) {
        return Err(unusable(NAME, &text, "IMG_CHECKSUM, too, with the URL of the list that the key has signed"));
    }
    let pem = match text.strip_prefix('/') {
        Some(_) => std::fs::read_to_string(&text).map_err(|error| unusable_because(NAME, &text, &error))?,
        None => text.clone(),
    };
    let key =
        Key::parse(&pem).ok_or_else(|| unusable(NAME, &text, "a public key of Ed25519 or ECDSA P-256 in PEM, or its path"))?;
    let signature = variables.optional("IMG_CHECKSUM_SIGNATURE").map(|_| variables.text("IMG_CHECKSUM_SIGNATURE"));
    Ok(Some((key, signature.transpose()?)))
}

fn grow(variables: &Variables) -> Result<Option<Grow>, VariableError> {
    const NAME: &str = "GROW";
    match variables.optional(NAME).map(|_| variables.text(NAME)).transpose()?.as_deref() {
        None | Some("none") => Ok(None),
        Some("last" | "true") => Ok(Some(Grow::Last)),
        Some(value) => match value.parse() {
            Ok(number @ 1..=128) => Ok(Some(Grow::Number(number))),
            _ => Err(unusable(NAME, value, "last, none, or the number of a partition")),
        },
    }
}

fn grow_fs(variables: &Variables) -> Result<bool, VariableError> {
    const NAME: &str = "GROW_FS";
    match (variables.flag(NAME)?.unwrap_or(false), grow(variables)?) {
        (true, None) => Err(unusable(NAME, "true", "GROW, too: the file system grows with its partition")),
        (wanted, _) => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(values: [(&str, &str); N]) -> Result<Settings, String> {
        Settings::read(&Variables::of(values)).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_have_tinkerbells_defaults() {
        let settings = read([("IMG_URL", "http://boots:7080/files/d.zst"), ("DEST_DISK", "/dev/vda")]).unwrap();
        assert_eq!(settings.retry_for, Duration::from_secs(600));
        assert_eq!(settings.progress_every, Duration::from_secs(3));
        assert_eq!(settings.compressed, None);
    }

    #[test]
    fn certificates_are_read_only_for_a_server() {
        let list = ("IMG_CHECKSUM", "https://a/SHA256SUMS");
        for (case, url, second, read_them) in [
            ("a path", "/a", ("X", ""), false),
            ("a file's URL", "file:///a", ("X", ""), false),
            ("a server", "https://a/b", ("X", ""), true),
            // It may redirect.
            ("a server without TLS", "http://a/b", ("X", ""), true),
            ("a registry", "oci://a/b", ("X", ""), true),
            ("a list on a server", "/a", list, true),
        ] {
            let values = [("IMG_URL", url), ("DEST_DISK", "/dev/vda"), ("SSL_CERT_FILE", "/does/not/exist"), second];
            assert_eq!(read(values).is_err(), read_them, "{case}");
        }
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (case, values, expected) in [
            ("no URL", [("DEST_DISK", "/dev/vda"), ("X", "")], "IMG_URL is not set"),
            ("no disk", [("IMG_URL", "http://a/b"), ("X", "")], "DEST_DISK is not set"),
            ("a relative disk", [("IMG_URL", "http://a/b"), ("DEST_DISK", "vda")], "DEST_DISK=\"vda\" is not usable"),
            ("another scheme", [("IMG_URL", "ftp://a/b"), ("DEST_DISK", "/dev/vda")], "IMG_URL=\"ftp://a/b\" is not usable"),
        ] {
            let error = read(values).unwrap_err();
            assert!(error.starts_with(expected), "{case}: {error}");
        }
        let sum = [("IMG_URL", "/a"), ("DEST_DISK", "/dev/vda"), ("IMG_SHA256", "abc")];
        assert!(read(sum).unwrap_err().starts_with("IMG_SHA256=\"abc\" is not usable"));
    }
}
