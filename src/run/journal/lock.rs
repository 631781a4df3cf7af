//! One run at a time: a lock that the system takes back when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::failure::{JournalFailure, NO_LOCKS};

/// Held for as long as a run writes its journal.
///
/// It is a file of its own, since closing any other handle of the database would make SQLite lose its locks (POSIX).
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Take it, or say who has it.
    pub fn take(journal: &Path, owner: &str) -> Result<Self, JournalFailure> {
        let mut path = journal.as_os_str().to_owned();
        path.push("-lock");
        let path = PathBuf::from(path);
        let failed = |err: &std::io::Error| {
            JournalFailure::of(journal, format_args!("{err}; the folder has to exist and be writable"))
        };
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(|err| failed(&err))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut who = String::new();
                    // Where a locked file cannot be read, the owner stays unnamed.
                    let _ = file.read_to_string(&mut who);
                    let who = if who.is_empty() { "another run".into() } else { format!("the run of {who}") };
                    return Err(JournalFailure::of(
                        journal,
                        format_args!("{who} is writing it; wait for its end, or use another journal"),
                    ));
                }
                Err(TryLockError::Error(err)) => {
                    return Err(JournalFailure::of(journal, format_args!("{err}; {NO_LOCKS}")));
                }
            }
            // Its last owner may have removed it between our opening and locking: then it locks nothing.
            if !is_at(&file, &path) {
                continue;
            }
            file.set_len(0).and_then(|()| file.write_all(owner.as_bytes())).map_err(|err| failed(&err))?;
            return Ok(Self { file, path });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, or the next owner's file would be removed. What remains does no harm.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// Whether the open file is the one at this path.
#[cfg(unix)]
pub fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |data: std::fs::Metadata| (data.dev(), data.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

/// An open file cannot be removed here.
#[cfg(not(unix))]
pub fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}
