//! `/init`. As PID 1 it boots the machine by the list below. With any other PID it is the agent. PID 1 ignores its
//! arguments: under UEFI iPXE puts the kernel's file name first, and the kernel passes it on.

use std::ffi::OsString;
use std::process::ExitCode;

use pid1::boot::{self, Boot, Step, may, must};
use pid1::modules::modprobe;
use pid1::{clock, files, kernel, manifest, mounts, rootfs, settings};

const BOOT: &[Step] = &[
    must("make / a mount that pivot_root accepts", rootfs::rebind), // before any other mount; containers need it
    must("mount pseudo-filesystems", mounts::pseudo),
    must("read kernel arguments", settings::read), // from here on `panic=` is known
    must("check ramdisk", manifest::check),
    may("mount EFI variables", mounts::efi_variables), // this may need a module, and the check must see every file first
    may("write /etc and /dev links", files::write),
    may("set kernel and process limits", kernel::tune),
    may("set clock", clock::not_before_build),
    must("take over signals", boot::take_over_signals),
    must("start services", boot::start_services), // network and disks appear when their drivers are loaded
    must("wait for network", boot::wait_for_network),
    must("start agent", boot::start_agent),
];

fn main() -> ExitCode {
    if std::process::id() == 1 {
        let boot = Boot::new();
        boot::run(boot, BOOT)
    } else {
        let mut arguments = std::env::args_os();
        if modprobe::is_meant(arguments.next().as_ref()) { modprobe::main(arguments) } else { agent_main(arguments) }
    }
}

fn agent_main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    agent::main(arguments)
}
