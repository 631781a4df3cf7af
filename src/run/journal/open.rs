//! Opening a journal for a run: locked, checked, and with the run written down in it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::carried::Earlier;
use super::claim;
use super::failure::JournalFailure;
use super::head::{Head, Identity, RunRow};
use super::location;
use super::lock::{self, Lock, Owner};
use super::network;
use super::place::Place;
use super::reached::Outside;
use super::read::{Known, Loaded, cut_off, names, never_sent, read, under_way};
use super::record::{micros, utc};
use super::schema;
use crate::outcome::{Status, unix_micros};
use crate::run::columns::Columns;
use crate::run::source::Source;

/// What is asked of a journal.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it is.
    pub path: PathBuf,
    /// Outcomes to try anew, besides those that no answer has settled.
    pub retry: Vec<Status>,
    /// Whether it goes on with all ids of the journal, without being given any.
    pub resume: bool,
    /// Whether the input is known to end, so that all of it is written down before the first request leaves.
    pub is_sized: bool,
    /// Name of this machine, for whoever finds the journal locked.
    pub machine: String,
}

/// A journal that is ready to be written.
pub struct Journal {
    pub(super) path: PathBuf,
    // Closed before the lock is given back: the fields are dropped in this order.
    pub(super) connection: Connection,
    pub(super) head: Head,
    pub(super) run: RunRow,
    pub(super) place: Place,
    pub(super) lock: Lock,
}

impl Journal {
    /// The tenant that it is of, where that is known.
    pub fn tenant(&self) -> Option<&str> {
        self.head.tenant.as_deref()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Open it, or make it, for one more run against this host.
pub fn open(setup: &Setup, identity: Identity, host: &str) -> Result<(Journal, Earlier), JournalFailure> {
    let path = location::resolve(&setup.path)?;
    let path = path.as_path();
    network::refuse(path)?;
    let sqlite = |err: rusqlite::Error| JournalFailure::sqlite(path, &err);
    if setup.resume && !path.exists() {
        return Err(JournalFailure::of(path, "there is none to resume; look at the path"));
    }
    let owner = Owner(&setup.machine);
    let mut lock = Lock::take(path, &owner)?;
    let outside = Outside::look(path, lock.reached());
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    schema::prepare(&connection).map_err(sqlite)?;
    let is_new = schema::is_new(&connection, path)?;
    if is_new && setup.resume {
        return Err(JournalFailure::of(path, "it is empty, so there is nothing to resume; look at the path"));
    }
    schema::set_up(&connection, path)?;
    lock.confirm(&owner)?;
    let mut earlier = Earlier::default();
    let mut cut_off = None;
    let mut head = if is_new {
        Head {
            identity: identity.clone(),
            tenant: None,
            created: utc(unix_micros()),
            input_ended: false,
            assignments: 0,
            repeats: 0,
            runs: 0,
            commits: 0,
            total: 0,
        }
    } else {
        let loaded =
            read(&connection, path, outside, |columns, _, told| earlier.hear(columns, told, &setup.retry))?;
        earlier.columns = loaded.columns;
        earlier.input_ended = loaded.head.input_ended;
        let sent_before = loaded.runs.iter().map(|run| run.sent_before).max().unwrap_or_default();
        earlier.sent_before = u32::try_from(sent_before).unwrap_or(u32::MAX);
        cut_off = loaded.runs.into_iter().next_back().filter(|_| loaded.is_torn);
        loaded.head
    };
    check(path, &head.identity, &identity)?;
    let run = RunRow {
        number: head.runs + 1,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        cloud: identity.cloud,
        host: host.into(),
        api_version: identity.api_version,
        tenant: head.tenant.clone(),
        pid: std::process::id().into(),
        machine: setup.machine.clone(),
        retry: names(&setup.retry),
        started: utc(unix_micros()),
        ended: None,
        why_ended: None,
        http_requests: 0,
        paused_us: 0,
        sent_before: 0,
    };
    head.runs += 1;
    head.commits += 1;
    head.total = head.total.wrapping_add(run.checksum());
    let write = || -> rusqlite::Result<()> {
        let transaction = connection.unchecked_transaction()?;
        if is_new {
            schema::create(&transaction)?;
        }
        if let Some(run) = &cut_off {
            run.write(&transaction)?;
        }
        run.write(&transaction)?;
        head.write(&transaction, is_new)?;
        transaction.commit()?;
        // From now on the file by itself is a journal, whatever happens to what stands beside it.
        connection.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()))
    };
    write().map_err(|err| match err.sqlite_error_code() {
        // There is nothing in it yet that could be resumed.
        Some(ErrorCode::DiskFull) if is_new => {
            JournalFailure::of(path, format_args!("{err}; make room, then make the same call again"))
        }
        _ => sqlite(err),
    })?;
    lock.note(head.commits);
    schema::keep_tail(&connection, false).map_err(sqlite)?;
    let place = Place::of(path).ok_or_else(|| JournalFailure::of(path, "it vanished while it was opened"))?;
    Ok((Journal { path: path.to_owned(), connection, head, run, place, lock }, earlier))
}

fn check(path: &Path, own: &Identity, wanted: &Identity) -> Result<(), JournalFailure> {
    for (what, own, wanted) in [
        ("action", &own.action, &wanted.action),
        ("cloud", &own.cloud, &wanted.cloud),
        ("api_version", &own.api_version, &wanted.api_version),
    ] {
        if own != wanted {
            return Err(JournalFailure::of(
                path,
                format_args!(
                    "it is of {what} {own:?} and this run is of {wanted:?}; use a client with {what} {own:?}, or \
                     another journal"
                ),
            ));
        }
    }
    Ok(())
}

/// The report that a journal makes, also while a run is writing it.
pub struct Past {
    /// All outcomes.
    pub columns: Columns,
    /// Seconds that the runs took, HTTP requests, retries, and seconds paused.
    pub figures: (f64, u64, u64, f64),
}

/// Read a journal for its report.
pub fn load(path: &Path) -> Result<Past, JournalFailure> {
    let path = location::resolve(path)?;
    let path = path.as_path();
    let sqlite = |err: rusqlite::Error| JournalFailure::sqlite(path, &err);
    if !path.exists() {
        return Err(JournalFailure::of(path, "there is none; look at the path"));
    }
    let seen = claim::look(path);
    if seen.is_elsewhere {
        return Err(lock::elsewhere(path));
    }
    let (owner, reached) = lock::told(path);
    let outside = Outside::look(path, reached.unwrap_or_default());
    // To read, but a run that was killed may have left something half done that SQLite takes back first. Where nobody
    // may write, SQLite opens it for reading by itself.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    schema::prepare(&connection).map_err(sqlite)?;
    if schema::is_new(&connection, path)? {
        return Err(JournalFailure::of(path, "it is empty; look at the path"));
    }
    let mut retries = 0;
    let loaded = read(&connection, path, outside, |columns, runs, told| {
        let is_under_way = seen.is_written && runs.last().is_some_and(|run| run.ended.is_none());
        let id = columns.id(told.row);
        let outcome = match told.known {
            Known::Outcome(outcome) => outcome,
            open if is_under_way => {
                columns.note_source(told.row, Source::UnderWay);
                under_way(id, open, &owner)
            }
            Known::MaybeSent(earlier) => cut_off(id, earlier.as_ref()),
            Known::Untouched => never_sent(id),
        };
        retries += u64::from(outcome.attempts.saturating_sub(1));
        columns.settle(told.row, &outcome);
    })?;
    if !loaded.is_torn {
        schema::keep_tail(&connection, false).map_err(sqlite)?;
    }
    let figures = (seconds(&loaded, seen.is_written), requests(&loaded), retries, paused(&loaded));
    let mut columns = loaded.columns;
    columns.freeze();
    Ok(Past { columns, figures })
}

/// That of the runs that have ended, and of the one that goes on so far.
fn seconds(loaded: &Loaded, is_written: bool) -> f64 {
    let last = number_of_last(loaded).filter(|_| is_written);
    let times = |run: &RunRow| {
        let ended = match &run.ended {
            Some(ended) => micros(ended)?,
            None if last == Some(run.number) => unix_micros(),
            None => return None,
        };
        Some((ended - micros(&run.started)?).max(0))
    };
    to_seconds(loaded.runs.iter().filter_map(times).sum())
}

fn number_of_last(loaded: &Loaded) -> Option<i64> {
    loaded.runs.last().map(|run| run.number)
}

fn requests(loaded: &Loaded) -> u64 {
    loaded.runs.iter().filter_map(|run| u64::try_from(run.http_requests).ok()).sum()
}

fn paused(loaded: &Loaded) -> f64 {
    to_seconds(loaded.runs.iter().map(|run| run.paused_us).sum())
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 microseconds, 285 years")]
fn to_seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
