//! What an attempt means for its item: settled, to be sent again and when, or given up. Pure functions of values.

use std::sync::Arc;
use std::time::Duration;

use crate::graph::error::ErrorBody;
use crate::outcome::Status;
use crate::transport::{FailureKind, TransportFailure};

/// The first back-off without a `Retry-After`; it doubles with each one.
const BACKOFF_BASE: Duration = Duration::from_millis(500);
/// The longest back-off without a `Retry-After`.
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// A name that was never resolved is more likely misspelt than about to appear.
const UNKNOWN_HOST_RETRIES: u32 = 2;
/// An item whose own answer came and was unreadable so often in the same way, while others were answered well, would
/// only be executed once more by another attempt.
const MOST_ALIKE: u32 = 3;

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

/// What an item shared its attempt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// A batch, in which it was answered, or left unanswered, by itself.
    Parts {
        /// How many attempts it takes to isolate an item of it.
        levels: u32,
    },
    /// A batch, and all of it was told the same, or nothing.
    Whole {
        /// How many attempts it takes to isolate an item of it.
        levels: u32,
    },
    /// Nothing: it was sent by itself, and others were answered well since it first failed.
    Isolated,
    /// Nothing, or nothing that matters: so many requests in a row have failed that no item can be the culprit.
    None,
}

impl Company {
    const fn levels(self) -> Option<u32> {
        match self {
            Self::Parts { levels } | Self::Whole { levels } => Some(levels),
            Self::Isolated | Self::None => None,
        }
    }
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
        /// Whether it goes in a smaller batch then, or by itself.
        apart: bool,
    },
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
/// | 501, 505, 507 | it was not done, and will not be | <https://learn.microsoft.com/graph/errors> |
/// | 408, other 5XX | passing trouble of the service | <https://learn.microsoft.com/graph/errors>, RFC 9110, 15: a 5XX that is not known counts as 500 |
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
/// One part may spoil the answer to its whole batch, each time it is in it. Mostly it passes: what a batch leaves
/// without a usable answer goes again as it is once, and what is answered 408 or 5XX as a whole twice, and then in
/// smaller batches until the culprit stands alone. What never left was nobody's doing.
///
/// After an attempt without a usable answer, a 400 or 409 may be the doing of that very attempt: the assignment has to
/// be Delivered (<https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess>), and while it is being
/// reprocessed it may not be. So it is unknown then. A 403 or 404 speaks of the caller or the id, and holds for the
/// lost attempt too. The same goes for an attempt that was answered 408 or 5XX: a gateway says so of a service that
/// has done the work and answered late (RFC 9110, 15.5.9 and 15.6). Where nothing else comes to the end, it has failed.
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
        501 | 505 | 507 => Meaning::Outcome(Status::Failed),
        408 | 500..=599 => Meaning::WaitSelf,
        _ => Meaning::Outcome(Status::Failed),
    }
}

/// Whether an answer tells of passing trouble of the service. It does not say whether the work was done.
pub const fn is_trouble(status: u16) -> bool {
    status != 429 && matches!(meaning(status), Meaning::WaitAll | Meaning::WaitSelf)
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
    /// The last answer that told of trouble of the service. The item may have been executed all the same.
    pub doubtful: Option<Box<ItemAnswer>>,
    /// Whether it changes nothing, so that no attempt can have caused what a later one is told.
    pub is_read: bool,
    /// Whether a batch with it came to nothing.
    spoilt: bool,
    /// Waits so far, of which each may be longer than the last.
    waits: u32,
    /// Attempts in a row that ended with the same answer that cannot be read, while it stood alone.
    alike: u32,
    /// Whether any attempt was answered.
    pub answered: bool,
    /// Whether any attempt was answered otherwise than by throttling.
    pub troubled: bool,
}

impl History {
    /// Take one more attempt in. `jitter` is a random number from 0 up to 1.
    pub fn judge(&mut self, attempt: &Attempt, company: Company, limits: Limits, jitter: f64) -> Step {
        if let Attempt::Failed(failure) = attempt
            && failure.kind == FailureKind::Withdrawn
            && !failure.left
        {
            return Step::GivenUp(self.end(), failure.message.clone());
        }
        self.attempts += 1;
        match attempt {
            Attempt::BatchRefused => APART,
            Attempt::Answered(answer) => {
                self.answered = true;
                self.alike = 0;
                self.troubled |= answer.status != 429;
                let meaning = meaning(answer.status);
                if let Meaning::Outcome(status) = meaning {
                    return match status {
                        Status::Rejected | Status::Failed if self.doubt().is_some() && !self.is_read => {
                            Step::GivenUp(Status::Unknown, format!("after that it was {}", answered(answer)))
                        }
                        _ => Step::Settled(status),
                    };
                }
                let mut apart = false;
                if is_trouble(answer.status) {
                    let is_again = self.doubtful.replace(Box::new(answer.clone())).is_some();
                    let is_whole = matches!(company, Company::Whole { .. });
                    apart = is_again && is_whole && self.goes_apart(company, limits);
                }
                let everybody = meaning == Meaning::WaitAll;
                if apart && !everybody && answer.retry_after.is_none() {
                    return APART;
                }
                match self.again(limits, answer.retry_after, everybody, jitter) {
                    Step::Again { wait, everybody, .. } => Step::Again { wait, everybody, apart },
                    step => step,
                }
            }
            Attempt::Failed(failure) => {
                self.count_alike(failure, company);
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
                    _ if company == Company::Isolated && self.alike >= MOST_ALIKE => Step::GivenUp(
                        self.end(),
                        format!(
                            "gave up after {}: by itself it was answered so {MOST_ALIKE} times, and others were \
                             answered well",
                            attempts(self.attempts)
                        ),
                    ),
                    _ if failure.left && self.goes_apart(company, limits) => APART,
                    _ => self.again(limits, None, false, jitter),
                }
            }
        }
    }

    /// A request came to nothing. Gives whether that happened to a batch with it before, and attempts enough are left
    /// to isolate the culprit.
    fn goes_apart(&mut self, company: Company, limits: Limits) -> bool {
        let Some(levels) = company.levels() else { return false };
        let was_spoilt = std::mem::replace(&mut self.spoilt, true);
        was_spoilt && self.attempts.saturating_add(levels) <= limits.max_retries.saturating_add(1)
    }

    /// A broken connection may be anybody's doing; what was answered and cannot be read may be so each time.
    fn count_alike(&mut self, failure: &TransportFailure, company: Company) {
        let is_same =
            |lost: &TransportFailure| (lost.kind, &lost.message) == (failure.kind, &failure.message);
        self.alike = match (company, failure.kind) {
            (Company::Isolated, FailureKind::Protocol) if self.lost.as_ref().is_some_and(is_same) => {
                self.alike + 1
            }
            (Company::Isolated, FailureKind::Protocol) => 1,
            _ => 0,
        };
    }

    /// The attempt that may have been executed, as far as no answer has settled that.
    pub fn doubt(&self) -> Option<TransportFailure> {
        let told = |answer: &ItemAnswer| {
            let message = format!("{}, and may have been executed all the same", answered(answer));
            TransportFailure::protocol(message)
        };
        self.lost.clone().or_else(|| self.doubtful.as_deref().map(told))
    }

    /// An earlier run was answered so in the end.
    pub fn carry(&mut self, trouble: ItemAnswer) {
        (self.answered, self.troubled, self.doubtful) = (true, true, Some(Box::new(trouble)));
    }

    /// What was sent so far has changed nothing, so nothing is in doubt.
    pub fn forget_doubt(&mut self) {
        (self.lost, self.doubtful) = (None, None);
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

    fn again(&mut self, limits: Limits, asked: Option<Duration>, everybody: bool, jitter: f64) -> Step {
        if let Some(asked) = asked.filter(|asked| *asked > limits.max_wait) {
            let reason = format!(
                "gave up after {}: Retry-After asks for {:.0} s, more than max_wait={:.0} s",
                attempts(self.attempts),
                asked.as_secs_f64(),
                limits.max_wait.as_secs_f64()
            );
            return Step::GivenUp(self.end(), reason);
        }
        if self.attempts > limits.max_retries {
            let reason =
                format!("gave up after {}: max_retries={}", attempts(self.attempts), limits.max_retries);
            return Step::GivenUp(self.end(), reason);
        }
        self.waits += 1;
        // A Retry-After of zero still backs off, or all retries would be spent in a moment.
        let wait = match asked {
            Some(asked) if !asked.is_zero() => asked,
            _ => backoff(self.waits, jitter).min(limits.max_wait),
        };
        Step::Again { wait, everybody, apart: false }
    }
}

/// Other company may be all that it needs, so there is nothing to wait for.
const APART: Step = Step::Again { wait: Duration::ZERO, everybody: false, apart: true };

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
fn backoff(waits: u32, jitter: f64) -> Duration {
    let bound = BACKOFF_BASE.saturating_mul(2_u32.saturating_pow(waits.saturating_sub(1))).min(BACKOFF_CAP);
    bound.mul_f64(jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
