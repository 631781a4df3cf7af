//! What is told while a call is under way: records in a bounded queue, which the caller's own thread takes and logs.
//!
//! No thread of the runtime ever runs a log handler: it would need the interpreter, and could wait for a lock that the
//! caller holds. Each call has a queue of its own, which its tasks find as a task-local; without one, or with its level
//! off, telling costs a look at a number.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Method, Url};
use uuid::Uuid;

use crate::transport::{Answer, TransportFailure};

/// Records that wait at the most; what is told beyond that is counted only.
const CAPACITY: usize = 1_000;

/// How much a record matters, in the numbers of Python's `logging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Each HTTP exchange.
    Debug = 10,
    /// What holds everything up.
    Warning = 30,
    /// Nobody listens.
    Off = u8::MAX,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An HTTP exchange has ended.
    Exchange(Exchange),
    /// All calls of a kind wait.
    Pause {
        /// How long, as far as is known.
        wait: Duration,
        /// Whether a quota is the reason; otherwise the service is in trouble.
        throttled: bool,
    },
}

/// An HTTP exchange, without anything that could be a secret: no query, no body, no header but the two ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// The path with `{id}` in the place of each id.
    pub route: String,
    /// Items that it was about.
    pub items: usize,
    /// The status, or why there is no usable answer.
    pub result: Result<u16, String>,
    /// The service's id of it.
    pub request_id: Option<String>,
    /// Our id of it.
    pub client_request_id: Uuid,
    /// From the leaving of the request to the last byte of the answer.
    pub took: Duration,
}

impl Record {
    const fn level(&self) -> Level {
        match self {
            Self::Exchange(_) => Level::Debug,
            Self::Pause { .. } => Level::Warning,
        }
    }
}

/// The queue of one call.
#[derive(Debug)]
pub struct Sink {
    level: AtomicU8,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Record>,
    dropped: u64,
}

impl Sink {
    /// A queue for records of this level and above.
    pub fn new(level: Level) -> Self {
        Self { level: AtomicU8::new(level as u8), waiting: Mutex::default() }
    }

    /// From now on take records of this level and above.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    fn wants(&self, level: Level) -> bool {
        level as u8 >= self.level.load(Ordering::Relaxed)
    }

    /// The records that wait, and how many were dropped since the last time.
    pub fn take(&self) -> (VecDeque<Record>, u64) {
        let taken = std::mem::take(&mut *self.waiting());
        (taken.records, taken.dropped)
    }

    /// Put records back that were taken and have yet to be logged, before what has come since.
    pub fn put_back(&self, mut records: VecDeque<Record>, dropped: u64) {
        let mut waiting = self.waiting();
        let later = std::mem::take(&mut waiting.records);
        records.extend(later);
        waiting.dropped += dropped + records.len().saturating_sub(CAPACITY) as u64;
        records.truncate(CAPACITY);
        waiting.records = records;
    }

    fn push(&self, record: Record) {
        if !self.wants(record.level()) {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.records.len() < CAPACITY {
            waiting.records.push_back(record);
        } else {
            waiting.dropped += 1;
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

tokio::task_local! {
    static SINK: Arc<Sink>;
}

/// Run a future that tells to this queue.
pub async fn to<T>(sink: Option<Arc<Sink>>, future: impl Future<Output = T>) -> T {
    match sink {
        Some(sink) => SINK.scope(sink, future).await,
        None => future.await,
    }
}

/// Run a function whose futures tell to this queue, if they [`inherit`] it.
pub fn start<T>(sink: Option<Arc<Sink>>, function: impl FnOnce() -> T) -> T {
    match sink {
        Some(sink) => SINK.sync_scope(sink, function),
        None => function(),
    }
}

/// For a future that becomes a task of its own: it tells to where its maker tells to.
pub fn inherit<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    to(SINK.try_with(Clone::clone).ok(), future)
}

/// Whether records of this level are taken, so that they need not be made otherwise.
pub fn wants(level: Level) -> bool {
    SINK.try_with(|sink| sink.wants(level)).unwrap_or(false)
}

/// Tell of a pause.
pub fn pause(wait: Duration, throttled: bool) {
    tell(Record::Pause { wait, throttled });
}

/// Tell of an exchange.
pub fn exchange(
    method: Method,
    url: &Url,
    items: usize,
    result: &Result<Answer, TransportFailure>,
    client_request_id: Uuid,
    took: Duration,
) {
    tell(Record::Exchange(Exchange {
        method,
        route: route(url),
        items,
        result: result.as_ref().map(|answer| answer.status).map_err(|failure| failure.message.clone()),
        request_id: result.as_ref().ok().and_then(|answer| answer.request_id.clone()),
        client_request_id,
        took,
    }));
}

fn tell(record: Record) {
    // Outside of a call that has a queue nobody listens.
    let _ = SINK.try_with(|sink| sink.push(record));
}

/// The path of a URL with `{id}` in the place of each id, so that lines of the same kind are alike, and without its
/// query, which may hold a skip token or a person's name.
pub fn route(url: &Url) -> String {
    url.path()
        .split('/')
        .map(|segment| if Uuid::try_parse(segment).is_ok() { "{id}" } else { segment })
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Record = Record::Pause { wait: Duration::from_secs(1), throttled: true };

    #[test]
    fn a_route_holds_neither_ids_nor_a_query() {
        for (url, expected) in [
            ("https://graph.example/v1.0/$batch", "/v1.0/$batch"),
            ("https://graph.example", "/"),
            (
                "https://graph.example/beta/x/D82EB508-acc4-43cc-bcf1-7c1c4a2c073b/reprocess?$skiptoken=canary#x",
                "/beta/x/{id}/reprocess",
            ),
        ] {
            assert_eq!(route(&Url::parse(url).unwrap()), expected);
        }
    }

    #[test]
    fn what_nobody_wants_is_not_kept() {
        let sink = Arc::new(Sink::new(Level::Warning));
        start(Some(sink.clone()), || {
            assert!(!wants(Level::Debug) && wants(Level::Warning));
            tell(PAUSE);
            sink.set_level(Level::Off);
            tell(PAUSE);
        });
        assert_eq!(sink.take().0.len(), 1);
        assert!(!wants(Level::Warning));
    }

    #[test]
    fn the_queue_is_bounded_and_says_what_it_dropped() {
        let sink = Sink::new(Level::Debug);
        for _ in 0..CAPACITY + 7 {
            sink.push(PAUSE);
        }
        let (records, dropped) = sink.take();
        assert_eq!((records.len(), dropped), (CAPACITY, 7));
        assert_eq!(sink.take().1, 0);
    }

    #[test]
    fn what_is_put_back_comes_first_and_keeps_the_bound() {
        let pause = |seconds| Record::Pause { wait: Duration::from_secs(seconds), throttled: true };
        let sink = Sink::new(Level::Debug);
        sink.push(pause(1));
        sink.push(pause(2));
        let (records, _) = sink.take();
        sink.push(pause(3));
        sink.put_back(records, 5);
        assert_eq!(sink.take(), ([1, 2, 3].map(pause).into(), 5));
        sink.push(pause(4));
        sink.put_back((0..CAPACITY as u64).map(pause).collect(), 0);
        let (records, dropped) = sink.take();
        assert_eq!(
            (records.len(), records.back(), dropped),
            (CAPACITY, Some(&pause(CAPACITY as u64 - 1)), 1)
        );
    }

    #[tokio::test]
    async fn tasks_tell_to_where_their_maker_tells_to() {
        let sink = Arc::new(Sink::new(Level::Debug));
        let spawned = async {
            let inheriting = tokio::spawn(inherit(async { tell(PAUSE) }));
            let stranger = tokio::spawn(async { tell(PAUSE) });
            inheriting.await.unwrap();
            stranger.await.unwrap();
        };
        to(Some(sink.clone()), spawned).await;
        assert_eq!(sink.take().0, [PAUSE]);
    }
}
