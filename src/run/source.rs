//! Where the outcome of a row is from, where that is not the run that makes the report.

use serde::{Deserialize, Serialize};

use crate::outcome::{Counts, Status};

/// Where an outcome is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The run that makes the report, or the journal that is read.
    #[default]
    Here,
    /// A run before it: the outcome stood in the journal.
    EarlierRun,
    /// There is none yet, and the run that writes the journal goes on.
    UnderWay,
}

/// One for each row, as far as any is not from here; so without a journal it takes no memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Note where the outcome of a row is from.
    pub fn note(&mut self, row: u32, source: Source) {
        let at = row as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, Source::Here);
        }
        if let Some(slot) = self.0.get_mut(at) {
            *slot = source;
        }
    }

    /// Count those of these rows that are from there, each with its status.
    pub fn counts(&self, rows: &[u32], source: Source, status: impl Fn(u32) -> Status) -> Counts {
        let mut counts = Counts::default();
        if !self.0.is_empty() {
            for row in rows.iter().filter(|row| self.of(**row) == source) {
                counts.add(status(*row), 1);
            }
        }
        counts
    }

    fn of(&self, row: u32) -> Source {
        self.0.get(row as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_noted_is_from_elsewhere() {
        let mut sources = Sources::default();
        let counts = |sources: &Sources, rows: &[u32], source| {
            sources.counts(rows, source, |_| Status::Accepted).of(Status::Accepted)
        };
        assert_eq!(counts(&sources, &[0, 1], Source::Here), 0, "nobody asks for it");
        sources.note(3, Source::EarlierRun);
        sources.note(1, Source::UnderWay);
        assert_eq!(counts(&sources, &[0, 1, 2, 3, 3, 9], Source::EarlierRun), 2);
        assert_eq!(counts(&sources, &[0, 1, 2, 3, 3, 9], Source::UnderWay), 1);
        sources.note(1, Source::Here);
        assert_eq!(counts(&sources, &[1], Source::UnderWay), 0);
    }
}
