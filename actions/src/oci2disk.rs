//! `oci2disk`: writes a disk image that a registry has as a file of an OCI artifact. It is image2disk under the variables of
//! Tinkerbell's action of that name.

use crate::image2disk::{self, ImageError, oci};
use crate::variables::{VariableError, Variables};

#[derive(Debug, thiserror::Error)]
pub enum OciDiskError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Image(#[from] ImageError),
}

const URL: &str = "IMG_URL";
const INSECURE: &str = "INSECURE_REGISTRIES";

/// `IMG_URL` as image2disk has it. Upstream's is a reference without a scheme, and `http://` before it means without TLS.
///
/// # Errors
/// If it is missing.
pub(crate) fn with_scheme(variables: &Variables) -> Result<Variables, VariableError> {
    let text = variables.text(URL)?;
    let (scheme, rest) = text.trim().split_once("://").unwrap_or(("", text.trim()));
    let mut changed = variables.clone();
    if scheme == "http" {
        let registry = rest.split('/').next().unwrap_or_default();
        let listed = variables.text(INSECURE).unwrap_or_default();
        changed.set(INSECURE, &format!("{listed} {registry}"));
    }
    changed.set(URL, &format!("{}{rest}", oci::PREFIX));
    Ok(changed)
}

fn of_file(variables: &Variables) -> Result<Variables, VariableError> {
    let mut changed = with_scheme(variables)?;
    if variables.optional("OCI_FILE").is_some() {
        let url = format!("{}#{}", changed.text(URL)?, variables.text("OCI_FILE")?);
        changed.set(URL, &url);
    }
    Ok(changed)
}

pub fn run(variables: &Variables) -> Result<(), OciDiskError> {
    Ok(image2disk::run(&of_file(variables)?)?)
}

/// Looks at the disk and at the start of the image, and says what `run` would do.
pub fn dry_run(variables: &Variables) -> Result<(), OciDiskError> {
    Ok(image2disk::dry_run(&of_file(variables)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_becomes_a_url_of_image2disk() {
        for (given, file, url, insecure) in [
            ("ghcr.io/a/disk:v1.gz", "", "oci://ghcr.io/a/disk:v1.gz", None),
            ("oci://ghcr.io/a/disk:v1", "disk.raw", "oci://ghcr.io/a/disk:v1#disk.raw", None),
            ("http://10.0.0.1:7080/disk:v1", "", "oci://10.0.0.1:7080/disk:v1", Some(" 10.0.0.1:7080")),
        ] {
            let changed = of_file(&Variables::of([(URL, given), ("OCI_FILE", file)])).unwrap();
            assert_eq!(changed.text(URL).unwrap(), url);
            assert_eq!(changed.text(INSECURE).ok().as_deref(), insecure, "{given}");
        }
    }
}
