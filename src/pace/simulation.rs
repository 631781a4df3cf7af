//! The pace against services of every kind, in virtual time.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// How a service counts. Rates are items a second, times are seconds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// No quota at all.
    Free,
    /// A token bucket.
    Bucket { rate: f64, burst: f64 },
    /// So many in each window; the windows follow each other from the start.
    Fixed { calls: f64, per: f64 },
    /// So many in any span of that length.
    Sliding { calls: f64, per: f64 },
}

/// What a 429 says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    WholeSeconds,
    Nothing,
    AlwaysOne,
}

struct Service {
    kind: Kind,
    says: Says,
    level: f64,
    at: f64,
    used: f64,
    log: std::collections::VecDeque<f64>,
    /// From this time on, the quota is so many times as large.
    changes: Option<(f64, f64)>,
}

impl Service {
    fn new(kind: Kind, says: Says) -> Self {
        let level = if let Kind::Bucket { burst, .. } = kind { burst } else { 0.0 };
        Self { kind, says, level, at: 0.0, used: 0.0, log: Default::default(), changes: None }
    }

    /// How many of `items` are granted at this time, and the wait that the others are told.
    fn ask(&mut self, now: f64, items: usize) -> (usize, Option<f64>) {
        let factor = self.changes.filter(|(at, _)| now >= *at).map_or(1.0, |(_, factor)| factor);
        let mut granted = 0;
        let mut wait = 0.0;
        for _ in 0..items {
            let (is_granted, until) = match self.kind {
                Kind::Free => (true, 0.0),
                Kind::Bucket { rate, burst } => {
                    let rate = rate * factor;
                    self.level = (self.level + rate * (now - self.at)).min(burst.max(1.0));
                    self.at = now;
                    let is_granted = self.level >= 1.0;
                    self.level -= if is_granted { 1.0 } else { 0.0 };
                    (is_granted, (1.0 - self.level) / rate)
                }
                Kind::Fixed { calls, per } => {
                    let window = (now / per).floor();
                    if window > self.at {
                        (self.at, self.used) = (window, 0.0);
                    }
                    let is_granted = self.used < (calls * factor).max(1.0);
                    self.used += if is_granted { 1.0 } else { 0.0 };
                    (is_granted, (window + 1.0) * per - now)
                }
                Kind::Sliding { calls, per } => {
                    while self.log.front().is_some_and(|first| first + per <= now) {
                        self.log.pop_front();
                    }
                    let is_granted = (self.log.len() as f64) < (calls * factor).max(1.0);
                    if is_granted {
                        self.log.push_back(now);
                    }
                    (is_granted, self.log.front().map_or(0.0, |first| first + per - now))
                }
            };
            granted += usize::from(is_granted);
            wait = f64::max(wait, if is_granted { 0.0 } else { until });
        }
        let told = match self.says {
            Says::WholeSeconds => wait.ceil().max(1.0),
            Says::AlwaysOne => 1.0,
            Says::Nothing => 0.0,
        };
        (granted, (granted < items).then_some(told))
    }
}

#[derive(Debug)]
struct Run {
    seconds: f64,
    wasted: usize,
}

/// When it lands, its number, when it was sent (all times in nanoseconds), granted, throttled, and the wait told.
type Flight = (u128, usize, u128, usize, usize, u64);

struct Setting {
    items: usize,
    batch: usize,
    concurrency: usize,
    latency: f64,
    /// When the service looks at a request, as a share of the latency.
    looks_at: f64,
    ceiling: Option<f64>,
}

/// A batch of 20, eight at a time.
fn usual(items: usize, latency: f64) -> Setting {
    Setting { items, batch: 20, concurrency: 8, latency, looks_at: 0.5, ceiling: None }
}

fn simulate(service: &mut Service, setting: &Setting) -> Run {
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let mut pace = Pace::new(setting.batch, setting.concurrency, setting.ceiling);
    let (mut waiting, mut flying, mut done) = (setting.items, 0_usize, 0_usize);
    let mut landings: BinaryHeap<Reverse<Flight>> = BinaryHeap::new();
    let (mut now, mut wasted, mut number) = (0.0_f64, 0, 0);
    let mut unanswered = 0_u32;
    while done < setting.items {
        let mut wake = None;
        while waiting > 0 && flying < setting.concurrency {
            match pace.permit(at(now), waiting) {
                Permit::Send(items) => {
                    let items = items.min(waiting);
                    pace.sent(at(now), items);
                    let (granted, wait) = service.ask(now + setting.latency * setting.looks_at, items);
                    let lands = at(now + setting.latency) - start;
                    let wait = wait.map_or(u64::MAX, |wait| (wait * 1e9) as u64);
                    number += 1;
                    let sent = (at(now) - start).as_nanos();
                    landings.push(Reverse((lands.as_nanos(), number, sent, granted, items - granted, wait)));
                    (waiting, flying) = (waiting - items, flying + 1);
                }
                Permit::At(until) => {
                    wake = Some((until - start).as_secs_f64());
                    break;
                }
                Permit::AfterAnswer => break,
            }
        }
        let next = landings.peek().map(|Reverse((lands, ..))| *lands as f64 / 1e9);
        match (wake, next) {
            (Some(wake), next) if next.is_none_or(|next| wake < next) => now = wake.max(now + 1e-7),
            (_, Some(_)) => {
                let Some(Reverse((lands, _, sent, granted, throttled, wait))) = landings.pop() else { break };
                now = f64::max(now, lands as f64 / 1e9);
                let wait = (wait != u64::MAX).then(|| Duration::from_nanos(wait));
                unanswered = if wait.is_some() { unanswered + 1 } else { 0 };
                // Without Retry-After the engine backs off by itself, here without its jitter.
                let wait = wait.map(|wait| {
                    if service.says == Says::Nothing {
                        Duration::from_secs_f64(0.25 * 2_f64.powi(unanswered.min(6) as i32 - 1))
                    } else {
                        wait
                    }
                });
                let landing = Landing { granted, throttled, wait, ..Landing::default() };
                pace.landed(at(now), start + Duration::from_nanos(sent as u64), landing);
                (flying, waiting, done, wasted) =
                    (flying - 1, waiting + throttled, done + granted, wasted + throttled);
            }
            _ => break,
        }
    }
    Run { seconds: now, wasted }
}

fn bucket(rate: f64, burst: f64) -> Service {
    Service::new(Kind::Bucket { rate, burst }, Says::WholeSeconds)
}

/// Time over the ideal, and the share of useful items.
fn judge(rate: f64, burst: f64, setting: &Setting) -> (f64, f64, Run) {
    let run = simulate(&mut bucket(rate, burst), setting);
    let ideal = (setting.items as f64 - burst).max(0.0) / rate + setting.latency;
    (run.seconds / ideal, setting.items as f64 / (setting.items + run.wasted) as f64, run)
}

#[test]
fn the_usual_quota_whenever_the_service_looks() {
    for (batch, concurrency) in [(20, 8), (1, 50)] {
        for looks_at in [0.02, 0.25, 0.5, 0.75, 0.98] {
            for latency in [0.1, 0.102, 0.105, 0.11, 0.115] {
                let setting = Setting { batch, concurrency, looks_at, ..usual(2_000, latency) };
                let (time, useful, run) = judge(200.0, 200.0, &setting);
                assert!(
                    time <= 1.05 && useful >= 0.97,
                    "{batch} {looks_at} {latency} {time} {useful} {run:?}"
                );
            }
        }
    }
}

#[test]
fn quotas_with_a_burst_no_smaller_than_what_refills_in_a_pause() {
    for (rate, burst, items, most_time) in
        [(20.0, 50.0, 400, 1.05), (100.0, 600.0, 2_000, 1.05), (20.0, 3_000.0, 100_000, 1.02)]
    {
        for (batch, concurrency) in [(20, 8), (1, 50)] {
            let (time, _, run) = judge(rate, burst, &Setting { batch, concurrency, ..usual(items, 0.1) });
            let window = batch * concurrency;
            // One by one, a refusal now and then is noticed later.
            let most_time = if batch == 1 { most_time + 0.03 } else { most_time };
            assert!(time <= most_time, "{rate}/s burst {burst}: {time} {run:?}");
            // One full window at the first 429; where that is as small as fifty items, a second one may come to it.
            let most = window.max(100) + items / 100;
            assert!(run.wasted <= most, "{rate}/s burst {burst}: {run:?}");
        }
    }
    let (_, useful, run) = judge(20.0, 3_000.0, &usual(100_000, 0.1));
    assert!(useful >= 0.99, "{run:?}");
}

#[test]
fn without_a_quota_the_slow_start_costs_little() {
    for (items, most) in [(2_000, 1.3), (10_000, 1.1), (100_000, 1.02)] {
        let run = simulate(&mut Service::new(Kind::Free, Says::Nothing), &usual(items, 0.1));
        let at_once = (items as f64 / 160.0).ceil() * 0.1;
        assert!(run.seconds <= most * at_once, "{items}: {run:?}");
        assert_eq!(run.wasted, 0);
    }
}

#[test]
fn a_ceiling_is_kept_from_the_first_request_on() {
    for (rate, batch) in [(5.0, 20), (50.0, 20), (50.0, 1), (400.0, 20)] {
        let items = (rate * 20.0) as usize;
        let setting = Setting { batch, ceiling: Some(rate), ..usual(items, 0.05) };
        let run = simulate(&mut Service::new(Kind::Free, Says::Nothing), &setting);
        assert!((19.0..21.0).contains(&run.seconds), "{rate}: {run:?}");
    }
}

#[test]
fn a_quota_that_changes_midway_is_followed() {
    for factor in [0.25, 0.5, 2.0] {
        let mut service = bucket(200.0, 200.0);
        service.changes = Some((20.0, factor));
        let run = simulate(&mut service, &usual(8_000, 0.1));
        // What the old quota grants until then, and the new one afterwards.
        let ideal = 20.0 + (8_000.0 - 4_200.0) / (200.0 * factor);
        // A quota that grows is found by probing, which takes its time.
        let most = if factor > 1.0 { 2.0 } else { 1.1 };
        assert!(run.seconds <= most * ideal, "{factor}: {} {run:?}", run.seconds / ideal);
        assert!(run.wasted <= 400, "{factor}: {run:?}");
    }
}

#[test]
fn whatever_a_429_says_the_run_ends_in_a_bearable_time() {
    for says in [Says::Nothing, Says::AlwaysOne] {
        for (rate, burst) in [(5.0, 5.0), (20.0, 200.0), (200.0, 200.0), (1_000.0, 1_000.0)] {
            for latency in [0.01, 0.1, 0.3] {
                let (calls, per) = (burst, burst / rate);
                for kind in
                    [Kind::Bucket { rate, burst }, Kind::Fixed { calls, per }, Kind::Sliding { calls, per }]
                {
                    let items = (rate * 60.0 + burst) as usize;
                    let run = simulate(&mut Service::new(kind, says), &usual(items, latency));
                    let time = run.seconds / (60.0_f64.max(items as f64 / 160.0 * latency) + latency);
                    let useful = items as f64 / (items + run.wasted) as f64;
                    assert!(
                        time < 8.0 && useful > 0.5,
                        "{says:?} {kind:?} {latency}: {time} {useful} {run:?}"
                    );
                }
            }
        }
    }
}

/// Every kind of service, as the table of the documentation has it: time over the ideal, and the useful share.
fn table() -> String {
    let mut text = String::from(
        "| rate /s | burst | latency s | bucket: time | useful | fixed window: time | useful | sliding window: time | useful |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let mut worst = (0.0_f64, String::new());
    for rate in [5.0, 20.0, 200.0, 1_000.0] {
        for share in [0.1, 1.0, 10.0] {
            for latency in [0.01, 0.1, 0.3] {
                let items = (rate * (share + 60.0)) as usize;
                let burst = f64::max(1.0, rate * share);
                let windows = ((items as f64 / burst).ceil() - 1.0) * burst / rate;
                let kinds = [
                    ("bucket", Kind::Bucket { rate, burst }, (items as f64 - burst) / rate),
                    ("fixed window", Kind::Fixed { calls: burst, per: burst / rate }, windows),
                    ("sliding window", Kind::Sliding { calls: burst, per: burst / rate }, windows),
                ];
                text += &format!("| {rate} | {burst} | {latency} |");
                for (name, kind, ideal) in kinds {
                    let run = simulate(&mut Service::new(kind, Says::WholeSeconds), &usual(items, latency));
                    let time = run.seconds / (f64::max(ideal, items as f64 / 160.0 * latency) + latency);
                    let useful = items as f64 / (items + run.wasted) as f64;
                    text += &format!(" {time:.2} | {useful:.3} |");
                    if time > worst.0 {
                        worst = (time, format!("{name}, {rate}/s, burst {burst}, latency {latency} s"));
                    }
                }
                text.push('\n');
            }
        }
    }
    text + &format!("\nWorst cell: {:.2} times the ideal ({}).\n", worst.0, worst.1)
}

#[test]
fn the_table_in_the_documentation_is_the_one_that_is_measured() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pacing.md");
    let page = std::fs::read_to_string(path).unwrap();
    let measured = table();
    if std::env::var_os("WRITE_PACING_TABLE").is_some() {
        let head = page.split("| rate /s").next().unwrap();
        std::fs::write(path, format!("{head}{measured}")).unwrap();
    } else {
        assert!(page.contains(&measured), "set WRITE_PACING_TABLE=1 to write docs/pacing.md anew");
    }
}
