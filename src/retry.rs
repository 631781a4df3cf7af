//! What an attempt means for its item: settled, to be sent again and when, or given up. Pure functions of values.

use std::sync::Arc;
use std::time::Duration;

use crate::graph::error::ErrorBody;
use crate::outcome::Status;
use crate::transport::{FailureKind, TransportFailure};

/// The first back-off without a `Retry-After`; it doubles with each attempt.
const BACKOFF_BASE: Duration = Duration::from_millis(500);
/// The longest back-off without a `Retry-After`.
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// A name that was never resolved is more likely misspelt than about to appear.
const UNKNOWN_HOST_RETRIES: u32 = 2;

/// Which retries an item may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// After the first attempt.
    pub max_retries: u32,
    /// A longer `Retry-After` is not waited for.
    pub max_wait: Duration,
}

/// One answer about one item, from a plain POST or from a part of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemAnswer {
    /// HTTP status.
    pub status: u16,
    /// The error body, empty for a success.
    pub error: ErrorBody,
    /// The service's id of the request.
    pub request_id: Option<String>,
    /// When it was answered, as the service wrote it.
    pub date: Option<String>,
    /// The wait that the service asked for.
    pub retry_after: Option<Duration>,
    /// What was read, for an answer to a question.
    pub found: Option<String>,
    /// What a 401 or 403 has to do with the token that was sent.
    pub token: Option<Box<TokenTrouble>>,
}

/// What a refusal has to do with the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenTrouble {
    /// The claims that a 401 or 403 asks for, decoded.
    pub challenge: Option<String>,
    /// What is known of the token that was sent, for people.
    pub advice: Option<Arc<str>>,
}

/// What one attempt brought for one item.
#[derive(Clone, Debug)]
pub enum Attempt {
    /// An answer about this item.
    Answered(ItemAnswer),
    /// No usable answer.
    Failed(TransportFailure),
    /// The batch was refused as a whole, so nothing is known of this item; apart from the others it may go through.
    BatchRefused,
}

/// What becomes of the item.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// This is its outcome.
    Settled(Status),
    /// Send it again after this wait.
    Again {
        /// How long to wait.
        wait: Duration,
        /// Whether the service asked everybody to wait, not just this item.
        everybody: bool,
    },
    /// Send it again at once, in a smaller batch or by itself.
    Apart,
    /// Its outcome, for want of a better one, and why no more attempt is made.
    GivenUp(Status, String),
}

/// What an HTTP status says about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Outcome(Status),
    WaitAll,
    WaitSelf,
}

/// | status | meaning | source |
/// |---|---|---|
/// | 2XX | accepted | the reference page says 202, the published OpenAPI 2XX |
/// | 400, 404 | the id is not valid, no such assignment | <https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess> |
/// | 403 | permission, role or licence is missing; also seen for an unknown id | microsoftgraph/msgraph-metadata#327 |
/// | 403 with a challenge | Conditional Access asks for claims that no token could be had with | <https://learn.microsoft.com/graph/errors> |
/// | 429, 503 | throttled: all wait | <https://learn.microsoft.com/graph/throttling>, <https://learn.microsoft.com/graph/best-practices-concept> |
/// | 500, 502, 504 | passing trouble of the service | <https://learn.microsoft.com/graph/errors> |
/// | others | an answer that repeating does not change | <https://learn.microsoft.com/graph/errors> |
///
/// Without a usable answer ([`History::judge`]; what no later answer settles is unknown if any attempt left):
///
/// | what happened | meaning |
/// |---|---|
/// | timeout, cut, malformed, missing or contradicting answer | passing trouble: a repeat is harmless, since the action re-evaluates and enforces |
/// | refused connection | passing trouble; to the end, it stops the run |
/// | a name that was never resolved | tried three times, then it stops the run |
/// | a certificate that is not trusted, a proxy that refuses the password (407) | stops the run at once |
/// | a batch refused as a whole | its items again, apart from each other |
///
/// After such an attempt, a 400 or 409 may be the doing of that very attempt: the assignment has to be Delivered
/// (<https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess>), and while it is being reprocessed it
/// may not be. So it is unknown then. A 403 or 404 speaks of the caller or the id, and holds for the lost attempt too.
///
/// What stops a run besides: a refused token, and many items in a row that are forbidden, or are told to wait too
/// long, before any was accepted (`run::suspicion`).
const fn meaning(status: u16) -> Meaning {
    match status {
        200..=299 => Meaning::Outcome(Status::Accepted),
        400 => Meaning::Outcome(Status::Rejected),
        403 => Meaning::Outcome(Status::Forbidden),
        404 => Meaning::Outcome(Status::NotFound),
        429 | 503 => Meaning::WaitAll,
        500 | 502 | 504 => Meaning::WaitSelf,
        _ => Meaning::Outcome(Status::Failed),
    }
}

/// Whether a later run has no reason to send an item again that ended so: an answer settled it for good.
///
/// What was given up is not settled (throttled, trouble of the service), nor what was refused for its token.
pub fn is_final(status: Status, http_status: Option<u16>) -> bool {
    match status {
        Status::Accepted | Status::Rejected | Status::NotFound | Status::Forbidden => true,
        Status::Unknown | Status::NotAttempted => false,
        Status::Failed => http_status
            .is_some_and(|answered| answered != 401 && matches!(meaning(answered), Meaning::Outcome(_))),
    }
}

/// What has happened to one item so far.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Attempts made, whether they left or not.
    pub attempts: u32,
    /// The last attempt that left and was not answered in a usable way. The item may have been executed by it,
    /// so only an answer that settles the item takes the doubt away.
    pub lost: Option<TransportFailure>,
    /// Whether any attempt was answered.
    pub answered: bool,
    /// Whether any attempt was answered otherwise than by throttling.
    pub troubled: bool,
}

impl History {
    /// Take one more attempt in. `jitter` is a random number from 0 up to 1.
    pub fn judge(&mut self, attempt: &Attempt, limits: Limits, jitter: f64) -> Step {
        if let Attempt::Failed(failure) = attempt
            && failure.kind == FailureKind::Withdrawn
            && !failure.left
        {
            return Step::GivenUp(self.end(), failure.message.clone());
        }
        self.attempts += 1;
        match attempt {
            Attempt::BatchRefused => Step::Apart,
            Attempt::Answered(answer) => {
                self.answered = true;
                self.troubled |= answer.status != 429;
                match meaning(answer.status) {
                    Meaning::Outcome(Status::Rejected | Status::Failed) if self.lost.is_some() => {
                        Step::GivenUp(Status::Unknown, format!("after that it was {}", answered(answer)))
                    }
                    Meaning::Outcome(status) => Step::Settled(status),
                    Meaning::WaitAll => self.again(limits, answer.retry_after, true, jitter),
                    Meaning::WaitSelf => self.again(limits, answer.retry_after, false, jitter),
                }
            }
            Attempt::Failed(failure) => {
                if failure.left {
                    self.lost = Some(failure.clone());
                }
                match failure.kind {
                    FailureKind::Untrusted => Step::GivenUp(
                        self.end(),
                        "not retried: it would not be trusted next time either".into(),
                    ),
                    FailureKind::Unauthenticated => Step::GivenUp(
                        self.end(),
                        "not retried: it would be refused next time, too, and may lock the account".into(),
                    ),
                    FailureKind::UnknownHost if self.attempts > UNKNOWN_HOST_RETRIES => {
                        Step::GivenUp(self.end(), format!("gave up after {}", attempts(self.attempts)))
                    }
                    _ => self.again(limits, None, false, jitter),
                }
            }
        }
    }

    /// The outcome of an item that is not sent any more and that no answer has settled.
    pub const fn end(&self) -> Status {
        match (&self.lost, self.answered) {
            (Some(_), _) => Status::Unknown,
            (None, true) => Status::Failed,
            (None, false) => Status::NotAttempted,
        }
    }

    /// The same where the run ends first. Throttled so far means not yet attempted, for all that is known.
    pub const fn cut_short(&self) -> Status {
        match (&self.lost, self.troubled) {
            (None, false) => Status::NotAttempted,
            _ => self.end(),
        }
    }

    fn again(&self, limits: Limits, asked: Option<Duration>, everybody: bool, jitter: f64) -> Step {
        let end = self.end();
        if let Some(asked) = asked.filter(|asked| *asked > limits.max_wait) {
            let reason = format!(
                "gave up after {}: Retry-After asks for {:.0} s, more than max_wait={:.0} s",
                attempts(self.attempts),
                asked.as_secs_f64(),
                limits.max_wait.as_secs_f64()
            );
            return Step::GivenUp(end, reason);
        }
        if self.attempts > limits.max_retries {
            let reason =
                format!("gave up after {}: max_retries={}", attempts(self.attempts), limits.max_retries);
            return Step::GivenUp(end, reason);
        }
        // A Retry-After of zero still backs off, or all retries would be spent in a moment.
        let wait = match asked {
            Some(asked) if !asked.is_zero() => asked,
            _ => backoff(self.attempts, jitter).min(limits.max_wait),
        };
        Step::Again { wait, everybody }
    }
}

/// An answer in words.
fn answered(answer: &ItemAnswer) -> String {
    let said =
        [&answer.error.code, &answer.error.message].into_iter().flatten().filter(|text| !text.is_empty());
    said.fold(format!("answered {}", answer.status), |text, said| format!("{text}, {said}"))
}

fn attempts(count: u32) -> String {
    if count == 1 { "1 attempt".into() } else { format!("{count} attempts") }
}

/// Exponential with full jitter: anything from nothing to the doubled bound
/// (<https://learn.microsoft.com/graph/throttling> asks for exponential back-off without a `Retry-After`).
fn backoff(attempts: u32, jitter: f64) -> Duration {
    let bound =
        BACKOFF_BASE.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1))).min(BACKOFF_CAP);
    bound.mul_f64(jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_retries: 2, max_wait: Duration::from_secs(600) };

    fn answered(status: u16, retry_after: Option<f64>) -> Attempt {
        Attempt::Answered(ItemAnswer {
            status,
            retry_after: retry_after.map(Duration::from_secs_f64),
            ..ItemAnswer::default()
        })
    }

    fn failed(left: bool) -> Attempt {
        Attempt::Failed(TransportFailure { kind: FailureKind::Connection, left, message: "broke".into() })
    }

    fn again(seconds: f64, everybody: bool) -> Step {
        Step::Again { wait: Duration::from_secs_f64(seconds), everybody }
    }

    #[test]
    fn every_status_has_its_meaning() {
        for (status, outcome) in [
            (200, Status::Accepted),
            (202, Status::Accepted),
            (204, Status::Accepted),
            (400, Status::Rejected),
            (401, Status::Failed),
            (403, Status::Forbidden),
            (404, Status::NotFound),
            (405, Status::Failed),
            (409, Status::Failed),
            (410, Status::Failed),
            (413, Status::Failed),
            (424, Status::Failed),
            (501, Status::Failed),
            (507, Status::Failed),
        ] {
            assert_eq!(
                History::default().judge(&answered(status, None), LIMITS, 1.0),
                Step::Settled(outcome),
                "{status}"
            );
        }
        for (status, everybody) in [(429, true), (503, true), (500, false), (502, false), (504, false)] {
            assert_eq!(
                History::default().judge(&answered(status, Some(7.5)), LIMITS, 0.0),
                again(7.5, everybody)
            );
            assert_eq!(History::default().judge(&answered(status, None), LIMITS, 1.0), again(0.5, everybody));
        }
    }

    #[test]
    fn retries_end_with_max_retries_and_say_so() {
        let mut history = History::default();
        assert_eq!(history.judge(&answered(429, Some(0.0)), LIMITS, 1.0), again(0.5, true));
        assert_eq!(history.judge(&answered(429, None), LIMITS, 0.5), again(0.5, true));
        let Step::GivenUp(Status::Failed, reason) = history.judge(&answered(429, None), LIMITS, 0.5) else {
            panic!("given up");
        };
        assert_eq!(reason, "gave up after 3 attempts: max_retries=2");
    }

    #[test]
    fn a_wait_beyond_patience_ends_the_item_and_names_max_wait() {
        let Step::GivenUp(Status::Failed, reason) =
            History::default().judge(&answered(429, Some(86_400.0)), LIMITS, 0.5)
        else {
            panic!("given up");
        };
        assert_eq!(reason, "gave up after 1 attempt: Retry-After asks for 86400 s, more than max_wait=600 s");
        assert_eq!(History::default().judge(&answered(429, Some(600.0)), LIMITS, 0.5), again(600.0, true));
    }

    #[test]
    fn doubt_stays_until_an_answer_settles_it() {
        let mut history = History::default();
        history.judge(&failed(true), LIMITS, 1.0);
        history.judge(&answered(429, None), LIMITS, 1.0);
        let Step::GivenUp(status, _) = history.judge(&answered(503, None), LIMITS, 1.0) else {
            panic!("given up")
        };
        assert_eq!(status, Status::Unknown, "a 429 or 5xx after a lost attempt settles nothing");

        let mut history = History::default();
        history.judge(&failed(true), LIMITS, 1.0);
        assert_eq!(history.judge(&answered(202, None), LIMITS, 1.0), Step::Settled(Status::Accepted));
    }

    #[test]
    fn what_the_lost_attempt_itself_may_have_caused_settles_nothing() {
        for (status, step) in [
            (400, Step::GivenUp(Status::Unknown, "after that it was answered 400, Busy, Wait.".into())),
            (409, Step::GivenUp(Status::Unknown, "after that it was answered 409, Busy, Wait.".into())),
            (410, Step::GivenUp(Status::Unknown, "after that it was answered 410, Busy, Wait.".into())),
            (403, Step::Settled(Status::Forbidden)),
            (404, Step::Settled(Status::NotFound)),
        ] {
            let error = ErrorBody {
                code: Some("Busy".into()),
                message: Some("Wait.".into()),
                ..ErrorBody::default()
            };
            let answer = Attempt::Answered(ItemAnswer { status, error, ..ItemAnswer::default() });
            let mut history = History::default();
            history.judge(&failed(true), LIMITS, 1.0);
            assert_eq!(history.judge(&answer, LIMITS, 1.0), step);
            let mut history = History::default();
            history.judge(&failed(false), LIMITS, 1.0);
            assert!(matches!(history.judge(&answer, LIMITS, 1.0), Step::Settled(_)), "nothing had left");
        }
    }

    #[test]
    fn what_never_left_was_not_attempted() {
        let mut history = History::default();
        history.judge(&failed(false), LIMITS, 1.0);
        history.judge(&failed(false), LIMITS, 1.0);
        let Step::GivenUp(status, _) = history.judge(&failed(false), LIMITS, 1.0) else { panic!("given up") };
        assert_eq!(status, Status::NotAttempted);
    }

    #[test]
    fn what_cannot_mend_itself_is_not_retried_for_long() {
        let failure = |kind| Attempt::Failed(TransportFailure { kind, left: false, message: "no".into() });
        let limits = Limits { max_retries: 8, ..LIMITS };
        for kind in [FailureKind::Untrusted, FailureKind::Unauthenticated] {
            let step = History::default().judge(&failure(kind), limits, 1.0);
            assert!(matches!(step, Step::GivenUp(Status::NotAttempted, _)));
        }
        let mut history = History::default();
        let steps: Vec<_> =
            (0..3).map(|_| history.judge(&failure(FailureKind::UnknownHost), limits, 1.0)).collect();
        assert_eq!(steps[..2], [again(0.5, false), again(1.0, false)]);
        assert_eq!(steps[2], Step::GivenUp(Status::NotAttempted, "gave up after 3 attempts".into()));
    }

    #[test]
    fn a_run_that_ends_first_leaves_what_was_throttled_unattempted() {
        let mut history = History::default();
        assert_eq!(history.cut_short(), Status::NotAttempted);
        history.judge(&answered(429, None), LIMITS, 1.0);
        assert_eq!((history.cut_short(), history.end()), (Status::NotAttempted, Status::Failed));
        history.judge(&answered(500, None), LIMITS, 1.0);
        assert_eq!(history.cut_short(), Status::Failed);
        history.judge(&failed(true), LIMITS, 1.0);
        assert_eq!(history.cut_short(), Status::Unknown);
    }

    #[test]
    fn what_an_answer_has_settled_is_final() {
        for (status, http_status, is_so) in [
            (Status::Accepted, Some(202), true),
            (Status::Rejected, Some(400), true),
            (Status::Rejected, None, true),
            (Status::NotFound, Some(404), true),
            (Status::Forbidden, Some(403), true),
            (Status::Failed, Some(409), true),
            (Status::Failed, Some(401), false),
            (Status::Failed, Some(429), false),
            (Status::Failed, Some(503), false),
            (Status::Failed, None, false),
            (Status::Unknown, None, false),
            (Status::NotAttempted, None, false),
        ] {
            assert_eq!(is_final(status, http_status), is_so, "{status:?} {http_status:?}");
        }
    }

    #[test]
    fn backoff_doubles_to_its_cap() {
        let bounds: Vec<_> = (1..=9).map(|n| backoff(n, 1.0).as_secs_f64()).collect();
        assert_eq!(bounds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(backoff(u32::MAX, 0.0), Duration::ZERO);
    }
}
