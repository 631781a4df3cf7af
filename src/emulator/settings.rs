//! What can be set: every behaviour that Microsoft does not document, and what a test wants to provoke.

use std::time::Duration;

use uuid::Uuid;

/// How the emulator behaves; `Settings::default()` answers at once, without quota, all assignments delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// TCP port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Ids, names, latencies, request ids and the order of batch answers follow from it.
    pub seed: u64,
    /// Whether it speaks TLS, with a certificate for `localhost` from a throwaway authority.
    pub tls: bool,
    /// Whether it speaks HTTP/2 beside HTTP/1.1: by ALPN over TLS, by prior knowledge without.
    pub http2: bool,
    /// Worker threads of the server, 1 to 64.
    pub threads: usize,
    /// The bearer token that is accepted.
    pub token: String,
    /// The tenant whose sign-in endpoint it has.
    pub tenant_id: Uuid,
    /// The application that may sign in there.
    pub client_id: Uuid,
    /// Its secret.
    pub client_secret: String,
    /// Its certificate, as PEM; None: it has none. A private key beside it is passed over.
    pub client_certificate: Option<String>,
    /// How long tokens from there are valid; whole seconds.
    pub token_life: Duration,
    /// `roles` of those tokens: the application's permissions. They decide nothing here.
    pub roles: Vec<String>,
    /// Number of seeded assignments.
    pub assignments: usize,
    /// How many of them, counted from the end, are in other states than `Delivered`.
    pub states: Vec<(AssignmentState, usize)>,
    /// Number of access packages over which the assignments are spread, at least 1.
    pub access_packages: usize,
    /// Number of users who hold the assignments, at least 1.
    pub users: usize,
    /// The caller has no rights: every entitlement management call is refused with [`Refusal::forbidden`].
    pub forbid: bool,
    /// The caller has roles in catalogs only, and has to filter lists of assignments on one access package;
    /// otherwise they are refused with [`Refusal::forbidden`].
    pub catalog_roles_only: bool,
    /// Answer to an id that no assignment or request has.
    pub unknown_id: Refusal,
    /// Answer to an id that is no GUID.
    pub invalid_id: Refusal,
    /// Answer to a reprocess in the wrong state.
    pub wrong_state: Refusal,
    /// States in which an assignment may be reprocessed.
    pub reprocessable: Vec<AssignmentState>,
    /// What an accepted reprocess does to the state.
    pub after_reprocess: AfterReprocess,
    /// Whether the target of an assignment in `Delivering` shows an address, but neither name nor object id.
    pub bare_targets: bool,
    /// Host, with or without port, that a `Location` on errors of entitlement management names; None: no such header.
    pub inner_host: Option<String>,
    /// Whether the action takes a body such as `{}`; otherwise a call that carries one gets 400.
    pub accept_body: bool,
    /// Whether a POST with neither `Content-Length` nor a chunked body gets 411.
    pub require_length: bool,
    /// Ceiling for writes, that is reprocess calls; None: no throttling.
    pub write_quota: Option<Quota>,
    /// Ceiling for reads; None: no throttling.
    pub read_quota: Option<Quota>,
    /// How a 429 says when to come back.
    pub retry_after: RetryAfter,
    /// Whether a `$batch` that meets an exhausted write quota is throttled as a whole, no part being run.
    pub throttle_batches: bool,
    /// Whether answers above 80 % of a quota carry `x-ms-throttle-limit-percentage`.
    pub limit_percentage: bool,
    /// `x-ms-throttle-scope` of every 429, such as `Tenant_Application/Write/<app>/<tenant>`.
    pub throttle_scope: Option<String>,
    /// `x-ms-throttle-information` of every 429, such as `WriteLimitExceeded`.
    pub throttle_information: Option<String>,
    /// Time between the work and its answer, for each HTTP request.
    pub latency: Latency,
    /// Whether the parts of a batch are answered in another order than they were sent.
    pub shuffle: bool,
    /// Whether header names of batch parts are written in lower case.
    pub lowercase_part_headers: bool,
    /// Entities in one page of a list, at least 1.
    pub page_size: usize,
    /// Whether each list starts with a page that holds nothing but a link to the next one.
    pub empty_first_page: bool,
    /// Scheme and host of `@odata.nextLink`; None: as the caller addressed the emulator.
    pub next_link_base: Option<String>,
    /// Seconds by which the server's wall clock is ahead (or behind, if negative).
    pub clock_skew: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 0,
            seed: 0,
            tls: false,
            http2: true,
            threads: 2,
            token: "emulator-token".into(),
            tenant_id: Uuid::from_u128(0x7e4a_0001_0000_4000_8000_0000_0000_0001),
            client_id: Uuid::from_u128(0x7e4a_0002_0000_4000_8000_0000_0000_0002),
            client_secret: "emulator-secret".into(),
            client_certificate: None,
            token_life: Duration::from_secs(3_599),
            roles: vec!["EntitlementManagement.ReadWrite.All".into()],
            assignments: 100,
            states: Vec::new(),
            access_packages: 4,
            users: 50,
            forbid: false,
            catalog_roles_only: false,
            unknown_id: Refusal::new(404, "ResourceNotFound", "The resource was not found."),
            invalid_id: Refusal::new(400, "BadRequest", "The id is not valid."),
            wrong_state: Refusal::new(
                400,
                "InvalidAssignmentState",
                "The assignment is not in a state that allows this.",
            ),
            reprocessable: vec![AssignmentState::Delivered],
            after_reprocess: AfterReprocess::StaysDelivered,
            bare_targets: false,
            inner_host: None,
            accept_body: true,
            require_length: true,
            write_quota: None,
            read_quota: None,
            retry_after: RetryAfter::Seconds,
            throttle_batches: false,
            limit_percentage: false,
            throttle_scope: None,
            throttle_information: None,
            latency: Latency::default(),
            shuffle: true,
            lowercase_part_headers: false,
            page_size: 100,
            empty_first_page: false,
            next_link_base: None,
            clock_skew: 0,
        }
    }
}

/// The states of an assignment, in the order of the published enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssignmentState {
    /// Roles are being given.
    Delivering,
    /// Some roles could not be given.
    PartiallyDelivered,
    /// All roles are given.
    Delivered,
    /// The assignment has ended.
    Expired,
    /// No role could be given.
    DeliveryFailed,
}

/// A refusal whose form Microsoft does not document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// `error.code`; may be empty.
    pub code: String,
    /// `error.message`.
    pub message: String,
}

impl Refusal {
    /// A refusal with this status, code and message.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    /// The 403 that entitlement management was seen to give: to callers without rights, and to some unknown ids.
    pub fn forbidden() -> Self {
        Self::new(
            403,
            "UnAuthorized",
            "User is not authorized to perform the operation. Reason: The caller is not authorized.",
        )
    }
}

/// What an accepted reprocess does to the state of its assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterReprocess {
    /// Delivered all the time.
    StaysDelivered,
    /// Delivering first.
    Delivering {
        /// Time until it ends.
        lasts: Duration,
        /// The state it ends in.
        ends: AssignmentState,
    },
}

/// A ceiling for calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Calls granted in each `per`, at least 1.
    pub calls: u32,
    /// The period, above zero.
    pub per: Duration,
    /// How the calls are counted.
    pub model: QuotaModel,
    /// Whether throttled calls are counted too, so that immediate retries prolong the throttling.
    pub throttled_calls_count: bool,
    /// The wait that a 429 names; None: until the next call can be granted.
    pub wait: Option<Duration>,
}

impl Quota {
    /// A token bucket that refills evenly and holds `calls` at the most.
    pub fn bucket(calls: u32, per: Duration) -> Self {
        let model = QuotaModel::Bucket { burst: calls };
        Self { calls, per, model, throttled_calls_count: false, wait: None }
    }

    /// Fixed windows: the count starts anew every `per`.
    pub fn window(calls: u32, per: Duration) -> Self {
        Self { model: QuotaModel::Window, ..Self::bucket(calls, per) }
    }
}

/// How a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaModel {
    /// A token bucket that refills evenly.
    Bucket {
        /// Calls that a full bucket grants at once, at least 1.
        burst: u32,
    },
    /// Fixed windows, the first starting with the emulator.
    Window,
}

/// The form of `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Whole seconds, rounded up.
    Seconds,
    /// Seconds with three decimals, as an older sample shows.
    Decimal,
    /// An HTTP date by the server's own clock.
    HttpDate,
    /// No header.
    Absent,
}

/// Bounds of a random delay; equal bounds make it fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Shortest delay.
    pub min: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Latency {
    /// Always this long.
    pub fn fixed(delay: Duration) -> Self {
        Self { min: delay, max: delay }
    }

    /// One delay within the bounds.
    pub(super) fn draw(self, random: &mut fastrand::Rng) -> Duration {
        self.min + self.max.saturating_sub(self.min).mul_f64(random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_stays_within_its_bounds() {
        let mut random = fastrand::Rng::with_seed(1);
        let fixed = Latency::fixed(Duration::from_millis(7));
        let range = Latency { min: Duration::from_millis(10), max: Duration::from_millis(20) };
        for _ in 0..100 {
            assert_eq!(fixed.draw(&mut random), Duration::from_millis(7));
            let drawn = range.draw(&mut random);
            assert!(drawn >= range.min && drawn <= range.max);
        }
    }
}
