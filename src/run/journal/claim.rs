//! One run at a time on a file, whatever it is called.
//!
//! The lock file is found by the journal's name, and a file may have more names than one: hard links, and mounts of the
//! file alone. So a run also locks a byte of the journal itself. Such a lock (POSIX) belongs to the file and to the
//! process: a forked child does not have it, and the system names who has. But closing any handle of the file gives it
//! back, and it keeps out other processes alone; so this process keeps a list of what it writes and looks there first.
//!
//! A forked child inherits the lock on the lock file, and would hold it for as long as it lives, also when its parent is
//! killed. So a child closes those handles before anything else runs in it.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use super::occupancy::{Refused, Seen};
use super::place::Place;
use super::reached::beside;

/// The byte that a run locks: past those that SQLite locks, 512 from 2^30 on (<https://www.sqlite.org/lockingv3.html>).
const BYTE: libc::off_t = 0x4000_0000 + 1024;

/// The journals that this process writes.
static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Held {
    place: Place,
    /// The handle of its lock file, which a child closes.
    lock: RawFd,
}

/// The list of journals that this process writes, which stays as it is meanwhile. No fork happens in between.
pub struct Claims(MutexGuard<'static, Vec<Held>>);

/// Held for as long as a run writes its journal, and longer than SQLite has it open. To be given back to [`Claims`].
#[derive(Debug)]
pub struct Claim {
    file: File,
    place: Place,
}

impl Claims {
    /// Look at the list, and keep others from changing it.
    pub fn look() -> Self {
        fork::prepare();
        Self(HELD.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Claim this journal, which is made where there is none; `lock` is its lock file.
    pub fn claim(&mut self, journal: &Path, lock: &File) -> Result<Claim, Refused> {
        // Looked up by name first: opening what this process writes, and closing it again, would unlock it.
        if Place::of(journal).is_some_and(|place| self.has(place)) {
            return Err(Refused::By(std::process::id()));
        }
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(journal);
        let file = open.map_err(Refused::Failed)?;
        let place = Place::of_open(&file).ok_or_else(|| Refused::Failed(io::ErrorKind::NotFound.into()))?;
        lock_byte(&file)?;
        if is_elsewhere(&file, journal) {
            return Err(Refused::Elsewhere);
        }
        self.0.push(Held { place, lock: lock.as_raw_fd() });
        Ok(Claim { file, place })
    }

    /// Give a claim back, once SQLite has closed the journal.
    pub fn release(&mut self, claim: Claim) {
        let Claim { file, place } = claim;
        self.0.retain(|held| held.place != place);
        // While the list stays as it is: whoever claims the journal next would lose its locks by this.
        drop(file);
    }

    fn has(&self, place: Place) -> bool {
        self.0.iter().any(|held| held.place == place)
    }
}

impl Claim {
    /// Lock the byte. To be repeated once SQLite keeps the file open for good: until then, whenever it gives its own
    /// locks back it gives back all of this process.
    pub fn lock(&self) -> Result<(), Refused> {
        lock_byte(&self.file)
    }
}

/// Look at a journal that is to be read; changes nothing.
pub fn look(journal: &Path) -> Seen {
    let claims = Claims::look();
    if Place::of(journal).is_some_and(|place| claims.has(place)) {
        let has_more_names = journal.metadata().is_ok_and(|data| has_more_names(&data));
        return Seen { is_written: true, is_elsewhere: has_more_names && !is_beside(journal) };
    }
    let Ok(file) = File::open(journal) else { return Seen::default() };
    Seen { is_written: holder(&file).is_some(), is_elsewhere: is_elsewhere(&file, journal) }
}

/// Whether the last commits of a journal that has more than one name stand beside another one. There SQLite does not
/// find them, and takes an older state for all there is (<https://www.sqlite.org/howtocorrupt.html>, "Multiple links").
fn is_elsewhere(file: &File, journal: &Path) -> bool {
    let mut modes = [0; 2];
    // Both are 2 as long as commits stand beside the file (<https://www.sqlite.org/fileformat2.html>, offset 18).
    let is_in_parts = file.read_exact_at(&mut modes, 18).is_ok() && modes == [2, 2];
    is_in_parts && file.metadata().is_ok_and(|data| has_more_names(&data)) && !is_beside(journal)
}

fn is_beside(journal: &Path) -> bool {
    beside(journal, "-wal").exists()
}

fn has_more_names(data: &Metadata) -> bool {
    data.nlink() > 1
}

fn lock_byte(file: &File) -> Result<(), Refused> {
    match control(file, libc::F_SETLK) {
        Ok(_) => Ok(()),
        // Who had it may have given it back by now.
        Err(err) if matches!(err.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)) => {
            Err(Refused::By(holder(file).unwrap_or_default()))
        }
        Err(err) => Err(Refused::Failed(err)),
    }
}

/// The other process that has locked the byte.
fn holder(file: &File) -> Option<u32> {
    let lock = control(file, libc::F_GETLK).ok()?;
    let is_held = lock.l_type != libc::F_UNLCK as libc::c_short;
    // One of another container has no number here.
    is_held.then(|| u32::try_from(lock.l_pid).unwrap_or_default())
}

fn control(file: &File, command: libc::c_int) -> io::Result<libc::flock> {
    #[expect(unsafe_code, reason = "the system's call")]
    // SAFETY: a struct of integers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = BYTE;
    lock.l_len = 1;
    #[expect(unsafe_code, reason = "the system's call")]
    // SAFETY: the handle is open and the struct is valid for the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(lock) }
}

/// What happens around a fork, also one that Python knows nothing of.
mod fork {
    use std::cell::RefCell;

    use super::{HELD, Held, MutexGuard, Once, PoisonError};

    thread_local! {
        /// The list, for as long as this thread forks.
        static FORKING: RefCell<Option<MutexGuard<'static, Vec<Held>>>> = const { RefCell::new(None) };
    }

    /// See to it that children let go; once.
    pub fn prepare() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            #[expect(unsafe_code, reason = "the system's call")]
            // SAFETY: the functions live as long as the process, since nobody unloads an extension of Python.
            unsafe {
                // It fails where memory is used up. Then children are as before.
                libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child));
            }
        });
    }

    /// Nobody else may be changing the list while the process is copied, or the child could never look at it.
    extern "C" fn before() {
        let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = FORKING.try_with(|slot| slot.replace(Some(held)));
    }

    extern "C" fn in_parent() {
        let _ = FORKING.try_with(RefCell::take);
    }

    extern "C" fn in_child() {
        let held = FORKING.try_with(RefCell::take).ok().flatten();
        for held in held.into_iter().flat_map(|mut list| std::mem::take(&mut *list)) {
            #[expect(unsafe_code, reason = "the system's call")]
            // SAFETY: whoever owns this handle is a thread of the parent, so here nobody uses or closes it.
            unsafe {
                libc::close(held.lock);
            }
        }
    }
}
