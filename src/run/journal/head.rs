//! The rows of the tables `journal` and `run`: what a journal is for, and who wrote it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::Checksum;

/// What a journal is for. A run of something else must not go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What is done with the assignments.
    pub action: String,
    /// Name of the cloud.
    pub cloud: String,
    /// Version of the API.
    pub api_version: String,
}

/// The row of the table `journal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is for.
    pub identity: Identity,
    /// The tenant, once a token has told it.
    pub tenant: Option<String>,
    /// When it was made, UTC.
    pub created: String,
    /// Whether every id of the input is in it.
    pub input_ended: bool,
    /// Rows of `assignment`.
    pub assignments: i64,
    /// Rows of `repeat`.
    pub repeats: i64,
    /// Rows of `run`.
    pub runs: i64,
    /// How often it was committed.
    pub commits: i64,
    /// The checksums of all those rows, added up.
    pub total: i64,
}

impl Head {
    fn fingerprint(&self) -> i64 {
        Checksum::of("journal")
            .text(Some(&self.identity.action))
            .text(Some(&self.identity.cloud))
            .text(Some(&self.identity.api_version))
            .text(self.tenant.as_deref())
            .text(Some(&self.created))
            .number(Some(self.input_ended.into()))
            .number(Some(self.assignments))
            .number(Some(self.repeats))
            .number(Some(self.runs))
            .number(Some(self.commits))
            .number(Some(self.total))
            .done()
    }

    /// Write it, for the first time or anew.
    pub fn write(&self, connection: &Connection, is_new: bool) -> rusqlite::Result<()> {
        const INSERT: &str = "INSERT INTO journal (action, cloud, api_version, tenant, created, input_ended, \
                              assignments, repeats, runs, commits, total, fingerprint) \
                              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        const UPDATE: &str = "UPDATE journal SET action = ?1, cloud = ?2, api_version = ?3, tenant = ?4, \
                              created = ?5, input_ended = ?6, assignments = ?7, repeats = ?8, runs = ?9, \
                              commits = ?10, total = ?11, fingerprint = ?12";
        connection.prepare_cached(if is_new { INSERT } else { UPDATE })?.execute(params![
            self.identity.action,
            self.identity.cloud,
            self.identity.api_version,
            self.tenant,
            self.created,
            self.input_ended,
            self.assignments,
            self.repeats,
            self.runs,
            self.commits,
            self.total,
            self.fingerprint(),
        ])?;
        Ok(())
    }

    /// Read it; `None` where it is not what was written.
    pub fn read(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection.prepare(
            "SELECT action, cloud, api_version, tenant, created, input_ended, assignments, repeats, runs, commits, \
             total, fingerprint FROM journal",
        )?;
        let heads: Vec<(Self, i64)> = statement
            .query_map([], |row| {
                let identity = Identity { action: row.get(0)?, cloud: row.get(1)?, api_version: row.get(2)? };
                let head = Self {
                    identity,
                    tenant: row.get(3)?,
                    created: row.get(4)?,
                    input_ended: row.get(5)?,
                    assignments: row.get(6)?,
                    repeats: row.get(7)?,
                    runs: row.get(8)?,
                    commits: row.get(9)?,
                    total: row.get(10)?,
                };
                Ok((head, row.get(11)?))
            })?
            .collect::<Result<_, _>>()?;
        Ok(match heads.as_slice() {
            [(head, fingerprint)] if head.fingerprint() == *fingerprint => Some(head.clone()),
            _ => None,
        })
    }
}

/// A row of the table `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Which run, from 1.
    pub number: i64,
    /// Version of this package.
    pub tool_version: String,
    /// Name of the cloud.
    pub cloud: String,
    /// Where requests went.
    pub host: String,
    /// Version of the API.
    pub api_version: String,
    /// The tenant, once a token has told it.
    pub tenant: Option<String>,
    /// The process,
    pub pid: i64,
    /// and the machine it ran on.
    pub machine: String,
    /// Statuses that were tried anew.
    pub retry: String,
    /// When it began, UTC.
    pub started: String,
    /// When it ended, UTC.
    pub ended: Option<String>,
    /// Why it ended.
    pub why_ended: Option<String>,
    /// HTTP requests made.
    pub http_requests: i64,
    /// Microseconds paused because the service asked for it.
    pub paused_us: i64,
    /// It may have sent assignments with a smaller number.
    pub sent_before: i64,
}

impl RunRow {
    /// The checksum over all of it.
    pub fn checksum(&self) -> i64 {
        Checksum::of("run")
            .number(Some(self.number))
            .text(Some(&self.tool_version))
            .text(Some(&self.cloud))
            .text(Some(&self.host))
            .text(Some(&self.api_version))
            .text(self.tenant.as_deref())
            .number(Some(self.pid))
            .text(Some(&self.machine))
            .text(Some(&self.retry))
            .text(Some(&self.started))
            .text(self.ended.as_deref())
            .text(self.why_ended.as_deref())
            .number(Some(self.http_requests))
            .number(Some(self.paused_us))
            .number(Some(self.sent_before))
            .done()
    }

    /// Write it, for the first time or anew.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO run (number, tool_version, cloud, host, api_version, tenant, pid, machine, \
                 retry, started, ended, why_ended, http_requests, paused_us, sent_before, checksum) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?
            .execute(params![
                self.number,
                self.tool_version,
                self.cloud,
                self.host,
                self.api_version,
                self.tenant,
                self.pid,
                self.machine,
                self.retry,
                self.started,
                self.ended,
                self.why_ended,
                self.http_requests,
                self.paused_us,
                self.sent_before,
                self.checksum(),
            ])?;
        Ok(())
    }

    /// All runs, the first one first, each with the checksum that stands beside it.
    pub fn read_all(connection: &Connection) -> rusqlite::Result<Vec<(Self, i64)>> {
        connection
            .prepare(
                "SELECT number, tool_version, cloud, host, api_version, tenant, pid, machine, retry, started, ended, \
                 why_ended, http_requests, paused_us, sent_before, checksum FROM run ORDER BY number",
            )?
            .query_map([], |row| Ok((Self::of(row)?, row.get(15)?)))?
            .collect()
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            tool_version: row.get(1)?,
            cloud: row.get(2)?,
            host: row.get(3)?,
            api_version: row.get(4)?,
            tenant: row.get(5)?,
            pid: row.get(6)?,
            machine: row.get(7)?,
            retry: row.get(8)?,
            started: row.get(9)?,
            ended: row.get(10)?,
            why_ended: row.get(11)?,
            http_requests: row.get(12)?,
            paused_us: row.get(13)?,
            sent_before: row.get(14)?,
        })
    }
}

/// The checksum of a row of `assignment` as it stands in the file, for one that is about to be replaced.
pub fn checksum_of(connection: &Connection, number: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT checksum FROM assignment WHERE number = ?1")?
        .query_row([number], |row| row.get(0))
        .optional()
}
