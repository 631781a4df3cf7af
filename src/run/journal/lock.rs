//! One run at a time: a lock that the system takes back when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::claim::{Claim, Claims};
use super::failure::{JournalFailure, NO_LOCKS};
use super::occupancy::Refused;
use super::place::Place;
use super::reached::{Reached, beside, wal_bytes};

/// Held for as long as a run writes its journal.
///
/// It is a file of its own, since closing any other handle of the database would make SQLite lose its locks (POSIX).
/// Its first line says who holds it, the second how far the journal has come.
#[derive(Debug)]
pub struct Lock {
    /// On the journal itself, whatever it is called.
    claim: Option<Claim>,
    file: File,
    journal: PathBuf,
    path: PathBuf,
    owner: String,
    reached: Reached,
    /// Whether the journal was seen to have come as far as was noted.
    is_confirmed: bool,
}

impl Lock {
    /// Take it, or say who has it. The journal is made where there is none.
    pub fn take(journal: &Path, owner: &Owner<'_>) -> Result<Self, JournalFailure> {
        // Until it is claimed, nobody forks: a child would not know of the handle.
        let mut claims = Claims::look();
        let mut lock = Self::of_name(journal, &owner.to_string())?;
        match claims.claim(journal, &lock.file) {
            Ok(claim) => {
                lock.claim = Some(claim);
                Ok(lock)
            }
            Err(refused) => Err(owner.failure(journal, refused)),
        }
    }

    /// Make sure of it once SQLite keeps the journal open for good.
    pub fn confirm(&self, owner: &Owner<'_>) -> Result<(), JournalFailure> {
        let locked = self.claim.as_ref().map_or(Ok(()), Claim::lock);
        locked.map_err(|refused| owner.failure(&self.journal, refused))
    }

    fn of_name(journal: &Path, owner: &str) -> Result<Self, JournalFailure> {
        let path = beside(journal, "-lock");
        let failed = |err: &std::io::Error| {
            let remedy = match err.kind() {
                ErrorKind::StorageFull => "make room, then make the same call again",
                _ => "the folder has to exist and be writable",
            };
            JournalFailure::of(journal, format_args!("{err}; {remedy}"))
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
                return Err(JournalFailure::of(journal, format_args!("{who} is writing it; {WAIT}")));
            }
            // Its last owner may have removed it between our opening and locking: then it locks nothing.
            if Place::of_open(&file) != Place::of(&path) {
                continue;
            }
            let mut lock = Self {
                claim: None,
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
        // Both locks at once, or the next run would find one of them taken.
        let claimed = self.claim.take().map(|claim| (Claims::look(), claim));
        let is_told = self.reached == Reached::default() || self.is_confirmed;
        // What SQLite has not moved into the journal yet can still be lost.
        if is_told && wal_bytes(&self.journal).is_none() {
            // While it is still locked, or the next owner's file would be removed.
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
        if let Some((mut claims, claim)) = claimed {
            claims.release(claim);
        }
    }
}

/// Who runs here: this process, on a machine of this name.
pub struct Owner<'a>(pub &'a str);

impl Owner<'_> {
    fn failure(&self, journal: &Path, refused: Refused) -> JournalFailure {
        match refused {
            Refused::By(0) => JournalFailure::of(journal, format_args!("another run is writing it; {WAIT}")),
            Refused::By(pid) => JournalFailure::of(
                journal,
                format_args!(
                    "the run of process {pid} on {} is writing it, under another name or without its -lock file; \
                     {WAIT}",
                    self.0
                ),
            ),
            Refused::Elsewhere => elsewhere(journal),
            Refused::Failed(err) if is_about_locks(&err) => {
                JournalFailure::of(journal, format_args!("{err}; {NO_LOCKS}"))
            }
            Refused::Failed(err) => JournalFailure::of(
                journal,
                format_args!("{err}; make the file and its folder writable, then resume"),
            ),
        }
    }
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", std::process::id(), self.0)
    }
}

/// The failure of a journal whose last commits stand beside another name of it.
pub fn elsewhere(journal: &Path) -> JournalFailure {
    JournalFailure::of(
        journal,
        "it has another name (a hard link), and its last commits stand beside that one; use the name that its run was \
         given",
    )
}

fn is_about_locks(err: &std::io::Error) -> bool {
    err.kind() == ErrorKind::Unsupported || err.raw_os_error() == Some(NO_LOCKS_LEFT)
}

/// `ENOLCK`.
#[cfg(unix)]
const NO_LOCKS_LEFT: i32 = libc::ENOLCK;
#[cfg(not(unix))]
const NO_LOCKS_LEFT: i32 = -1;

const WAIT: &str = "wait for its end, or use another journal";

/// Who wrote the journal of this path, and how far it had come, where its lock file tells it.
pub fn told(journal: &Path) -> (String, Option<Reached>) {
    let text = std::fs::read_to_string(beside(journal, "-lock")).unwrap_or_default();
    let (owner, reached) = parts(&text);
    (owner.to_owned(), reached)
}

/// The owner, and how far the journal had come.
fn parts(text: &str) -> (&str, Option<Reached>) {
    let mut lines = text.lines();
    let owner = lines.next().unwrap_or_default();
    (owner, lines.next().and_then(Reached::read))
}
