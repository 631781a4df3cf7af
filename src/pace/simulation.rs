//! The pace against services of every kind, in virtual time.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

mod dice;
mod run;
mod service;

use std::fmt::Write;
use std::time::Duration;

use tokio::time::Instant;

use dice::Dice;
use run::{Run, Setting, drive};
use service::{Kind, Says, Service};

use super::Pace;
use crate::landing::Landing;

/// A service, how it is met, and how long that takes who knows it.
#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    setting: Setting,
}

/// How a run compares with one of somebody who knows the quota.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    /// Time over the ideal time.
    time: f64,
    /// Share of the items sent that were not throttled.
    useful: f64,
    /// Throttled items over what may be: one full window, and one in a hundred ids.
    waste: f64,
}

impl Case {
    fn ideal(&self) -> f64 {
        let (items, latency) = (self.setting.items as f64, self.setting.latency);
        let at_once = (self.setting.batch * self.setting.concurrency) as f64;
        let quota = match self.kind {
            Kind::Free => 0.0,
            // Full windows, and a wait after each in which something is refused.
            Kind::Picky { share, wait } => {
                let (mut left, mut seconds) = (items, 0.0);
                while left > 0.5 {
                    let window = left.min(at_once);
                    left -= window * (1.0 - share);
                    let any = if left > 0.5 { 1.0 - (1.0 - share).powf(window) } else { 0.0 };
                    seconds += latency + any * wait;
                }
                return seconds;
            }
            // Full windows, with a wait after each, and in between what was refused.
            Kind::Once { share, wait } => {
                let any = 1.0 - (1.0 - share).powf(at_once.min(items));
                let (first, second) = ((items / at_once).ceil(), (items * share / at_once).ceil());
                return first * (latency + any * wait) + second * latency;
            }
            Kind::Request { wait, .. } => return (items / at_once).ceil() * latency + wait,
            Kind::Second { wait, .. } => return (items / at_once).ceil() * latency + 1.0 + wait,
            Kind::Bucket { rate, burst } => (items - burst).max(0.0) / rate,
            Kind::Fixed { calls, per, phase } => (((items / calls).ceil() - 1.0) * per - phase).max(0.0),
            Kind::Sliding { calls, per } => ((items / calls).ceil() - 1.0) * per,
        };
        (quota + latency).max((items / at_once).ceil() * latency)
    }

    fn judge(&self) -> Verdict {
        self.judge_by(Service::new(self.kind, Says::WholeSeconds))
    }

    fn judge_by(&self, mut service: Service) -> Verdict {
        let Setting { items, batch, concurrency, .. } = self.setting;
        let Run { seconds, wasted } = drive(&mut service, &self.setting);
        Verdict {
            time: seconds / self.ideal(),
            useful: items as f64 / (items + wasted) as f64,
            waste: wasted as f64 / ((batch * concurrency) as f64 + items as f64 / 100.0),
        }
    }
}

/// Where settings are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    /// 200 a second and as large a bucket.
    Usual,
    /// Quotas as people set them, with a burst no smaller than what refills in a second.
    Common,
    /// Any quota with such a burst.
    Large,
    /// Any with a smaller one.
    Small,
    /// Fixed windows of 1 to 20 s, at any phase.
    Fixed,
    /// Sliding windows of 1 to 20 s.
    Sliding,
}

impl Family {
    const ALL: [Self; 6] = [Self::Usual, Self::Common, Self::Large, Self::Small, Self::Fixed, Self::Sliding];

    const fn text(self) -> &'static str {
        match self {
            Self::Usual => "bucket, 200/s burst 200, 2,000 ids, latency 0.1 s",
            Self::Common => "buckets of 10/s burst 30 up to 500/s burst 1,000",
            Self::Large => "buckets, burst 1 to 8 times the rate",
            Self::Small => "buckets, burst 0.05 to 0.9 times the rate",
            Self::Fixed => "fixed windows of 1 to 20 s, any phase",
            Self::Sliding => "sliding windows of 1 to 20 s",
        }
    }

    /// Batches or single requests, any jitter up to a twentieth, and a service that looks at them early or late.
    fn draw(self, seed: u64) -> Case {
        let mut dice = Dice(seed);
        let (batch, concurrency) = dice.pick(&[(20, 8), (1, 50)]);
        let jitter = dice.pick(&[0.0, 0.02, 0.05]);
        let looks_at = Some(dice.roll());
        let mut latency = dice.magnitude(0.01, 0.3);
        let rate = dice.magnitude(5.0, 1_000.0);
        let per = dice.magnitude(1.0, 20.0);
        let calls = (rate * per).round().max(2.0);
        let (rate, burst, seconds, kind) = match self {
            Self::Usual => {
                latency = 0.1;
                (200.0, 200.0, 9.0, Kind::Bucket { rate: 200.0, burst: 200.0 })
            }
            Self::Common => {
                let quotas = [
                    (10.0, 30.0),
                    (20.0, 50.0),
                    (50.0, 100.0),
                    (100.0, 600.0),
                    (300.0, 300.0),
                    (500.0, 1_000.0),
                ];
                let (rate, burst) = dice.pick(&quotas);
                latency = latency.max(0.02);
                (rate, burst, dice.between(9.0, 20.0), Kind::Bucket { rate, burst })
            }
            Self::Large => {
                let burst = (rate * dice.magnitude(1.0, 8.0)).round();
                (rate, burst, dice.between(9.0, 30.0), Kind::Bucket { rate, burst })
            }
            Self::Small => {
                let burst = (rate * dice.magnitude(0.05, 0.9)).round().max(2.0);
                (rate, burst, 60.0, Kind::Bucket { rate, burst })
            }
            Self::Fixed => (rate, calls, 60.0, Kind::Fixed { calls, per, phase: per * dice.roll() }),
            Self::Sliding => (rate, calls, 60.0, Kind::Sliding { calls, per }),
        };
        // Where the requests in flight hardly carry the rate, it is not the quota that is measured.
        let latency = latency.min((batch * concurrency) as f64 / (1.5 * rate));
        let items = (burst + rate * seconds) as usize;
        Case {
            kind,
            setting: Setting {
                items,
                batch,
                concurrency,
                latency,
                jitter,
                looks_at,
                sign_in: 0.0,
                ceiling: None,
                seed,
            },
        }
    }

    /// The verdicts over so many draws.
    fn verdicts(self, draws: u64) -> Vec<Verdict> {
        (0..draws).map(|seed| self.draw(seed).judge()).collect()
    }
}

/// The value below which so large a share of them lies.
fn quantile(verdicts: &[Verdict], share: f64, of: fn(&Verdict) -> f64) -> f64 {
    let mut values: Vec<f64> = verdicts.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

fn bucket(rate: f64, burst: f64, setting: Setting) -> Case {
    Case { kind: Kind::Bucket { rate, burst }, setting }
}

#[test]
fn the_usual_quota_whenever_the_service_looks() {
    for (batch, concurrency) in [(20, 8), (1, 50)] {
        for looks_at in [0.0, 0.25, 0.5, 0.75, 1.0] {
            for jitter in [0.0, 0.01, 0.03, 0.05] {
                for seed in 0..5 {
                    let usual = Setting::usual(2_000, 0.1);
                    let looks_at = Some(looks_at);
                    let case =
                        bucket(200.0, 200.0, Setting { batch, concurrency, looks_at, jitter, seed, ..usual });
                    let Verdict { time, useful, .. } = case.judge();
                    assert!(time <= 1.05 && useful >= 0.97, "{case:?}: {time} {useful}");
                }
            }
        }
    }
}

#[test]
fn a_sign_in_that_takes_its_time_spoils_no_measurement() {
    for (batch, concurrency) in [(20, 8), (1, 50)] {
        for looks_at in [0.0, 0.5, 1.0] {
            let seconds = [0.0, 0.1, 0.5, 2.0].map(|sign_in| {
                let usual = Setting::usual(2_000, 0.1);
                let looks_at = Some(looks_at);
                let setting = Setting { batch, concurrency, looks_at, jitter: 0.02, sign_in, ..usual };
                let case = bucket(200.0, 200.0, setting);
                (case.judge().time * case.ideal() - sign_in, sign_in)
            });
            for (each, sign_in) in seconds {
                assert!(each <= 1.05 * 9.1, "{batch} {looks_at} {sign_in}: {seconds:?}");
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
            for looks_at in [0.0, 0.5, 1.0] {
                let usual = Setting::usual(items, 0.1);
                let looks_at = Some(looks_at);
                let case = bucket(rate, burst, Setting { batch, concurrency, looks_at, ..usual });
                let Verdict { time, useful, waste } = case.judge();
                assert!(time <= most_time && waste <= 1.05, "{case:?}: {time} {waste}");
                assert!(useful >= 0.99 || items < 100_000, "{case:?}: {useful}");
            }
        }
    }
}

#[test]
fn any_setting_costs_a_bounded_time_and_waste() {
    for (family, usual, most) in [
        (Family::Usual, 1.045, 1.06),
        (Family::Common, 1.04, 1.15),
        (Family::Large, 1.04, 1.15),
        (Family::Small, 1.45, 4.0),
        (Family::Fixed, 1.3, 1.6),
        (Family::Sliding, 1.4, 1.7),
    ] {
        let verdicts = family.verdicts(60);
        let time = |share| quantile(&verdicts, share, |verdict| verdict.time);
        assert!(time(0.5) <= usual && time(1.0) <= most, "{family:?}: {} {}", time(0.5), time(1.0));
    }
}

#[test]
fn without_a_quota_the_slow_start_costs_little() {
    for (items, most) in [(2_000, 1.3), (10_000, 1.1), (100_000, 1.02)] {
        let case = Case { kind: Kind::Free, setting: Setting::usual(items, 0.1) };
        let verdict = case.judge();
        assert!(verdict.time <= most && verdict.waste == 0.0, "{items}: {verdict:?}");
    }
}

#[test]
fn a_ceiling_is_kept_from_the_first_request_on() {
    for (rate, batch) in [(5.0, 20), (50.0, 20), (50.0, 1), (400.0, 20)] {
        let items = (rate * 20.0) as usize;
        let setting = Setting { batch, ceiling: Some(rate), ..Setting::usual(items, 0.05) };
        let run = drive(&mut Service::new(Kind::Free, Says::WholeSeconds), &setting);
        assert!((19.0..21.0).contains(&run.seconds), "{rate}: {run:?}");
    }
}

#[test]
fn a_quota_that_changes_midway_is_followed() {
    for factor in [0.25, 0.5, 2.0] {
        let kind = Kind::Bucket { rate: 200.0, burst: 200.0 };
        let mut service = Service::new(kind, Says::WholeSeconds).changing(20.0, factor);
        let run = drive(&mut service, &Setting::usual(8_000, 0.1));
        // What the old quota grants until then, and the new one afterwards.
        let ideal = 20.0 + (8_000.0 - 4_200.0) / (200.0 * factor);
        // A quota that grows is found by probing, which takes its time.
        let most = if factor > 1.0 { 1.5 } else { 1.1 };
        assert!(run.seconds <= most * ideal, "{factor}: {} {run:?}", run.seconds / ideal);
        assert!(run.wasted <= 400, "{factor}: {run:?}");
    }
}

#[test]
fn a_service_that_warns_is_slowed_for_before_it_throttles() {
    for (batch, concurrency) in [(20, 8), (1, 50)] {
        let setting = Setting { batch, concurrency, jitter: 0.02, ..Setting::usual(2_000, 0.1) };
        let case = bucket(200.0, 200.0, setting);
        let silent = case.judge();
        let warning = case.judge_by(Service::new(case.kind, Says::WholeSeconds).warning());
        assert!(warning.waste < silent.waste, "{case:?}: {warning:?} {silent:?}");
        assert!(warning.time < 1.15, "{case:?}: {warning:?}");
    }
}

#[test]
fn whatever_a_429_says_the_run_ends_in_a_bearable_time() {
    for says in [Says::Nothing, Says::AlwaysOne] {
        for (rate, burst) in [(5.0, 5.0), (20.0, 200.0), (200.0, 200.0), (1_000.0, 1_000.0)] {
            for latency in [0.01, 0.1, 0.3] {
                let (calls, per) = (burst, burst / rate);
                for kind in [
                    Kind::Bucket { rate, burst },
                    Kind::Fixed { calls, per, phase: 0.0 },
                    Kind::Sliding { calls, per },
                ] {
                    let items = (rate * 60.0 + burst) as usize;
                    let case = Case { kind, setting: Setting::usual(items, latency) };
                    let verdict = case.judge_by(Service::new(kind, says));
                    assert!(verdict.time < 3.0 && verdict.useful > 0.5, "{says:?} {case:?}: {verdict:?}");
                }
            }
        }
    }
}

#[test]
fn an_item_that_is_refused_right_after_a_pause_measures_nothing() {
    let (mut now, wait) = (Instant::now(), Duration::from_secs(1));
    let mut pace = Pace::new(4, 8, None);
    let mut ask = |now: Instant, granted: usize, throttled: usize| {
        pace.sent(now, granted + throttled);
        let wait = (throttled > 0).then_some(wait);
        let landing = Landing { granted, throttled, wait, ..Landing::default() };
        pace.landed(now + Duration::from_millis(100), now, landing);
        pace.permit(now + Duration::from_secs(2), 4, None);
        pace.held.map(|held| held.learned.per_second)
    };
    for _ in 0..10 {
        ask(now, 4, 0);
        now += Duration::from_millis(100);
    }
    ask(now, 0, 4);
    let before = ask(now + Duration::from_millis(1), 0, 4);
    let after = ask(now + Duration::from_secs(3), 0, 1);
    assert!(before.is_some() && before == after, "{before:?} {after:?}");
}

/// Services that refuse without a quota, as it is called in the documentation; `wait` is what they ask for.
fn without_a_quota(wait: f64) -> [(&'static str, Kind); 9] {
    [
        ("1 % of the items", Kind::Picky { share: 0.01, wait }),
        ("3 % of the items", Kind::Picky { share: 0.03, wait }),
        ("10 % of the items", Kind::Picky { share: 0.1, wait }),
        ("30 % of the items", Kind::Picky { share: 0.3, wait }),
        ("10 % of the items, once", Kind::Once { share: 0.1, wait }),
        ("30 % of the items, once", Kind::Once { share: 0.3, wait }),
        ("all items, once", Kind::Once { share: 1.0, wait }),
        ("one request, after 0.25 s", Kind::Request { at: 0.25, wait }),
        ("all of one second, after 0.25 s", Kind::Second { at: 0.25, wait }),
    ]
}

/// The longest time over the ideal one, with requests of every size, and waits that are short or long.
fn worst_without_a_quota(service: usize, items: usize) -> f64 {
    let mut worst = 0.0_f64;
    for wait in [0.2, 1.0, 3.0] {
        for (batch, concurrency) in [(20, 8), (4, 8), (1, 50)] {
            for seed in 0..5 {
                let looks_at = Some(seed as f64 / 4.0);
                let usual = Setting::usual(items, 0.1);
                let setting = Setting { batch, concurrency, looks_at, jitter: 0.05, seed, ..usual };
                let kind = without_a_quota(wait)[service].1;
                let case = Case { kind, setting };
                worst = worst.max(case.judge_by(Service::new(kind, Says::Exactly)).time);
            }
        }
    }
    worst
}

#[test]
fn a_service_without_a_quota_that_refuses_some_items_is_not_paced_like_one() {
    // A few hundred items are done before it can be told from a quota.
    for (items, most) in [
        (300, [1.5, 2.2, 2.5, 18.0, 2.7, 15.0, 6.0, 3.0, 6.5]),
        (2_000, [1.2, 1.4, 3.0, 3.2, 2.1, 3.6, 2.5, 6.5, 5.5]),
        (10_000, [1.2, 1.2, 2.0, 1.6, 1.4, 2.0, 2.2, 3.2, 3.0]),
    ] {
        for (service, most) in most.into_iter().enumerate() {
            let time = worst_without_a_quota(service, items);
            assert!(time <= most, "{} of {items}: {time}", without_a_quota(0.0)[service].0);
        }
    }
}

/// The worst of a few runs that differ in where the service looks and in what is drawn at random.
fn worst(kind: Kind, items: usize, latency: f64) -> (f64, f64) {
    let runs = [(0.0, 1), (0.5, 2), (1.0, 3)].map(|(looks_at, seed)| {
        let setting =
            Setting { looks_at: Some(looks_at), jitter: 0.05, seed, ..Setting::usual(items, latency) };
        Case { kind, setting }.judge()
    });
    (quantile(&runs, 1.0, |run| run.time), quantile(&runs, 0.0, |run| run.useful))
}

/// Random settings, and every kind of service, as the documentation has them.
fn tables() -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "| random settings | time: median | nine of ten | worst | useful: worst | waste: worst |\n\
         |:--|--:|--:|--:|--:|--:|\n",
    );
    for family in Family::ALL {
        let verdicts = family.verdicts(100);
        let [median, most, worst] = [0.5, 0.9, 1.0].map(|share| quantile(&verdicts, share, |each| each.time));
        let useful = quantile(&verdicts, 0.0, |each| each.useful);
        let waste = quantile(&verdicts, 1.0, |each| each.waste);
        let name = family.text();
        writeln!(text, "| {name} | {median:.2} | {most:.2} | {worst:.2} | {useful:.2} | {waste:.2} |")?;
    }
    text += "\n| without a quota, refused | 300 ids: time | 2,000 ids | 10,000 ids |\n|:--|--:|--:|--:|\n";
    for (service, (name, _)) in without_a_quota(1.0).into_iter().enumerate() {
        let [few, some, many] = [300, 2_000, 10_000].map(|items| worst_without_a_quota(service, items));
        writeln!(text, "| {name} | {few:.2} | {some:.2} | {many:.2} |")?;
    }
    text += "\n| rate /s | burst | latency s | bucket: time | useful | fixed window: time | useful \
             | sliding window: time | useful |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    let mut worst_cell = (0.0_f64, String::new());
    for rate in [5.0, 20.0, 200.0, 1_000.0] {
        for share in [0.1, 1.0, 10.0] {
            for latency in [0.01, 0.1, 0.3] {
                let items = (rate * (share + 60.0)) as usize;
                let burst = f64::max(1.0, rate * share);
                let (calls, per) = (burst, burst / rate);
                let kinds = [
                    ("bucket", Kind::Bucket { rate, burst }),
                    ("fixed window", Kind::Fixed { calls, per, phase: 0.0 }),
                    ("sliding window", Kind::Sliding { calls, per }),
                ];
                write!(text, "| {rate} | {burst} | {latency} |")?;
                for (name, kind) in kinds {
                    let (time, useful) = worst(kind, items, latency);
                    write!(text, " {time:.2} | {useful:.3} |")?;
                    if time > worst_cell.0 {
                        worst_cell = (time, format!("{name}, {rate}/s, burst {burst}, latency {latency} s"));
                    }
                }
                text.push('\n');
            }
        }
    }
    writeln!(text, "\nWorst cell: {:.2} times the ideal ({}).", worst_cell.0, worst_cell.1)?;
    Ok(text)
}

#[test]
fn the_tables_in_the_documentation_are_the_ones_that_are_measured() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pacing.md");
    let page = std::fs::read_to_string(path).unwrap();
    let measured = tables().unwrap();
    if std::env::var_os("WRITE_PACING_TABLE").is_some() {
        let head = page.split("| random settings").next().unwrap();
        std::fs::write(path, format!("{head}{measured}")).unwrap();
    } else {
        assert!(page.contains(&measured), "set WRITE_PACING_TABLE=1 to write docs/pacing.md anew");
    }
}
