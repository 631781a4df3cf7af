//! What the service answers: operations and batches over the seeded data, without any socket.

use std::{
    io,
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    assignments::Assignments,
    batch,
    counters::{Tally, count},
    people::People,
    quota::{Meter, Verdict},
    reply::{Payload, Reply, Trace},
    route::{self, Astray, Operation, Version},
    settings::{AssignmentState, Refusal, Settings},
    throttle,
    tokens::Tokens,
    wall_clock,
};

/// States in which a request may be reprocessed (documented: accesspackageassignmentrequest-reprocess).
const REQUEST_STATES: &[AssignmentState] =
    &[AssignmentState::DeliveryFailed, AssignmentState::PartiallyDelivered];

/// The service behind the sockets.
#[derive(Debug)]
pub(super) struct Service {
    pub settings: Settings,
    pub assignments: Assignments,
    pub people: People,
    pub tally: Tally,
    pub token: RwLock<String>,
    pub tokens: Tokens,
    started: Instant,
    writes: Option<Mutex<Meter>>,
    reads: Option<Mutex<Meter>>,
}

/// One call, plain or a part of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub version: Version,
    pub method: &'a str,
    /// Path and query behind the version.
    pub target: &'a str,
    pub has_body: bool,
    /// Scheme and host by which the caller reached the service.
    pub base: &'a str,
    /// Time since the start.
    pub now: Duration,
}

impl Service {
    /// A service with its data seeded and its quotas full.
    ///
    /// # Errors
    ///
    /// The certificate of the application cannot be read.
    pub(super) fn new(settings: Settings) -> io::Result<Self> {
        let meter = |quota: Option<_>| quota.map(|quota| Mutex::new(Meter::new(quota)));
        Ok(Self {
            assignments: Assignments::new(&settings),
            people: People::new(&settings),
            tally: Tally::default(),
            token: RwLock::new(settings.token.clone()),
            tokens: Tokens::new(&settings)?,
            started: Instant::now(),
            writes: meter(settings.write_quota),
            reads: meter(settings.read_quota),
            settings,
        })
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Answers one call.
    pub(super) fn one(&self, call: Call<'_>, trace: &Trace) -> Reply {
        let path = call.target.split_once('?').map_or(call.target, |(path, _)| path);
        let operation = match route::operation(call.version, call.method, path) {
            Ok(operation) => operation,
            Err(Astray::Segment(segment)) => {
                return Reply::bad_request(
                    &format!("Resource not found for the segment '{segment}'."),
                    trace,
                );
            }
            Err(Astray::Resource) => {
                let (base, version) = (call.base, call.version.segment());
                let uri = format!("{base}/{version}/{}", path.trim_start_matches('/'));
                let message = format!("No HTTP resource was found that matches the request URI '{uri}'.");
                return self.located(Reply::error(404, "", &message, trace), path);
            }
        };
        let reply = if self.settings.forbid {
            Reply::refusal(&Refusal::forbidden(), trace)
        } else {
            self.metered(operation, call, trace)
        };
        self.located(reply, path)
    }

    /// Names the inner host in an error of the backend, if that was asked for. Throttling comes from the gateway.
    fn located(&self, reply: Reply, path: &str) -> Reply {
        match &self.settings.inner_host {
            Some(host) if reply.status >= 400 && reply.status != 429 => {
                let path = path.trim_start_matches('/');
                reply.with("Location", format!("https://{host}/api/v1/{path}"))
            }
            _ => reply,
        }
    }

    /// Answers an operation as far as the quota allows.
    fn metered(&self, operation: Operation<'_>, call: Call<'_>, trace: &Trace) -> Reply {
        let used = match self.charge(operation.writes(), call.now) {
            Some(Verdict::Throttled { wait, used }) => return self.throttled(wait, used, trace),
            Some(Verdict::Granted { used }) => Some(used),
            None => None,
        };
        let reply = self.run(operation, call, trace);
        if reply.status == 200 {
            count(&self.tally.reads);
        }
        match used.filter(|_| self.settings.limit_percentage).and_then(throttle::percentage) {
            Some(percentage) => reply.with("x-ms-throttle-limit-percentage", percentage),
            None => reply,
        }
    }

    fn run(&self, operation: Operation<'_>, call: Call<'_>, trace: &Trace) -> Reply {
        if operation.writes() && call.has_body && !self.settings.accept_body {
            return Reply::bad_request("The request body must be empty.", trace);
        }
        match operation {
            Operation::Reprocess { id } => {
                let place = self.place(id, |service, id| service.assignments.find(id));
                self.accept(trace, place, |place| {
                    self.assignments.reprocess(place, &self.settings.reprocessable, call.now)
                })
            }
            Operation::ReprocessRequest { id, assignment } => {
                let place = self.request(id, assignment);
                self.accept(trace, place, |place| {
                    self.assignments.reprocess_request(place, REQUEST_STATES, call.now)
                })
            }
            Operation::List(collection) => self.list(collection, call, trace),
            Operation::Count(collection) => self.number(collection, call, trace),
            Operation::Get(collection, id) => self.single(collection, id, call, trace),
        }
    }

    /// 202 if the state of what was found allows the reprocess.
    fn accept(
        &self,
        trace: &Trace,
        place: Result<usize, &Refusal>,
        start: impl FnOnce(usize) -> bool,
    ) -> Reply {
        match place.map(start) {
            Ok(true) => {
                count(&self.tally.executed);
                Reply::empty(202)
            }
            Ok(false) => Reply::refusal(&self.settings.wrong_state, trace),
            Err(refusal) => Reply::refusal(refusal, trace),
        }
    }

    /// The place of a request, which has to belong to the assignment if the path names one.
    fn request(&self, id: &str, assignment: Option<&str>) -> Result<usize, &Refusal> {
        let owner = assignment.map(|id| self.place(id, |service, id| service.assignments.find(id)));
        let owner = owner.transpose()?;
        let place = self.place(id, |service, id| service.assignments.find_request(id))?;
        match owner {
            Some(owner) if owner != place => Err(&self.settings.unknown_id),
            _ => Ok(place),
        }
    }

    /// The place of an id in the path. Only the hyphenated form counts as a GUID (assumed: no other was seen).
    pub(super) fn place(
        &self,
        id: &str,
        find: impl FnOnce(&Self, Uuid) -> Option<usize>,
    ) -> Result<usize, &Refusal> {
        let id = Some(id).filter(|id| id.len() == 36).and_then(|id| Uuid::try_parse(id).ok());
        find(self, id.ok_or(&self.settings.invalid_id)?).ok_or(&self.settings.unknown_id)
    }

    /// Answers a `$batch`, whose parts run one after the other and are answered in another order.
    pub(super) fn batch(
        &self,
        call: Call<'_>,
        payload: &[u8],
        trace: &Trace,
        random: &mut fastrand::Rng,
    ) -> Reply {
        count(&self.tally.batches);
        let read = batch::read(payload).and_then(|parts| Ok((batch::order(&parts)?, parts)));
        let (order, parts) = match read {
            Ok(read) => read,
            Err(message) => {
                count(&self.tally.batches_refused);
                return Reply::bad_request(&message, trace);
            }
        };
        if let Some((wait, used)) = self.exhausted(call.now) {
            return self.throttled(wait, used, trace);
        }
        let mut statuses = vec![0; parts.len()];
        let mut answers: Vec<Value> = Vec::with_capacity(parts.len());
        for place in order {
            let Some(part) = parts.get(place) else { continue };
            count(&self.tally.parts);
            let failed = |other: &usize| statuses.get(*other).is_some_and(|status| *status >= 400);
            let reply = if part.depends_on.iter().any(failed) {
                // Documented: 424 for parts that depend on a failed one; code and text are assumed.
                Reply::error(424, "FailedDependency", "A request that this one depends on failed.", trace)
            } else {
                let own = part.header("client-request-id").map(str::to_owned);
                let own = own.map(|client_request_id| Trace { client_request_id, ..trace.clone() });
                let (method, target) = (part.method.as_str(), part.url.as_str());
                let call = Call { method, target, has_body: part.has_body, ..call };
                self.one(call, own.as_ref().unwrap_or(trace))
            };
            if reply.status == 429 {
                count(&self.tally.throttled_parts);
            }
            if let Some(status) = statuses.get_mut(place) {
                *status = reply.status;
            }
            answers.push(reply.into_part(&part.id, self.settings.lowercase_part_headers));
        }
        if self.settings.shuffle {
            random.shuffle(&mut answers);
        }
        let written = serde_json::to_vec(&json!({ "responses": answers })).unwrap_or_default();
        Reply { payload: Payload::Written(written), ..Reply::empty(200) }
    }

    fn charge(&self, write: bool, now: Duration) -> Option<Verdict> {
        let meter = if write { &self.writes } else { &self.reads };
        let mut meter = meter.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        if write && meter.pausing(now) {
            count(&self.tally.writes_during_pause);
        }
        Some(meter.take(now))
    }

    /// The wait for a whole batch, if batches are throttled as a whole and nothing is left.
    fn exhausted(&self, now: Duration) -> Option<(Duration, f64)> {
        let meter = self.writes.as_ref().filter(|_| self.settings.throttle_batches)?;
        let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
        let pausing = meter.pausing(now);
        let verdict = meter.refuse_if_empty(now)?;
        if pausing {
            count(&self.tally.writes_during_pause);
        }
        match verdict {
            Verdict::Throttled { wait, used } => Some((wait, used)),
            Verdict::Granted { .. } => None,
        }
    }

    fn throttled(&self, wait: Duration, used: f64, trace: &Trace) -> Reply {
        let settings = &self.settings;
        let at = wall_clock::now(settings.clock_skew);
        let percentage = throttle::percentage(used).filter(|_| settings.limit_percentage);
        let headers = [
            ("Retry-After", throttle::retry_after(settings.retry_after, wait, at)),
            ("x-ms-throttle-limit-percentage", percentage),
            ("x-ms-throttle-scope", settings.throttle_scope.clone()),
            ("x-ms-throttle-information", settings.throttle_information.clone()),
        ];
        let mut reply = Reply::throttled(trace);
        reply.headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        reply
    }
}
