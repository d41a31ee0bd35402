//! Makes `/` a mount with a parent. Containers need pivot_root(2), which refuses the kernel's rootfs. Binding `/` onto a
//! directory and moving that over `/` costs nothing, while a copy would take the ramdisk's memory twice.

use std::fs;

use rustix::mount::{mount_bind, mount_move};
use rustix::process::{chdir, chroot};

use crate::boot::Boot;
use crate::{PathError, StepError};

const NEW_ROOT: &str = "/newroot";

pub fn rebind(_: &mut Boot) -> Result<(), StepError> {
    fs::create_dir_all(NEW_ROOT).map_err(PathError::new("cannot make", NEW_ROOT))?;
    mount_bind("/", NEW_ROOT).map_err(PathError::new("cannot bind / to", NEW_ROOT))?;
    chdir(NEW_ROOT).map_err(PathError::new("cannot enter", NEW_ROOT))?;
    mount_move(".", "/").map_err(PathError::new("cannot move over /", NEW_ROOT))?;
    chroot(".").map_err(PathError::new("cannot make the root of", NEW_ROOT))?;
    chdir("/").map_err(PathError::new("cannot enter", "/"))?;
    fs::remove_dir(NEW_ROOT).or_else(|error| {
        log::warn!("cannot remove {NEW_ROOT}: {error}");
        Ok(())
    })
}
