//! What a script of boots makes iPXE do, as far as the simulation needs it. Pure.

use std::time::Duration;

/// What follows from a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// Load these, then start the kernel with its arguments.
    Start { kernel: String, segments: Vec<String>, arguments: String },
    /// Wait, then ask for this script.
    Again { after: Duration, url: String },
    /// The machine boots its disk.
    Disk,
}

impl Script {
    /// `None` if it is not a script.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.strip_prefix("#!ipxe")?.lines().map(str::trim).collect();
        let (mut kernel, mut segments) = (None, Vec::new());
        for line in &lines {
            let words = line.split("&&").next().unwrap_or_default().split("||").next().unwrap_or_default();
            let mut words = words.split_whitespace();
            match words.next() {
                Some("kernel") => {
                    let url = words.find(|word| word.contains("://"))?;
                    kernel = Some((url.to_owned(), words.collect::<Vec<_>>().join(" ")));
                }
                Some("initrd") => segments.extend(words.find(|word| word.contains("://")).map(str::to_owned)),
                _ => {}
            }
        }
        if let Some((kernel, arguments)) = kernel {
            return Some(Self::Start { kernel, segments, arguments });
        }
        let again = lines.windows(2).find_map(|pair| match pair {
            [pause, chain] => {
                let seconds = pause.strip_prefix("sleep ")?.parse().ok()?;
                let url = chain.strip_prefix("chain --replace")?.split_whitespace().find(|word| word.contains("://"))?;
                Some(Self::Again { after: Duration::from_secs(seconds), url: url.to_owned() })
            }
            _ => None,
        });
        Some(again.unwrap_or(Self::Disk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_of_boots_are_understood() {
        let start = "#!ipxe\necho thimble: x\nset attempt:int32 0\n:kernel\nkernel http://10.77.0.1:7080/files/vmlinuz \
                     grpc_authority=10.77.0.1:42113 worker_id=a initrd=i.zst && goto have_kernel ||\ninc attempt\n:initrd\n\
                     initrd http://10.77.0.1:7080/files/i.zst && goto have_initrd ||\nboot || goto failed\n:failed\nsleep 10\n\
                     reboot || exit 1\n";
        let Some(Script::Start { kernel, segments, arguments }) = Script::parse(start) else { panic!("not a start") };
        assert_eq!(kernel, "http://10.77.0.1:7080/files/vmlinuz");
        assert_eq!(segments, ["http://10.77.0.1:7080/files/i.zst"]);
        assert_eq!(arguments, "grpc_authority=10.77.0.1:42113 worker_id=a initrd=i.zst");
        let held = "#!ipxe\n:hold\nsleep 60\nchain --replace --autofree http://h/auto.ipxe || goto hold\n";
        let again = Script::Again { after: Duration::from_secs(60), url: "http://h/auto.ipxe".to_owned() };
        assert_eq!(Script::parse(held), Some(again));
        let disk = "#!ipxe\niseq ${platform} efi && goto efi_disk ||\nsanboot --no-describe --drive 0x80 ||\nexit 0\n";
        assert_eq!(Script::parse(disk), Some(Script::Disk));
        assert_eq!(Script::parse("<html>"), None);
    }
}
