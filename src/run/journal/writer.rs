//! The thread that writes a journal: whatever has come in since the last commit goes into the next one.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::failure::JournalFailure;
use super::open::Journal;
use super::place::Place;
use super::read::Repeat;
use super::record::{Record, utc};
use super::{head, schema};
use crate::outcome::{Outcome, OutcomeId, unix_micros};

/// How long a commit waits for more to come, so that a fast run does not pay for one with every answer.
const GATHER: Duration = Duration::from_millis(5);

/// What is to be written, in this order.
pub enum Op {
    /// A new row.
    Row(u32, OutcomeId),
    /// A place of the input at which an earlier row stands again.
    Repeat(u64, u32),
    /// An outcome of a row.
    Outcome {
        /// The row.
        row: u32,
        /// The outcome.
        outcome: Box<Outcome>,
        /// When an earlier run first sent it.
        first_sent: Option<i64>,
        /// Whether the row has an outcome already.
        replaces: bool,
    },
    /// From now on, rows with a smaller number may be sent.
    Mark(u32),
    /// The token has told whose it is.
    Tenant(String),
    /// Every id of the input has come.
    InputEnded,
    /// The run is over.
    End {
        /// Why.
        why: String,
        /// HTTP requests made.
        http_requests: u64,
        /// Time paused because the service asked for it.
        paused: Duration,
        /// Rows from this one on were not sent.
        sent_before: u32,
    },
}

/// What has become of what was to be written.
#[derive(Default)]
pub struct Ack {
    /// Outcomes that may be reported: they are in the journal, or cannot be.
    pub outcomes: Vec<(u32, Outcome)>,
    /// Rows with a smaller number may be sent.
    pub mark: u32,
    /// Places of the input that were written down with it.
    pub places: u64,
    /// Whether the end of the input was.
    pub has_input_ended: bool,
    /// Why the journal cannot be written any more.
    pub failure: Option<JournalFailure>,
    /// Whether the journal is closed and unlocked.
    pub is_closed: bool,
}

/// What waits for the thread.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    ops: Vec<Op>,
    is_closing: bool,
}

impl Inbox {
    /// One more thing to write.
    pub fn put(&self, op: Op) {
        self.put_all([op]);
    }

    /// Some more things, all of them in one commit.
    pub fn put_all<const N: usize>(&self, ops: [Op; N]) {
        let mut waiting = self.lock();
        let is_first = waiting.ops.is_empty();
        waiting.ops.extend(ops);
        // Waking somebody costs more than all the rest, and whoever is awake looks again.
        if is_first {
            drop(waiting);
            self.changed.notify_one();
        }
    }

    /// Nothing more comes.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.changed.notify_one();
    }

    /// How much waits.
    pub fn len(&self) -> usize {
        self.lock().ops.len()
    }

    /// Wait for something to write; gives the end after that.
    fn take(&self) -> (Vec<Op>, bool) {
        let mut waiting = self.lock();
        while waiting.ops.is_empty() && !waiting.is_closing {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if !waiting.is_closing {
            let gather = self.changed.wait_timeout_while(waiting, GATHER, |waiting| !waiting.is_closing);
            waiting = gather.unwrap_or_else(PoisonError::into_inner).0;
        }
        (std::mem::take(&mut waiting.ops), waiting.is_closing)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Start the thread; it tells what became of everything, until the inbox is closed and empty.
pub fn start(
    journal: Journal,
    inbox: Arc<Inbox>,
    tell: impl Fn(Ack) + Send + 'static,
) -> Result<(), JournalFailure> {
    let path = journal.path.clone();
    let thread = std::thread::Builder::new().name("entra-journal".into());
    let work = move || write_all(journal, &inbox, tell);
    thread
        .spawn(work)
        .map(drop)
        .map_err(|err| JournalFailure::of(&path, format_args!("no thread for it: {err}")))
}

fn write_all(mut journal: Journal, inbox: &Inbox, tell: impl Fn(Ack)) {
    let mut mark = 0;
    let mut has_failed = false;
    loop {
        let (ops, is_closing) = inbox.take();
        let mut failure = None;
        if !has_failed && let Err(err) = journal.commit(&ops) {
            has_failed = true;
            failure = Some(err);
        }
        let mut ack = Ack { mark, failure, ..Ack::default() };
        for op in ops {
            match op {
                Op::Outcome { row, outcome, .. } => ack.outcomes.push((row, *outcome)),
                _ if has_failed => {}
                Op::Row(..) | Op::Repeat(..) => ack.places += 1,
                Op::InputEnded => ack.has_input_ended = true,
                Op::Mark(row) => ack.mark = row,
                _ => {}
            }
        }
        mark = ack.mark;
        if is_closing {
            if !has_failed {
                schema::tidy_up(&journal.connection);
            }
            drop(journal);
            ack.is_closed = true;
            tell(ack);
            return;
        }
        tell(ack);
    }
}

impl Journal {
    /// Write it all or nothing, so that it survives whatever comes.
    fn commit(&mut self, ops: &[Op]) -> Result<(), JournalFailure> {
        if Place::of(&self.path) != Some(self.place) {
            return Err(JournalFailure::of(
                &self.path,
                "it was deleted or replaced during the run; restore it and resume, or start with a new journal: \
                 repeating what was accepted does no harm",
            ));
        }
        self.try_commit(ops).map_err(|err| JournalFailure::sqlite(&self.path, &err))
    }

    fn try_commit(&mut self, ops: &[Op]) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        let (mut head, mut run) = (self.head.clone(), self.run.clone());
        for op in ops {
            match op {
                Op::Row(number, id) => {
                    head.assignments += 1;
                    head.total = head.total.wrapping_add(Record::open(*number, id).write(&transaction)?);
                }
                Op::Repeat(place, number) => {
                    let place = i64::try_from(*place).unwrap_or(i64::MAX);
                    let repeat = Repeat { place, number: (*number).into() };
                    let checksum = repeat.write(&transaction)?;
                    head.repeats += 1;
                    head.total = head.total.wrapping_add(checksum);
                }
                Op::Outcome { row, outcome, first_sent, replaces } => {
                    let before = if *replaces {
                        head::checksum_of(&transaction, (*row).into())?
                    } else {
                        Some(Record::open(*row, &outcome.id).checksum())
                    };
                    let checksum = Record::of(*row, outcome, *first_sent, run.number).write(&transaction)?;
                    head.total = head.total.wrapping_sub(before.unwrap_or_default()).wrapping_add(checksum);
                }
                Op::Mark(row) => run.sent_before = (*row).into(),
                Op::Tenant(tenant) => {
                    head.tenant = Some(tenant.clone());
                    run.tenant = Some(tenant.clone());
                }
                Op::InputEnded => head.input_ended = true,
                Op::End { why, http_requests, paused, sent_before } => {
                    run.ended = Some(utc(unix_micros()));
                    run.why_ended = Some(why.clone());
                    run.http_requests = i64::try_from(*http_requests).unwrap_or(i64::MAX);
                    run.paused_us = i64::try_from(paused.as_micros()).unwrap_or(i64::MAX);
                    run.sent_before = (*sent_before).into();
                }
            }
        }
        if run != self.run {
            head.total = head.total.wrapping_sub(self.run.checksum()).wrapping_add(run.checksum());
            run.write(&transaction)?;
        }
        head.commits += 1;
        head.write(&transaction, false)?;
        transaction.commit()?;
        self.lock.note(head.commits);
        (self.head, self.run) = (head, run);
        Ok(())
    }
}
