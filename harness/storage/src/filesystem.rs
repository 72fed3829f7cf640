//! What a file system says of itself.

use std::ffi::CString;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Alignment that direct I/O needs for memory and offsets: what the file says (`statx`), else the block size of its
/// file system. 0: the file cannot do direct I/O. `None`: unknown.
pub(crate) fn direct_alignment(path: &Path) -> Option<u64> {
    let c_path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a C string, the answer has the type the call fills, and zeros are valid for it.
    let (result, answer) = unsafe {
        let result =
            libc::statx(libc::AT_FDCWD, c_path.as_ptr(), 0, libc::STATX_DIOALIGN, answer.as_mut_ptr());
        (result, answer.assume_init())
    };
    if result == 0 && answer.stx_mask & libc::STATX_DIOALIGN != 0 {
        return Some(u64::from(answer.stx_dio_mem_align.max(answer.stx_dio_offset_align)));
    }
    logical_block_bytes(path)
}

/// Logical block size of the device the file lies on.
fn logical_block_bytes(path: &Path) -> Option<u64> {
    let device = path.metadata().ok()?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    // A partition has no queue of its own; its disk does.
    ["queue", "../queue"].iter().find_map(|queue| {
        let file = format!("/sys/dev/block/{major}:{minor}/{queue}/logical_block_size");
        fs::read_to_string(file).ok()?.trim().parse().ok()
    })
}

/// Bytes that may still be written on the file system of `path`; `None` if it does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let c_path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut answer = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path is a C string, the answer has the type the call fills, and zeros are valid for it.
    let (result, answer) = unsafe {
        let result = libc::statvfs(c_path.as_ptr(), answer.as_mut_ptr());
        (result, answer.assume_init())
    };
    // A file system that counts no blocks counts no free ones either.
    (result == 0 && answer.f_blocks > 0).then(|| answer.f_bavail.saturating_mul(answer.f_frsize))
}

/// Type of the file system that holds `path`, as the kernel numbers it.
pub(crate) fn kind(path: &Path) -> String {
    let existing = if path.exists() { path } else { path.parent().unwrap_or(path) };
    let Ok(c_path) = CString::new(existing.as_os_str().as_bytes()) else { return "unknown".to_owned() };
    let mut answer = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path is a C string, the answer has the type the call fills, and zeros are valid for it.
    let (result, answer) = unsafe {
        let result = libc::statfs(c_path.as_ptr(), answer.as_mut_ptr());
        (result, answer.assume_init())
    };
    if result != 0 {
        return "unknown".to_owned();
    }
    match answer.f_type {
        libc::TMPFS_MAGIC => "tmpfs".to_owned(),
        libc::EXT4_SUPER_MAGIC => "ext4".to_owned(),
        libc::XFS_SUPER_MAGIC => "xfs".to_owned(),
        libc::BTRFS_SUPER_MAGIC => "btrfs".to_owned(),
        libc::OVERLAYFS_SUPER_MAGIC => "overlayfs".to_owned(),
        libc::NFS_SUPER_MAGIC => "nfs".to_owned(),
        libc::FUSE_SUPER_MAGIC => "fuse".to_owned(),
        other => format!("type {other:#x}"),
    }
}

/// The type of a folder's file system and the device below it: `ext4 on /dev/vda`.
pub(crate) fn describe(path: &Path) -> String {
    let kind = kind(path);
    let device = path.metadata().ok().and_then(|metadata| {
        let device = metadata.dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let event = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).ok()?;
        event.lines().find_map(|line| line.strip_prefix("DEVNAME=").map(str::to_owned))
    });
    device.map_or(kind.clone(), |device| format!("{kind} on /dev/{device}"))
}
