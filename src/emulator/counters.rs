//! What the emulator counts, so that a test can compare it with what a client reports.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Numbers since the start, read one by one: calls in flight may show in some of them only.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// All of them by name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        /// The live counters.
        #[derive(Debug, Default)]
        pub(super) struct Tally {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Tally {
            /// The present numbers.
            pub(super) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// TCP connections, also those on which nothing was asked.
    connections,
    /// TLS handshakes that failed, as they do for a client that does not trust the authority.
    tls_failures,
    /// HTTP requests to Graph, whatever their answer.
    http_requests,
    /// Those of them that came by HTTP/2.
    http2_requests,
    /// The most HTTP requests that were under way at the same time.
    in_flight_peak,
    /// `$batch` calls with a valid token.
    batches,
    /// `$batch` calls refused as a whole with 400; none of their parts ran.
    batches_refused,
    /// Parts of the batches that were not refused.
    parts,
    /// Reprocess calls that were executed, of assignments and of requests.
    executed,
    /// Plain calls and whole batches answered with 429.
    throttled_requests,
    /// Parts answered with 429.
    throttled_parts,
    /// Writes that arrived while a `Retry-After` announced earlier was still running: each part of a batch counts,
    /// a batch that is throttled as a whole counts once.
    writes_during_pause,
    /// HTTP requests answered with 401.
    unauthorized,
    /// Tokens that the sign-in endpoint has given.
    tokens_issued,
    /// Token requests that it has refused.
    sign_ins_refused,
    /// Reads that were answered with 200, plain or as parts.
    reads,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
