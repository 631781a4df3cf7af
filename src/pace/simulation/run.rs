//! A run against a service in virtual time: what the engine does with a pace, event by event.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::dice::Dice;
use super::service::{Answer, Service};
use crate::landing::Landing;
use crate::pace::{Pace, Permit, Turns};

/// The engine knows how much is left once all input was taken in; so much of it is taken in ahead.
const TAKEN_AHEAD: usize = 1_000;

/// How a run is made.
#[derive(Clone, Debug)]
pub struct Setting {
    pub items: usize,
    pub batch: usize,
    pub concurrency: usize,
    /// Seconds that an answer takes,
    pub latency: f64,
    /// up to so much more of it,
    pub jitter: f64,
    /// and when the service looks at a request, as a share of it; None: at any time.
    pub looks_at: Option<f64>,
    /// Seconds until there is a token: the first requests wait for it.
    pub sign_in: f64,
    pub ceiling: Option<f64>,
    /// What is drawn at random follows from it.
    pub seed: u64,
}

impl Setting {
    /// A batch of 20, eight at a time, each answer like the other.
    pub const fn usual(items: usize, latency: f64) -> Self {
        let looks_at = Some(0.5);
        let (batch, concurrency, jitter, sign_in) = (20, 8, 0.0, 0.0);
        Self { items, batch, concurrency, latency, jitter, looks_at, sign_in, ceiling: None, seed: 1 }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    pub seconds: f64,
    /// Items that were sent and throttled.
    pub wasted: usize,
}

/// What happens next to a request. Times are nanoseconds since the start.
enum Event {
    Looks { sent: u64, lands: u64, items: Vec<bool> },
    Lands { sent: u64, answer: Answer },
}

/// What is still to happen, in order.
#[derive(Default)]
struct Agenda {
    order: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, Event>,
    number: u64,
}

impl Agenda {
    fn add(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.events.insert(self.number, event);
        self.order.push(Reverse((at, self.number)));
    }

    fn next_at(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at, _))| *at)
    }

    fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, number)) = self.order.pop()?;
        self.events.remove(&number).map(|event| (at, event))
    }
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Make the run.
pub fn drive(service: &mut Service, setting: &Setting) -> Run {
    let start = Instant::now();
    let at = |nanos: u64| start + Duration::from_nanos(nanos);
    let mut pace = Pace::new(setting.batch, setting.concurrency, setting.ceiling);
    let (mut dice, mut turns) = (Dice(setting.seed), Turns::default());
    let (mut fresh, mut again, mut flying, mut done) = (setting.items, 0_usize, 0_usize, 0_usize);
    let (mut agenda, mut run) = (Agenda::default(), Run::default());
    let (mut now, mut unanswered) = (0_u64, 0_i32);
    while done < setting.items {
        let mut wake = None;
        while fresh + again > 0 && flying < setting.concurrency {
            let waiting = fresh + again;
            let left = (waiting <= TAKEN_AHEAD).then_some(waiting);
            match pace.permit(at(now), waiting.min(setting.batch), left) {
                Permit::Send(items) => {
                    let items: Vec<_> = turns.next(items.min(waiting), fresh, again).collect();
                    pace.sent(at(now), items.len());
                    let sent_again = items.iter().filter(|is_again| **is_again).count();
                    (fresh, again) = (fresh + sent_again - items.len(), again - sent_again);
                    let latency = setting.latency * (1.0 + setting.jitter * dice.roll());
                    let looks = setting.looks_at.unwrap_or_else(|| dice.roll());
                    let leaves = now.max(nanos(setting.sign_in));
                    let event = Event::Looks { sent: now, lands: leaves + nanos(latency), items };
                    agenda.add(leaves + nanos(latency * looks), event);
                    flying += 1;
                }
                Permit::At(until) => {
                    // A timer wakes a little late.
                    let late = if setting.jitter > 0.0 { nanos(0.0015 * dice.roll()) } else { 0 };
                    wake = Some((until - start).as_nanos() as u64 + late);
                    break;
                }
                Permit::AfterAnswer => break,
            }
        }
        if let Some(wake) = wake.filter(|wake| agenda.next_at().is_none_or(|next| *wake < next)) {
            now = wake.max(now + 100);
            continue;
        }
        let Some((time, event)) = agenda.pop() else { break };
        now = now.max(time);
        match event {
            Event::Looks { sent, lands, items } => {
                let answer = service.ask(now as f64 / 1e9, &items);
                agenda.add(lands, Event::Lands { sent, answer });
            }
            Event::Lands { sent, answer: Answer { granted, throttled, again: retried, wait, used } } => {
                unanswered = if throttled > 0 { unanswered + 1 } else { 0 };
                // Without Retry-After the engine backs off by itself.
                let backoff = dice.roll() * 0.5 * 2_f64.powi(unanswered.clamp(1, 6) - 1);
                let wait = (throttled > 0).then(|| Duration::from_secs_f64(wait.unwrap_or(backoff)));
                let landing = Landing {
                    granted,
                    throttled,
                    again: retried,
                    wait,
                    near_limit: used,
                    ..Landing::default()
                };
                pace.landed(at(now), at(sent), landing);
                (flying, again, done) = (flying - 1, again + throttled, done + granted);
                run.wasted += throttled;
            }
        }
    }
    assert_eq!(done, setting.items, "{setting:?}: stuck at {now}");
    run.seconds = now as f64 / 1e9;
    run
}
