//! What a run came to.

use super::case::{Case, Cross};
use super::flow::Flow;
use super::run::World;
use serde::Serialize;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// A picture that comes later than this, or never, is late.
const LATE: Duration = Duration::from_millis(400);
/// Over so long rates are compared.
const SECOND: Duration = Duration::from_secs(1);
/// After a step the rate is back when this much of what the link carries arrives, in thousandths.
const BACK_PERMILLE: u64 = 900;

/// The result: one line of JSON.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LabCongestion {
    /// Names this layout; grows by fields, changes by version.
    pub(super) schema: &'static str,
    pub(super) case: String,
    pub(super) controller: String,
    pub(super) seed: u64,
    /// What arrived of media, as a share of what the flows could have used: the link, or their highest rates if those
    /// are less.
    pub(super) utilisation: f64,
    /// What arrived of all flows together, over the length of the case.
    pub(super) kbps: f64,
    /// The same flow by flow, while all were active.
    pub(super) flows_kbps: Vec<f64>,
    pub(super) queue_ms: Queue,
    /// Packets that did not arrive.
    pub(super) loss: f64,
    /// Pictures later than 400 ms, or never complete.
    pub(super) late_ratio: f64,
    /// Jain's fairness of what flows of one direction got while all were active.
    pub(super) jain: f64,
    /// Of all that arrived over the link, media: beside TCP.
    pub(super) share: f64,
    /// The first second in which flow 0 got 80 % of its share; −1: never.
    pub(super) ramp80_s: i64,
    /// After the last step: until 90 % of what the link carries arrives, if there are steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recover90_s: Option<f64>,
}

/// How long packets took beside the way itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Queue {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

fn secs(second: u64) -> Timestamp {
    Timestamp::from_millis(second * 1000)
}

fn short(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

fn share(part: DataSize, whole: DataSize) -> f64 {
    short(part.as_bytes() as f64 / whole.as_bytes().max(1) as f64)
}

/// What of a flow arrived between two moments.
fn received(flow: &Flow, from: Timestamp, until: Timestamp) -> DataSize {
    let first = flow.arrivals.partition_point(|it| it.at < from);
    flow.arrivals[first..].iter().take_while(|it| it.at < until).map(|it| it.size).sum()
}

/// What flows of one direction could have used from `from` to `until`.
fn usable(case: &Case, max: Bitrate, backward: bool, from: Timestamp, until: Timestamp) -> DataSize {
    let active = case.flows.iter().filter(|flow| flow.backward == backward && flow.is_active(from)).count();
    let carries = case.capacity(backward, from, until);
    carries.min(max * active as u64 * until.since(from))
}

/// What flow 0 may have of a second.
fn fair(case: &Case, max: Bitrate, second: u64) -> DataSize {
    let (from, until) = (secs(second), secs(second + 1));
    let active = case.flows.iter().filter(|flow| !flow.backward && flow.is_active(from)).count() as u64;
    let others = if case.cross == Cross::Long { 1 } else { 0 };
    (case.capacity(false, from, until) / (active + others).max(1)).min(max * SECOND)
}

impl LabCongestion {
    pub(super) fn new(world: &World, controller: &str, seed: u64, max: Bitrate) -> LabCongestion {
        let (case, flows) = (world.case(), &world.flows);
        let seconds = case.length.as_secs();
        let usable: DataSize = (0..seconds)
            .flat_map(|second| {
                [false, true].map(|way| usable(case, max, way, secs(second), secs(second + 1)))
            })
            .sum();
        let got: DataSize = flows.iter().flat_map(|flow| &flow.arrivals).map(|it| it.size).sum();
        let common: Vec<u64> =
            (0..seconds).filter(|&at| case.flows.iter().all(|flow| flow.is_active(secs(at)))).collect();
        let in_common = |flow: &Flow| -> DataSize {
            common.iter().map(|&second| received(flow, secs(second), secs(second + 1))).sum()
        };
        let shares: Vec<DataSize> = flows.iter().map(in_common).collect();
        let common_ms = (common.len() as u64 * 1000).max(1);
        let sent: u64 = flows.iter().map(|flow| flow.sent).sum();
        let arrived = flows.iter().map(|flow| flow.arrivals.len() as u64).sum::<u64>();
        let frames = || flows.iter().flat_map(|flow| &flow.frames);
        let in_time =
            frames().filter(|it| it.complete.is_some_and(|at| at.since(it.captured) <= LATE)).count();
        let tcp = world.tcp_received();
        LabCongestion {
            schema: "undertone.lab.congestion/1",
            case: case.name.clone(),
            controller: controller.into(),
            seed,
            utilisation: share(got, usable),
            kbps: short(got.as_bits() as f64 / 1000.0 / case.length.as_secs_f64()),
            flows_kbps: shares.iter().map(|got| short(got.as_bits() as f64 / common_ms as f64)).collect(),
            queue_ms: Queue::new(case, flows),
            loss: short(1.0 - arrived as f64 / sent.max(1) as f64),
            late_ratio: short(1.0 - in_time as f64 / frames().count().max(1) as f64),
            jain: jain(case, &shares),
            share: share(got, got + tcp),
            ramp80_s: ramp(case, &flows[0], max),
            recover90_s: recovered(case, &flows[0], max),
        }
    }
}

impl Queue {
    fn new(case: &Case, flows: &[Flow]) -> Queue {
        let wait = |flow: &Flow| {
            let one_way = flow.one_way(case.one_way);
            flow.arrivals
                .iter()
                .map(move |it| it.at.since(it.sent).saturating_sub(one_way))
                .collect::<Vec<_>>()
        };
        let mut waits: Vec<Duration> = flows.iter().flat_map(wait).collect();
        waits.sort_unstable();
        let quantile = |permille: usize| {
            let at = (waits.len() * permille / 1000).min(waits.len().saturating_sub(1));
            waits.get(at).map_or(0.0, |wait| (wait.as_secs_f64() * 10_000.0).round() / 10.0)
        };
        Queue { p50: quantile(500), p95: quantile(950), p99: quantile(990), max: quantile(1000) }
    }
}

/// Jain, Chiu and Hawe (1984): one over all of what is even; one of n if one has all.
fn jain(case: &Case, shares: &[DataSize]) -> f64 {
    let there = shares.iter().zip(&case.flows).filter(|(_, flow)| !flow.backward);
    let bytes: Vec<f64> = there.map(|(share, _)| share.as_bytes() as f64).collect();
    let (sum, squares): (f64, f64) = (bytes.iter().sum(), bytes.iter().map(|it| it * it).sum());
    short(sum * sum / (bytes.len() as f64 * squares).max(1.0))
}

fn ramp(case: &Case, flow: &Flow, max: Bitrate) -> i64 {
    let begins = flow.spec.start.as_micros() / 1_000_000;
    (begins..case.length.as_secs())
        .find(|&second| {
            let share = fair(case, max, second);
            share > DataSize::ZERO && received(flow, secs(second), secs(second + 1)) >= share * 8 / 10
        })
        .map_or(-1, |second| (second - begins) as i64)
}

fn recovered(case: &Case, flow: &Flow, max: Bitrate) -> Option<f64> {
    let steps = &case.steps[0];
    let &(at, rate) = steps.last().filter(|_| steps.len() > 1)?;
    let wanted = rate.min(max).permille(BACK_PERMILLE) * SECOND;
    let end = Timestamp::ZERO + case.length;
    let mut from = at;
    while from + SECOND <= end {
        if received(flow, from, from + SECOND) >= wanted {
            return Some((from + SECOND).since(at).as_secs_f64());
        }
        from += Duration::from_millis(100);
    }
    None
}
