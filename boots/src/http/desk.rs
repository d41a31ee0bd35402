//! The desk: one thread takes all connections and answers the scripts. A script is short, and a machine does nothing until it
//! has it. On the executor's threads it would wait behind thousands of ramdisks on their way.

/// Texts that machines wait for at the start of a boot. Behind these paths is nothing else.
pub fn answers(path: &str) -> bool {
    ["/ipxe/script/", "/grub/", "/pxelinux.cfg/"].iter().any(|prefix| path.starts_with(prefix))
}
