//! Network file systems, on which a journal is refused: all who use SQLite's WAL have to share memory, so it "does not
//! work over a network filesystem" (<https://www.sqlite.org/wal.html>), and locks there are often none.

use std::path::Path;

use super::failure::JournalFailure;

/// Refuse a journal in a folder that is on NFS or SMB. Other systems than Linux are not asked.
pub fn refuse(journal: &Path) -> Result<(), JournalFailure> {
    let Some(name) = journal.parent().and_then(name_of) else { return Ok(()) };
    Err(JournalFailure::of(
        journal,
        format_args!(
            "it is on {name}; put the journal on a local disk, and copy it when its run has ended: SQLite's WAL needs \
             memory that all its users share, which a network file system does not have \
             (https://www.sqlite.org/wal.html)"
        ),
    ))
}

/// The network file system that this folder is on.
#[cfg(target_os = "linux")]
fn name_of(folder: &Path) -> Option<&'static str> {
    use std::ffi::CString;
    use std::mem::MaybeUninit;
    use std::os::unix::ffi::OsStrExt;

    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut told = MaybeUninit::<libc::statfs>::uninit();
    #[expect(
        unsafe_code,
        reason = "the system's call; the path ends in a zero, and what it fills in is large enough"
    )]
    // SAFETY: both pointers are valid for the call, and the struct is read only where the call has filled it in.
    let told = unsafe {
        if libc::statfs(path.as_ptr(), told.as_mut_ptr()) != 0 {
            return None;
        }
        told.assume_init()
    };
    #[allow(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "as wide as the machine's word, 32 bits matter"
    )]
    name_of_type(told.f_type as u32)
}

#[cfg(not(target_os = "linux"))]
const fn name_of(_: &Path) -> Option<&'static str> {
    None
}

/// The numbers are those of `statfs(2)`.
#[cfg(target_os = "linux")]
const fn name_of_type(number: u32) -> Option<&'static str> {
    match number {
        0x6969 => Some("NFS"),
        0x517B => Some("SMB"),
        0xFF53_4D42 | 0xFE53_4D42 => Some("SMB (CIFS)"),
        _ => None,
    }
}
