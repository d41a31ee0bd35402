//! What dpkg knows about the package. Pure.

pub const MAINTAINER: &str = "The Thimble authors <thimble@example.org>";

/// The fields that differ from build to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub version: String,
    pub architecture: String,
    /// The oldest C library with which the program starts. `None` if it needs none.
    pub glibc: Option<(u32, u32)>,
    pub installed_kib: u64,
}

impl Control {
    pub fn text(&self) -> String {
        let libraries = self.glibc.map(|(major, minor)| format!("libc6 (>= {major}.{minor}), libgcc-s1, ")).unwrap_or_default();
        let Self { version, architecture, installed_kib, .. } = self;
        format!(
            "Package: thimble\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\n\
             Installed-Size: {installed_kib}\nDepends: {libraries}adduser\nRecommends: ca-certificates, ipxe\n\
             Suggests: busybox-static, dropbear-bin, grub-efi-amd64-signed, isolinux, skopeo, systemd-boot-efi\nSection: admin\nPriority: optional\n\
             Description: installs operating systems on machines with an empty disk\n \
             Machines boot from the network into a ramdisk of a few megabytes and run the\n \
             steps of a workflow as OCI images. This package has the daemons of the\n \
             provisioning host, the client, and the static programs of the ramdisk.\n \
             It speaks Tinkerbell's protocols and reads its objects.\n"
        )
    }
}

/// The highest version of the C library's symbols that a program names.
pub fn glibc_of(program: &[u8]) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    let number = |digits: &str| digits.parse::<u32>().ok();
    let versions = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK).filter_map(|(at, _)| {
        let rest = program.get(at + MARK.len()..)?;
        let text: String = rest
            .iter()
            .take(8)
            .take_while(|byte| byte.is_ascii_digit() || **byte == b'.')
            .map(|byte| char::from(*byte))
            .collect();
        let mut parts = text.split('.');
        Some((number(parts.next()?)?, number(parts.next()?)?))
    });
    versions.max()
}

/// The unit of this checkout, for the place where the package has the program.
pub fn unit(text: &str) -> String {
    text.replace("/usr/local/bin/", "/usr/bin/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_c_library_is_that_of_the_newest_symbol() {
        assert_eq!(glibc_of(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.4\0GLIBC_PRIVATE\0"), Some((2, 34)));
        assert_eq!(glibc_of(b"a static program, GLIBC_"), None);
    }

    #[test]
    fn a_static_program_needs_no_library() {
        let control = Control { version: "1".into(), architecture: "amd64".into(), glibc: None, installed_kib: 7 };
        assert!(control.text().contains("\nDepends: adduser\n") && control.text().contains("\nInstalled-Size: 7\n"));
        let control = Control { glibc: Some((2, 36)), ..control };
        assert!(control.text().contains("\nDepends: libc6 (>= 2.36), libgcc-s1, adduser\n"));
    }
}
