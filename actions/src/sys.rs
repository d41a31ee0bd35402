//! The system calls that no crate wraps: ioctls of block devices, and loading a kernel.
#![allow(unsafe_code)]

use crate::wipe::{ata, nvme};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

mod request {
    // <linux/fs.h>: _IO(0x12, 95), and _IO(0x12, 119) with a pair of u64
    pub const BLKRRPART: libc::c_ulong = 0x125f;
    pub const BLKDISCARD: libc::c_ulong = 0x1277;
    // The same with 125 and 127
    pub const BLKSECDISCARD: libc::c_ulong = 0x127d;
    pub const BLKZEROOUT: libc::c_ulong = 0x127f;
    // <linux/nvme_ioctl.h>: _IO('N', 0x40), _IOWR('N', 0x41, struct nvme_passthru_cmd); <scsi/sg.h>
    pub const NVME_ID: libc::c_ulong = 0x4e40;
    pub const NVME_ADMIN: libc::c_ulong = 0xc048_4e41;
    pub const SG_IO: libc::c_ulong = 0x2285;
    // _IOW('f', 16, u64) of ext4, _IOW('X', 110, struct xfs_growfs_data), _IOW(0x94, 3, struct btrfs_ioctl_vol_args)
    pub const EXT4_RESIZE: libc::c_ulong = 0x4008_6610;
    pub const XFS_GROW: libc::c_ulong = 0x4010_586e;
    pub const BTRFS_RESIZE: libc::c_ulong = 0x5000_9403;
}

/// The size of a page of this kernel in bytes.
pub fn page_size() -> u64 {
    // SAFETY: sysconf(3) takes any name and touches no memory of ours.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Adds swap space to the memory (swapon(2)).
pub fn swap_on(device: &Path) -> io::Result<()> {
    let path = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: the path is a CString that outlives the call.
    check(unsafe { libc::swapon(path.as_ptr(), 0) })
}

/// `struct xfs_growfs_data`
#[repr(C)]
struct XfsGrow {
    blocks: u64,
    inodes_percent: u32,
    padding: u32,
}

/// `struct btrfs_ioctl_vol_args`
#[repr(C)]
struct BtrfsResize {
    fd: i64,
    name: [u8; 4088],
}

/// Grows the mounted ext4 file system whose root folder this is.
pub fn grow_ext4(root: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `root` is borrowed; EXT4_IOC_RESIZE_FS reads one u64 from the pointer, which
    // is that of a u64 that outlives the call.
    check(unsafe { libc::ioctl(root.as_raw_fd(), request::EXT4_RESIZE as _, &raw const blocks) })
}

/// Grows the mounted XFS file system whose root folder this is. `inodes_percent` is kept from its superblock.
pub fn grow_xfs(root: &File, blocks: u64, inodes_percent: u32) -> io::Result<()> {
    let wanted = XfsGrow { blocks, inodes_percent, padding: 0 };
    // SAFETY: the descriptor is open for as long as `root` is borrowed; XFS_IOC_FSGROWFSDATA reads a struct of 16 bytes, which has
    // the layout of XfsGrow (repr C) and outlives the call.
    check(unsafe { libc::ioctl(root.as_raw_fd(), request::XFS_GROW as _, &raw const wanted) })
}

/// Grows the mounted btrfs file system whose root folder this is over its whole device.
pub fn grow_btrfs(root: &File) -> io::Result<()> {
    let mut wanted = BtrfsResize { fd: 0, name: [0; 4088] };
    for (place, byte) in wanted.name.iter_mut().zip(b"max") {
        *place = *byte;
    }
    // SAFETY: the descriptor is open for as long as `root` is borrowed; BTRFS_IOC_RESIZE reads a struct of 4096 bytes with a
    // NUL-terminated name, which BtrfsResize (repr C) is: its name has zeros behind "max". It outlives the call.
    check(unsafe { libc::ioctl(root.as_raw_fd(), request::BTRFS_RESIZE as _, &raw const wanted) })
}

/// Asks the kernel to read the partition table of this disk again.
pub fn reread_partitions(disk: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `disk` is borrowed; BLKRRPART takes no argument.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), request::BLKRRPART as _) })
}

/// Marks this range of the disk as unused. What it reads as afterwards depends on the disk.
pub fn discard(disk: &File, offset: u64, length: u64) -> io::Result<()> {
    of_range(disk, request::BLKDISCARD, offset, length)
}

/// The same for all copies that the disk has made of the data.
pub fn secure_discard(disk: &File, offset: u64, length: u64) -> io::Result<()> {
    of_range(disk, request::BLKSECDISCARD, offset, length)
}

/// Makes this range read as zeros. The kernel writes them if the disk has no command for it.
pub fn zero_out(disk: &File, offset: u64, length: u64) -> io::Result<()> {
    of_range(disk, request::BLKZEROOUT, offset, length)
}

fn of_range(disk: &File, request: libc::c_ulong, offset: u64, length: u64) -> io::Result<()> {
    let range: [u64; 2] = [offset, length];
    // SAFETY: the descriptor is open for as long as `disk` is borrowed. BLKDISCARD, BLKSECDISCARD and BLKZEROOUT, which are the
    // only requests of the callers above, read two u64 from the pointer: an array of two u64 that outlives the call.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), request as _, range.as_ptr()) })
}

/// Loads a kernel for kexec (kexec_file_load(2)). The running kernel reads both files and the command line before it returns.
pub fn load_kernel(kernel: &File, initrd: Option<&File>, command_line: &CStr) -> io::Result<()> {
    const NO_INITRD: libc::c_ulong = 4; // KEXEC_FILE_NO_INITRAMFS
    let bytes = command_line.to_bytes_with_nul();
    let (initrd, flags) = initrd.map_or((-1, NO_INITRD), |file| (file.as_raw_fd(), 0));
    // SAFETY: both descriptors are open while the files are borrowed. The pointer and the length are those of one slice
    // that ends with its NUL, as the system call requires. The slice outlives the call, which only reads it.
    let result =
        unsafe { libc::syscall(libc::SYS_kexec_file_load, kernel.as_raw_fd(), initrd, bytes.len(), bytes.as_ptr(), flags) };
    check(if result < 0 { -1 } else { 0 })
}

/// `struct nvme_passthru_cmd`
#[repr(C)]
#[derive(Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    cdw2_3: [u32; 2],
    metadata: u64,
    address: u64,
    metadata_length: u32,
    data_length: u32,
    cdw10_15: [u32; 6],
    timeout_ms: u32,
    result: u32,
}

/// Sends an admin command to an NVMe disk, and fills `data` with its answer. A status of the disk is an error.
pub fn nvme(disk: &File, command: nvme::Command, data: &mut [u8]) -> io::Result<()> {
    let wanted = NvmeCommand {
        opcode: command.opcode,
        namespace: command.namespace,
        address: if data.is_empty() { 0 } else { data.as_mut_ptr() as u64 },
        data_length: u32::try_from(data.len()).map_err(io::Error::other)?,
        cdw10_15: [command.cdw10, 0, 0, 0, 0, 0],
        timeout_ms: command.timeout_ms,
        ..NvmeCommand::default()
    };
    let mut wanted = wanted;
    // SAFETY: the descriptor is open for as long as `disk` is borrowed. The pointer is that of a struct with the layout of
    // nvme_passthru_cmd (repr C, 72 bytes, the size in the request), which the kernel reads and writes during the call. The address
    // and the length in it are those of one exclusive slice that outlives the call, or zero.
    let status = unsafe { libc::ioctl(disk.as_raw_fd(), request::NVME_ADMIN as _, &raw mut wanted) };
    if status > 0 { Err(io::Error::other(format!("the disk answers with status {status:#x}"))) } else { check(status) }
}

/// What an NVMe disk says of its controller and its namespace, and the namespace's number.
pub fn nvme_identify(disk: &File) -> io::Result<(Vec<u8>, Vec<u8>, u32)> {
    // SAFETY: the descriptor is open for as long as `disk` is borrowed; NVME_IOCTL_ID takes no argument.
    let number = unsafe { libc::ioctl(disk.as_raw_fd(), request::NVME_ID as _) };
    let number = u32::try_from(number).map_err(|_| io::Error::last_os_error())?;
    let ask = |cdw10, namespace| {
        let mut answer = vec![0; nvme::IDENTIFY_LENGTH];
        let wanted = nvme::Command { opcode: nvme::IDENTIFY, namespace, cdw10, timeout_ms: 10_000 };
        nvme(disk, wanted, &mut answer).map(|()| answer)
    };
    Ok((ask(1, 0)?, ask(0, number)?, number))
}

/// `struct sg_io_hdr`
#[repr(C)]
struct SgHeader {
    interface: libc::c_int,
    direction: libc::c_int,
    command_length: u8,
    sense_length: u8,
    vectors: u16,
    data_length: u32,
    data: *mut u8,
    command: *const u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    number: libc::c_int,
    user: *mut u8,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_written: u8,
    host_status: u16,
    driver_status: u16,
    residual: libc::c_int,
    duration: u32,
    info: u32,
}

/// Sends an ATA command by SG_IO. A status of the disk is an error.
pub fn ata(disk: &File, command: &[u8; 16], direction: ata::Data, data: &mut [u8], timeout_ms: u32) -> io::Result<()> {
    let mut sense = [0u8; 32];
    let mut header = SgHeader {
        interface: libc::c_int::from(b'S'),
        direction: match direction {
            ata::Data::None => -1,
            ata::Data::Out => -2,
            ata::Data::In => -3,
        },
        command_length: 16,
        sense_length: 32,
        vectors: 0,
        data_length: u32::try_from(data.len()).map_err(io::Error::other)?,
        data: data.as_mut_ptr(),
        command: command.as_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_ms,
        flags: 0,
        number: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_written: 0,
        host_status: 0,
        driver_status: 0,
        residual: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the descriptor is open for as long as `disk` is borrowed. The pointer is that of a struct with the layout of sg_io_hdr
    // (repr C). Its three pointers are those of slices that outlive the call: the command of 16 bytes, which is read; the sense of
    // 32 bytes, which is written; and the data, whose length is given and which is exclusive.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), request::SG_IO as _, &raw mut header) })?;
    // The masked driver status has a flag for "there is sense data".
    if header.status == 0 && header.host_status == 0 && header.driver_status & 0x7 == 0 {
        return Ok(());
    }
    let [status, host] = [u16::from(header.status), header.host_status];
    Err(io::Error::other(format!(
        "the disk answers with status {status:#x}, host status {host:#x}, sense {}",
        hex::encode(sense)
    )))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
