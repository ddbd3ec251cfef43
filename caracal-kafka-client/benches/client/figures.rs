//! Times of contenders that run in turns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What each contender took, round by round.
#[derive(Default)]
pub(crate) struct Figures {
    events: usize,
    runs: BTreeMap<&'static str, Vec<Run>>,
}

/// What one contender took in one round.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    wall: Duration,
    cpu: Option<f64>,
}

/// Started when a contender is.
pub(crate) struct Clock {
    wall: Instant,
    cpu: Option<f64>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { cpu: cpu_seconds(), wall: Instant::now() }
    }

    pub(crate) fn stop(&self) -> Run {
        let wall = self.wall.elapsed();
        Run { wall, cpu: self.cpu.zip(cpu_seconds()).map(|(before, after)| after - before) }
    }
}

impl Run {
    /// What so many of the events took that were handled.
    pub(crate) fn of(self, events: usize, handled: usize) -> Self {
        let part = events as f64 / handled as f64;
        Self { wall: self.wall.mul_f64(part), cpu: self.cpu.map(|cpu| cpu * part) }
    }
}

impl Figures {
    /// Of contenders that handle so many events a round.
    pub(crate) fn of(events: usize) -> Self {
        Self { events, runs: BTreeMap::new() }
    }

    pub(crate) fn push(&mut self, contender: &'static str, run: Run) {
        self.runs.entry(contender).or_default().push(run);
    }

    /// How many times as fast `ours` is as `theirs`: the median of the rounds' ratios.
    pub(crate) fn ratio(&self, ours: &str, theirs: &str) -> Option<f64> {
        let (ours, theirs) = (self.runs.get(ours)?, self.runs.get(theirs)?);
        let ratios =
            ours.iter().zip(theirs).map(|(ours, theirs)| theirs.wall.as_secs_f64() / ours.wall.as_secs_f64());
        median(ratios.collect())
    }

    /// The figures, with ratios named `ours/theirs`, each with its bound.
    pub(crate) fn document(&self, ratios: &[(&str, &str, f64)]) -> Value {
        let events = self.events as f64;
        let contenders: BTreeMap<_, _> = self
            .runs
            .iter()
            .map(|(name, runs)| {
                let rates = runs.iter().map(|run| events / run.wall.as_secs_f64()).collect();
                let cpu: Option<Vec<f64>> = runs.iter().map(|run| run.cpu).collect();
                let cpu = cpu.and_then(median).map(|seconds| rounded(seconds * 1e6 / events));
                (
                    *name,
                    json!({
                        "events_per_second": median(rates).map(f64::round),
                        "cpu_seconds_per_million": cpu,
                        "seconds": runs.iter().map(|run| rounded(run.wall.as_secs_f64())).collect::<Vec<_>>(),
                    }),
                )
            })
            .collect();
        let ratios: BTreeMap<_, _> = ratios
            .iter()
            .map(|(ours, theirs, bound)| {
                let ratio = self.ratio(ours, theirs).map(rounded);
                let ok = ratio.is_some_and(|ratio| ratio >= *bound);
                (format!("{ours}/{theirs}"), json!({ "ratio": ratio, "bound": bound, "ok": ok }))
            })
            .collect();
        json!({ "contenders": contenders, "ratios": ratios })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// What this process has used, all its threads together; only Linux tells so simply.
fn cpu_seconds() -> Option<f64> {
    /// `USER_HZ`, the same on every Linux since 2.6.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name stands in brackets and may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}
