//! What attempts of every kind mean, as tables.

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
    Step::Again { wait: Duration::from_secs_f64(seconds), everybody, apart: false }
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
            History::default().judge(&answered(status, None), Company::None, LIMITS, 1.0),
            Step::Settled(outcome),
            "{status}"
        );
    }
    for (status, everybody) in [(429, true), (503, true), (500, false), (502, false), (504, false)] {
        assert_eq!(
            History::default().judge(&answered(status, Some(7.5)), Company::None, LIMITS, 0.0),
            again(7.5, everybody)
        );
        assert_eq!(
            History::default().judge(&answered(status, None), Company::None, LIMITS, 1.0),
            again(0.5, everybody)
        );
    }
}

#[test]
fn retries_end_with_max_retries_and_say_so() {
    let mut history = History::default();
    assert_eq!(history.judge(&answered(429, Some(0.0)), Company::None, LIMITS, 1.0), again(0.5, true));
    assert_eq!(history.judge(&answered(429, None), Company::None, LIMITS, 0.5), again(0.5, true));
    let Step::GivenUp(Status::Failed, reason) =
        history.judge(&answered(429, None), Company::None, LIMITS, 0.5)
    else {
        panic!("given up");
    };
    assert_eq!(reason, "gave up after 3 attempts: max_retries=2");
}

#[test]
fn a_wait_beyond_patience_ends_the_item_and_names_max_wait() {
    let Step::GivenUp(Status::Failed, reason) =
        History::default().judge(&answered(429, Some(86_400.0)), Company::None, LIMITS, 0.5)
    else {
        panic!("given up");
    };
    assert_eq!(reason, "gave up after 1 attempt: Retry-After asks for 86400 s, more than max_wait=600 s");
    assert_eq!(
        History::default().judge(&answered(429, Some(600.0)), Company::None, LIMITS, 0.5),
        again(600.0, true)
    );
}

#[test]
fn doubt_stays_until_an_answer_settles_it() {
    let mut history = History::default();
    history.judge(&failed(true), Company::None, LIMITS, 1.0);
    history.judge(&answered(429, None), Company::None, LIMITS, 1.0);
    let Step::GivenUp(status, _) = history.judge(&answered(503, None), Company::None, LIMITS, 1.0) else {
        panic!("given up")
    };
    assert_eq!(status, Status::Unknown, "a 429 or 5xx after a lost attempt settles nothing");

    let mut history = History::default();
    history.judge(&failed(true), Company::None, LIMITS, 1.0);
    assert_eq!(
        history.judge(&answered(202, None), Company::None, LIMITS, 1.0),
        Step::Settled(Status::Accepted)
    );
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
        let error =
            ErrorBody { code: Some("Busy".into()), message: Some("Wait.".into()), ..ErrorBody::default() };
        let answer = Attempt::Answered(ItemAnswer { status, error, ..ItemAnswer::default() });
        let mut history = History::default();
        history.judge(&failed(true), Company::None, LIMITS, 1.0);
        assert_eq!(history.judge(&answer, Company::None, LIMITS, 1.0), step);
        let mut history = History::default();
        history.judge(&failed(false), Company::None, LIMITS, 1.0);
        assert!(
            matches!(history.judge(&answer, Company::None, LIMITS, 1.0), Step::Settled(_)),
            "nothing had left"
        );
    }
}

#[test]
fn what_never_left_was_not_attempted() {
    let mut history = History::default();
    history.judge(&failed(false), Company::None, LIMITS, 1.0);
    history.judge(&failed(false), Company::None, LIMITS, 1.0);
    let Step::GivenUp(status, _) = history.judge(&failed(false), Company::None, LIMITS, 1.0) else {
        panic!("given up")
    };
    assert_eq!(status, Status::NotAttempted);
}

#[test]
fn what_cannot_mend_itself_is_not_retried_for_long() {
    let failure = |kind| Attempt::Failed(TransportFailure { kind, left: false, message: "no".into() });
    let limits = Limits { max_retries: 8, ..LIMITS };
    for kind in [FailureKind::Untrusted, FailureKind::Unauthenticated] {
        let step = History::default().judge(&failure(kind), Company::None, limits, 1.0);
        assert!(matches!(step, Step::GivenUp(Status::NotAttempted, _)));
    }
    let mut history = History::default();
    let steps: Vec<_> = (0..3)
        .map(|_| history.judge(&failure(FailureKind::UnknownHost), Company::None, limits, 1.0))
        .collect();
    assert_eq!(steps[..2], [again(0.5, false), again(1.0, false)]);
    assert_eq!(steps[2], Step::GivenUp(Status::NotAttempted, "gave up after 3 attempts".into()));
}

#[test]
fn a_run_that_ends_first_leaves_what_was_throttled_unattempted() {
    let mut history = History::default();
    assert_eq!(history.cut_short(), Status::NotAttempted);
    history.judge(&answered(429, None), Company::None, LIMITS, 1.0);
    assert_eq!((history.cut_short(), history.end()), (Status::NotAttempted, Status::Failed));
    history.judge(&answered(500, None), Company::None, LIMITS, 1.0);
    assert_eq!(history.cut_short(), Status::Failed);
    history.judge(&failed(true), Company::None, LIMITS, 1.0);
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

#[test]
fn passing_trouble_is_every_5xx_but_those_that_say_it_was_not_done() {
    for status in [408, 500, 502, 503, 504, 506, 508, 509, 511, 520, 599] {
        assert!(is_trouble(status), "{status}");
        let step = History::default().judge(&answered(status, None), Company::None, LIMITS, 1.0);
        assert_eq!(step, again(0.5, status == 503), "{status}");
        assert!(!is_final(Status::Failed, Some(status)), "{status}");
    }
    for status in [429, 400, 404, 409, 501, 505, 507, 202] {
        assert!(!is_trouble(status), "{status}");
    }
}

#[test]
fn what_trouble_may_have_caused_is_unknown_and_trouble_to_the_end_has_failed() {
    for trouble in [408, 500, 502, 503, 504, 520] {
        for (status, is_settled) in [
            (202, true),
            (403, true),
            (404, true),
            (400, false),
            (401, false),
            (409, false),
            (413, false),
            (501, false),
        ] {
            let mut history = History::default();
            history.judge(&answered(trouble, None), Company::None, LIMITS, 1.0);
            let step = history.judge(&answered(status, None), Company::None, LIMITS, 1.0);
            let is_unknown = matches!(step, Step::GivenUp(Status::Unknown, _));
            assert_eq!((matches!(step, Step::Settled(_)), is_unknown), (is_settled, !is_settled), "{step:?}");
            assert!(history.doubt().unwrap().message.contains(&trouble.to_string()));
        }
        let mut history = History::default();
        let steps: Vec<_> =
            (0..3).map(|_| history.judge(&answered(trouble, None), Company::None, LIMITS, 1.0)).collect();
        assert!(matches!(steps[2], Step::GivenUp(Status::Failed, _)));
        assert_eq!(history.cut_short(), Status::Failed);
        let mut read = History { is_read: true, ..History::default() };
        read.judge(&answered(trouble, None), Company::None, LIMITS, 1.0);
        let step = read.judge(&answered(400, None), Company::None, LIMITS, 1.0);
        assert_eq!(step, Step::Settled(Status::Rejected), "a read changes nothing");
    }
}

#[test]
fn what_an_earlier_run_was_answered_is_not_forgotten() {
    let mut history = History::default();
    history.carry(ItemAnswer { status: 502, ..ItemAnswer::default() });
    assert_eq!((history.end(), history.cut_short()), (Status::Failed, Status::Failed));
    let step = history.judge(&answered(409, None), Company::None, LIMITS, 1.0);
    assert!(matches!(step, Step::GivenUp(Status::Unknown, _)));
}

/// Two batches came to nothing, then this one: whether its items go apart.
fn goes_apart(attempts: [&Attempt; 2], company: Company, retries: u32) -> bool {
    let limits = Limits { max_retries: retries, ..LIMITS };
    let mut history = History::default();
    let whole = Company::Whole { levels: 2 };
    assert!(matches!(history.judge(attempts[0], whole, limits, 1.0), Step::Again { apart: false, .. }));
    matches!(history.judge(attempts[1], company, limits, 1.0), Step::Again { apart: true, .. })
}

#[test]
fn what_a_batch_leaves_without_an_answer_twice_goes_apart() {
    let (lost, unsent) = (failed(true), failed(false));
    let (whole, parts) = (Company::Whole { levels: 2 }, Company::Parts { levels: 2 });
    for (attempts, company, retries, is_so) in [
        ([&lost, &lost], whole, 8, true),
        ([&lost, &lost], parts, 8, true),
        ([&lost, &lost], Company::None, 8, false),
        ([&lost, &lost], Company::Isolated, 8, false),
        ([&unsent, &lost], whole, 8, false),
        ([&lost, &unsent], whole, 8, false),
        // It takes two more attempts to isolate one of twenty, and one for one of four.
        ([&lost, &lost], whole, 3, true),
        ([&lost, &lost], whole, 2, false),
        ([&lost, &lost], Company::Whole { levels: 1 }, 2, true),
    ] {
        assert_eq!(goes_apart(attempts, company, retries), is_so, "{attempts:?} {company:?} {retries}");
    }
}

#[test]
fn a_whole_batch_in_trouble_goes_again_twice_and_then_apart() {
    let limits = Limits { max_retries: 8, ..LIMITS };
    for (company, retry_after, last) in [
        (
            Company::Whole { levels: 2 },
            None,
            Step::Again { wait: Duration::ZERO, everybody: false, apart: true },
        ),
        (
            Company::Whole { levels: 2 },
            Some(7.5),
            Step::Again { wait: Duration::from_secs_f64(7.5), everybody: false, apart: true },
        ),
        (Company::Parts { levels: 2 }, Some(7.5), again(7.5, false)),
        (Company::None, Some(7.5), again(7.5, false)),
    ] {
        let mut history = History::default();
        let steps: Vec<_> =
            (0..3).map(|_| history.judge(&answered(502, retry_after), company, limits, 1.0)).collect();
        assert!(steps[..2].iter().all(|step| matches!(step, Step::Again { apart: false, .. })));
        assert_eq!(steps[2], last);
    }
}

#[test]
fn going_apart_makes_no_wait_longer() {
    let limits = Limits { max_retries: 8, ..LIMITS };
    let mut history = History::default();
    let whole = Company::Whole { levels: 2 };
    let steps: Vec<_> = [whole, whole, whole, Company::Isolated, Company::Isolated]
        .into_iter()
        .map(|company| history.judge(&failed(true), company, limits, 1.0))
        .collect();
    let apart = Step::Again { wait: Duration::ZERO, everybody: false, apart: true };
    assert_eq!(steps, [again(0.5, false), apart.clone(), apart, again(1.0, false), again(2.0, false)]);
}

#[test]
fn the_same_unreadable_answer_three_times_by_itself_is_enough() {
    let limits = Limits { max_retries: 8, ..LIMITS };
    let unreadable = |message: &str| Attempt::Failed(TransportFailure::protocol(message));
    let (a, b, broken) = (unreadable("a"), unreadable("b"), failed(true));
    for (attempts, company, is_enough) in [
        ([&a, &a, &a], Company::Isolated, true),
        ([&a, &b, &a], Company::Isolated, false),
        ([&a, &broken, &a], Company::Isolated, false),
        ([&broken, &broken, &broken], Company::Isolated, false),
        ([&a, &a, &a], Company::None, false),
    ] {
        let mut history = History::default();
        let steps = attempts.map(|attempt| history.judge(attempt, company, limits, 1.0));
        assert!(steps[..2].iter().all(|step| matches!(step, Step::Again { .. })));
        assert_eq!(
            matches!(steps[2], Step::GivenUp(Status::Unknown, _)),
            is_enough,
            "{attempts:?} {company:?}"
        );
    }
}
