//! `qemuimg2disk`: image2disk under the variables of Tinkerbell's action of that name, which runs qemu-img. qcow2 and raw
//! images are written as they stream. VMDK, VHD and the others are refused by name.

use crate::image2disk::{self, ImageError};
use crate::variables::{VariableError, Variables, unusable};

#[derive(Debug, thiserror::Error)]
pub enum QemuImageError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// `FORMAT` is that of the output, which is a disk. `EXTRA_ARGS` is for the program qemu-img.
fn check(variables: &Variables) -> Result<(), VariableError> {
    variables.text("IMG_URL")?;
    let given = |name| variables.optional(name).map(|_| variables.text(name)).transpose();
    if let Some(format) = given("FORMAT")?
        && !matches!(format.as_str(), "host_device" | "raw")
    {
        return Err(unusable("FORMAT", &format, "host_device or raw: it is the format of the output, and a disk has no other"));
    }
    match given("EXTRA_ARGS")? {
        Some(words) if words.split_whitespace().any(|word| !is_about_speed(word)) => {
            Err(unusable("EXTRA_ARGS", &words, "nothing but -W, -m, -t, -T and -n of qemu-img, which change no byte"))
        }
        _ => Ok(()),
    }
}

/// Options of qemu-img convert that change only how fast it is, and their values.
fn is_about_speed(word: &str) -> bool {
    matches!(word, "-W" | "-m" | "-t" | "-T" | "-n" | "-p" | "none" | "directsync" | "writeback" | "writethrough" | "unsafe")
        || word.parse::<u32>().is_ok()
}

pub fn run(variables: &Variables) -> Result<(), QemuImageError> {
    check(variables)?;
    Ok(image2disk::run(variables)?)
}

/// Looks at the disk and at the start of the image, and says what `run` would do.
pub fn dry_run(variables: &Variables) -> Result<(), QemuImageError> {
    check(variables)?;
    Ok(image2disk::dry_run(variables)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_the_result_is_refused() {
        for (name, value, good) in [
            ("FORMAT", "host_device", true),
            ("FORMAT", "", true),
            ("FORMAT", "qcow2", false),
            ("EXTRA_ARGS", "-W -m 8", true),
            ("EXTRA_ARGS", "-o preallocation=full", false),
            ("EXTRA_ARGS", "-c", false),
        ] {
            let checked = check(&Variables::of([("IMG_URL", "/a.qcow2"), (name, value)]));
            assert_eq!(checked.is_ok(), good, "{name}={value}");
        }
    }
}
