//! One run at a time: a lock that the system takes back when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::failure::{JournalFailure, NO_LOCKS};
use super::place::Place;
use super::reached::{Reached, beside, wal_bytes};

/// Held for as long as a run writes its journal.
///
/// It is a file of its own, since closing any other handle of the database would make SQLite lose its locks (POSIX).
/// Its first line says who holds it, the second how far the journal has come.
#[derive(Debug)]
pub struct Lock {
    file: File,
    journal: PathBuf,
    path: PathBuf,
    owner: String,
    reached: Reached,
    /// Whether the journal was seen to have come as far as was noted.
    is_confirmed: bool,
}

impl Lock {
    /// Take it, or say who has it.
    pub fn take(journal: &Path, owner: &str) -> Result<Self, JournalFailure> {
        let path = beside(journal, "-lock");
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
            let is_locked = match file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(err)) => {
                    return Err(JournalFailure::of(journal, format_args!("{err}; {NO_LOCKS}")));
                }
            };
            let mut text = String::new();
            // Where a locked file cannot be read, the owner stays unnamed.
            let _ = file.read_to_string(&mut text);
            let (who, reached) = parts(&text);
            if !is_locked {
                let who = if who.is_empty() { "another run".into() } else { format!("the run of {who}") };
                return Err(JournalFailure::of(
                    journal,
                    format_args!("{who} is writing it; wait for its end, or use another journal"),
                ));
            }
            // Its last owner may have removed it between our opening and locking: then it locks nothing.
            if Place::of_open(&file) != Place::of(&path) {
                continue;
            }
            let mut lock = Self {
                file,
                journal: journal.to_owned(),
                path,
                owner: owner.into(),
                reached: reached.unwrap_or_default(),
                is_confirmed: false,
            };
            lock.write().map_err(|err| failed(&err))?;
            return Ok(lock);
        }
    }

    /// How far the journal had come when its last run was cut off.
    pub const fn reached(&self) -> Reached {
        self.reached
    }

    /// The journal has come so far.
    pub fn note(&mut self, commits: i64) {
        self.reached = Reached::now(&self.journal, commits);
        self.is_confirmed = true;
        // Nothing is lost where this cannot be written, and the next commit will find the same trouble.
        let _ = self.write();
    }

    fn write(&mut self) -> std::io::Result<()> {
        let text = format!("{}\n{}", self.owner, self.reached.line());
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let is_told = self.reached == Reached::default() || self.is_confirmed;
        // What SQLite has not moved into the journal yet can still be lost.
        if is_told && wal_bytes(&self.journal).is_none() {
            // While it is still locked, or the next owner's file would be removed.
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// How far the journal of this path had come, where its lock file tells it.
pub fn reached(journal: &Path) -> Option<Reached> {
    parts(&std::fs::read_to_string(beside(journal, "-lock")).ok()?).1
}

/// The owner, and how far the journal had come.
fn parts(text: &str) -> (&str, Option<Reached>) {
    let mut lines = text.lines();
    let owner = lines.next().unwrap_or_default();
    (owner, lines.next().and_then(Reached::read))
}
