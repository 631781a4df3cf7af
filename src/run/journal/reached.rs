//! How far a journal had come, told outside of it.
//!
//! A commit stays in `june.db-wal` until SQLite moves it into the journal. There SQLite takes a flipped bit for the end
//! of what was written: it drops that commit and all behind it without a word, and what is left is an older state in
//! which nothing contradicts anything. So the number of commits is noted elsewhere, too: in the lock file, which stays
//! behind where a run was killed. It is noted after the commit, so it never says more than what had reached the disk.
//!
//! A tail that is cut off is no damage, but what a power cut leaves of a write under way.

use std::path::{Path, PathBuf};

use super::checksum::Checksum;
use super::failure::JournalFailure;

/// How far a journal had come at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Commits.
    pub commits: i64,
    /// Bytes of `june.db-wal`, where there was one.
    pub wal_bytes: i64,
}

/// What is there of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// All.
    Whole,
    /// The last commits are cut off.
    Torn,
}

impl Reached {
    /// After so many commits.
    pub fn now(journal: &Path, commits: i64) -> Self {
        Self { commits, wal_bytes: wal_bytes(journal).unwrap_or_default() }
    }

    /// As a line of text.
    pub fn line(self) -> String {
        format!("{} {} {}\n", self.commits, self.wal_bytes, self.checksum())
    }

    /// From such a line; `None` where it is none, or half written.
    pub fn read(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map(str::parse);
        let (Some(Ok(commits)), Some(Ok(wal_bytes)), Some(Ok(checksum)), None) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next())
        else {
            return None;
        };
        let reached = Self { commits, wal_bytes };
        (reached.checksum() == checksum).then_some(reached)
    }

    fn checksum(self) -> i64 {
        Checksum::of("reached").number(Some(self.commits)).number(Some(self.wal_bytes)).done()
    }
}

/// What is known of a journal before SQLite opens it.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    reached: Reached,
    wal_bytes: Option<i64>,
}

impl Outside {
    /// Look, where the lock file says so much.
    pub fn look(journal: &Path, reached: Reached) -> Self {
        Self { reached, wal_bytes: wal_bytes(journal) }
    }

    /// Whether a journal in which there are so many commits has all of them.
    pub fn compare(self, journal: &Path, commits: i64) -> Result<Found, JournalFailure> {
        let Self { reached, wal_bytes } = self;
        if commits >= reached.commits {
            return Ok(Found::Whole);
        }
        if wal_bytes.is_some_and(|bytes| bytes < reached.wal_bytes) {
            return Ok(Found::Torn);
        }
        Err(JournalFailure::of(
            journal,
            format_args!(
                "it is damaged: {} of its {} commits are missing, since the -wal file beside it is not what was \
                 written, or this is an older copy; restore both files from a backup, or remove the -lock file to \
                 take the journal as it is: repeating what was accepted does no harm",
                reached.commits - commits,
                reached.commits,
            ),
        ))
    }
}

/// How long the file beside the journal is that holds its last commits. SQLite makes an empty one to read with.
pub fn wal_bytes(journal: &Path) -> Option<i64> {
    let length = std::fs::metadata(beside(journal, "-wal")).ok()?.len();
    i64::try_from(length).ok().filter(|length| *length > 0)
}

/// A file beside the journal.
pub fn beside(journal: &Path, suffix: &str) -> PathBuf {
    let mut path = journal.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_what_was_written_or_not_at_all() {
        let reached = Reached { commits: 512, wal_bytes: 40_000 };
        let line = reached.line();
        let line = line.trim_end();
        assert_eq!(Reached::read(line), Some(reached));
        for at in 0..line.len() {
            for bit in 0..7 {
                let mut flipped = line.as_bytes().to_vec();
                flipped[at] ^= 1 << bit;
                let flipped = String::from_utf8(flipped).unwrap();
                assert!(Reached::read(&flipped).is_none(), "{flipped}");
            }
            assert!(Reached::read(&line[..at]).is_none(), "cut at {at}");
        }
        assert_eq!(Reached::read(""), None);
    }

    #[test]
    fn what_is_missing_is_torn_off_or_damaged() {
        let reached = Reached { commits: 10, wal_bytes: 4_000 };
        let compare =
            |commits, wal_bytes| Outside { reached, wal_bytes }.compare(Path::new("june.db"), commits).ok();
        assert_eq!(compare(10, Some(4_000)), Some(Found::Whole));
        assert_eq!(compare(11, None), Some(Found::Whole), "it was noted after the commit");
        assert_eq!(compare(9, Some(3_999)), Some(Found::Torn));
        assert_eq!(compare(9, Some(4_000)), None);
        assert_eq!(compare(9, None), None);
    }
}
