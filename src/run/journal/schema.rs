//! The tables. They are made for people with the sqlite3 shell, too: names in full, times in UTC.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::failure::{JournalFailure, NO_LOCKS};

/// Tells our files from other SQLite databases: "entr" in ASCII.
const APPLICATION_ID: i32 = 0x656e_7472;
/// Goes up with every change of the tables.
const VERSION: i32 = 3;
/// How long to wait for somebody else's lock, such as that of a database browser.
const PATIENCE: Duration = Duration::from_secs(5);

const TABLES: &str = "
-- What the journal is for, and a checksum over all of it; one row.
CREATE TABLE journal (
    action TEXT NOT NULL, cloud TEXT NOT NULL, api_version TEXT NOT NULL,
    tenant TEXT,                  -- once a token has told it
    created TEXT NOT NULL,
    input_ended INTEGER NOT NULL, -- whether every id of the input is in the journal
    assignments INTEGER NOT NULL, repeats INTEGER NOT NULL, runs INTEGER NOT NULL,
    commits INTEGER NOT NULL,
    total INTEGER NOT NULL,       -- the checksums of all rows of the other tables, added up
    fingerprint INTEGER NOT NULL  -- over this row
);
-- One row for each run.
CREATE TABLE run (
    number INTEGER PRIMARY KEY,
    tool_version TEXT NOT NULL, cloud TEXT NOT NULL, host TEXT NOT NULL, api_version TEXT NOT NULL, tenant TEXT,
    pid INTEGER NOT NULL, machine TEXT NOT NULL,
    retry TEXT NOT NULL,          -- statuses that were tried anew, separated by commas
    started TEXT NOT NULL, ended TEXT, why_ended TEXT,
    http_requests INTEGER NOT NULL, paused_us INTEGER NOT NULL,
    sent_before INTEGER NOT NULL, -- this run may have sent assignments with a smaller number, and no others
    checksum INTEGER NOT NULL
);
-- One row for each different id, in the order of the input. Without a status it has no outcome yet.
CREATE TABLE assignment (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    is_id INTEGER NOT NULL,       -- whether it is an id; if not, it is what was given instead, shortened
    status TEXT, http_status INTEGER, code TEXT, message TEXT, request_id TEXT, client_request_id TEXT,
    attempts INTEGER, first_sent TEXT, finished TEXT, elapsed_us INTEGER,
    run INTEGER,                  -- which run gave it this outcome
    checksum INTEGER NOT NULL
);
-- The places of the input at which an earlier id stands again.
CREATE TABLE repeat (place INTEGER PRIMARY KEY, number INTEGER NOT NULL, checksum INTEGER NOT NULL);
";

/// How a connection behaves: patient with other programs, and without trust in what the file says of itself.
pub fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(PATIENCE)?;
    keep_tail(connection, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Whether closing leaves `june.db-wal` as it is, or moves its commits into the journal. What may be damaged stays as
/// it is, or it could not be seen a second time.
pub fn keep_tail(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Whether the file is still empty; an error where it is something else than a journal of this version.
pub fn is_new(connection: &Connection, path: &Path) -> Result<bool, JournalFailure> {
    let sqlite = |err: rusqlite::Error| JournalFailure::sqlite(path, &err);
    let number =
        |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(sqlite);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sqlite)?;
    match (number("application_id")?, number("user_version")?) {
        (0, 0) if tables == 0 => Ok(true),
        (APPLICATION_ID, VERSION) => Ok(false),
        (APPLICATION_ID, version) => Err(JournalFailure::of(
            path,
            format_args!(
                "it is of version {version}, and this entra-reprocess reads version {VERSION}; use the one that wrote \
                 it, or start with a new journal"
            ),
        )),
        _ => Err(JournalFailure::of(
            path,
            "it is a database of something else; give the path of a journal, or of a file that does not exist yet",
        )),
    }
}

/// Commits that survive a power cut, and readers while there is writing.
pub fn set_up(connection: &Connection, path: &Path) -> Result<(), JournalFailure> {
    let sqlite = |err: rusqlite::Error| JournalFailure::sqlite(path, &err);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(sqlite)?;
    if mode != "wal" {
        return Err(JournalFailure::of(path, NO_LOCKS));
    }
    connection.pragma_update(None, "synchronous", "full").map_err(sqlite)
}

/// Make one file of it again, which can be read from anywhere. A reader may be in the way; then the next run does it.
pub fn tidy_up(connection: &Connection) {
    let _ = connection.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()));
}

/// Make the tables.
pub fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)
}
