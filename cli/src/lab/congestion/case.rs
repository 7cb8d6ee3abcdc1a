//! What is tried: the test cases of RFC 8867, random loss, steps, and recorded links.

use crate::exit::{Failure, Outcome};
use std::fs;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};
use undertone_sim::path::{LinkConfig, Share};
use undertone_sim::trace::Trace;

/// A media flow.
#[derive(Clone, Debug)]
pub(super) struct FlowSpec {
    pub(super) start: Timestamp,
    /// It says nothing from the first until the second.
    pub(super) pause: Option<(Timestamp, Timestamp)>,
    /// On top of the link's own delay, each way.
    pub(super) farther: Duration,
    /// It goes the other way.
    pub(super) backward: bool,
}

impl FlowSpec {
    /// Whether it sends at `now`.
    pub(super) fn is_active(&self, now: Timestamp) -> bool {
        now >= self.start && !self.pause.is_some_and(|(from, until)| (from..until).contains(&now))
    }
}

/// Who else is on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cross {
    None,
    /// One TCP flow that sends all the time.
    Long,
    /// So many TCP flows that send a file now and then.
    Short(usize),
}

/// A link, and who sends over it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) length: Duration,
    pub(super) flows: Vec<FlowSpec>,
    pub(super) cross: Cross,
    /// Reports take the other direction's bottleneck, too.
    pub(super) reports_on_link: bool,
    pub(super) one_way: Duration,
    pub(super) queue: Duration,
    pub(super) loss: Share,
    /// Rates from a time on, there and back; none without a bound.
    pub(super) steps: [Vec<(Timestamp, Bitrate)>; 2],
    pub(super) trace: Option<Trace>,
}

/// The queue before a recorded link, as `mm-link` users set it: 200 packets.
const TRACE_QUEUE: DataSize = DataSize::from_bytes(200 * 1504);
/// Longer recordings are cut.
const TRACE_MOST: Duration = Duration::from_secs(120);

/// All cases that need no file, in the order of their table.
pub(super) const ALL: [&str; 13] = [
    "5.1",
    "5.2",
    "5.3",
    "5.4",
    "5.5",
    "5.6",
    "5.6:1000",
    "5.7",
    "5.8",
    "loss:5",
    "loss:10",
    "loss:20",
    "steps:2000@0,400@20,2000@40",
];

fn secs(secs: u64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn steps(steps: &[(u64, u64)]) -> Vec<(Timestamp, Bitrate)> {
    steps.iter().map(|&(at, kbps)| (secs(at), Bitrate::from_kbps(kbps))).collect()
}

/// So many flows, each a while after the one before.
fn flows(count: u64, apart: u64) -> Vec<FlowSpec> {
    let flow = |n| FlowSpec { start: secs(n * apart), pause: None, farther: Duration::ZERO, backward: false };
    (0..count).map(flow).collect()
}

impl Case {
    fn new(name: &str, length: u64, there: &[(u64, u64)], flows: Vec<FlowSpec>) -> Case {
        Case {
            name: name.into(),
            length: Duration::from_secs(length),
            flows,
            cross: Cross::None,
            reports_on_link: false,
            one_way: Duration::from_millis(50),
            queue: Duration::from_millis(300),
            loss: Share::ZERO,
            steps: [steps(there), Vec::new()],
            trace: None,
        }
    }

    /// Reads the name of a case.
    pub(super) fn parse(name: &str) -> Outcome<Case> {
        let known = || format!("--case {name}: none of {}, trace:FILE", ALL.join(", "));
        let (kind, value) = name.split_once(':').unwrap_or((name, ""));
        Ok(match (kind, value) {
            ("5.1", "") => Case::new(name, 100, &[(0, 1000), (40, 2500), (60, 600), (80, 1000)], flows(1, 0)),
            ("5.2", "") => {
                let there = [(0, 4000), (25, 2000), (50, 3500), (75, 1000), (100, 2000)];
                Case::new(name, 125, &there, flows(2, 0))
            }
            ("5.3", "") => {
                let there = [(0, 2000), (20, 1000), (40, 500), (60, 2000)];
                let mut case = Case::new(name, 100, &there, flows(2, 0));
                case.steps[1] = steps(&[(0, 2000), (35, 800), (70, 2000)]);
                case.flows[1].backward = true;
                case.reports_on_link = true;
                case
            }
            ("5.4", "") => Case::new(name, 120, &[(0, 3500)], flows(3, 20)),
            ("5.5", "") => {
                let mut case = Case::new(name, 300, &[(0, 4000)], flows(5, 10));
                case.one_way = Duration::from_millis(10);
                for (flow, ms) in case.flows.iter_mut().zip([0, 15, 40, 90, 140]) {
                    flow.farther = Duration::from_millis(ms);
                }
                case
            }
            ("5.6", "" | "300" | "1000") => {
                let mut case = Case::new(name, 120, &[(0, 2000)], flows(1, 0));
                case.flows[0].start = secs(5);
                case.cross = Cross::Long;
                if value == "1000" {
                    case.queue = Duration::from_millis(1000);
                }
                case
            }
            ("5.7", "") => {
                Case { cross: Cross::Short(10), ..Case::new(name, 300, &[(0, 2000)], flows(2, 0)) }
            }
            ("5.8", "") => {
                let mut case = Case::new(name, 120, &[(0, 3500)], flows(3, 0));
                case.flows[0].pause = Some((secs(40), secs(60)));
                case
            }
            ("loss", percent) => {
                let percent: f64 = percent.parse().map_err(|_| Failure::usage(known()))?;
                Case { loss: Share::from_percent(percent), ..Case::new(name, 60, &[(0, 2000)], flows(1, 0)) }
            }
            ("steps", text) => {
                let there = parse_steps(text).ok_or_else(|| {
                    Failure::usage(format!("--case {name}: give KBPS@SECS,… as in steps:2000@0,400@20"))
                })?;
                let last = there.last().map_or(0, |step| step.0);
                Case::new(name, last + 30, &there, flows(1, 0))
            }
            ("trace", file) => Case::recorded(file)?,
            _ => return Err(Failure::usage(known())),
        })
    }

    fn recorded(file: &str) -> Outcome<Case> {
        let wrong = |what: String| Failure::usage(format!("--case trace:{file}: {what}"));
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let trace = Trace::parse(&text).map_err(|error| wrong(error.to_string()))?;
        let stem = std::path::Path::new(file).file_name().unwrap_or_default().to_string_lossy();
        let mut case = Case::new(&format!("trace:{stem}"), 0, &[], flows(1, 0));
        case.length = Duration::from_millis(trace.round_ms()).min(TRACE_MOST);
        case.one_way = Duration::from_millis(25);
        case.queue = TRACE_QUEUE / trace.mean_rate();
        case.trace = Some(trace);
        Ok(case)
    }

    /// One direction of the link, but for its steps.
    pub(super) fn link(&self, backward: bool) -> LinkConfig {
        LinkConfig {
            delay: self.one_way,
            queue: self.queue,
            loss: if backward { Share::ZERO } else { self.loss },
            trace: self.trace.clone().filter(|_| !backward),
            ..LinkConfig::default()
        }
    }

    /// What a direction carries from `from` to `until`.
    pub(super) fn capacity(&self, backward: bool, from: Timestamp, until: Timestamp) -> DataSize {
        if let Some(trace) = self.trace.as_ref().filter(|_| !backward) {
            return trace.capacity(from, until);
        }
        let steps = &self.steps[usize::from(backward)];
        let ends = steps.iter().skip(1).map(|step| step.0).chain([until]);
        let stretch = |((begin, rate), end): (&(Timestamp, Bitrate), Timestamp)| {
            *rate * end.min(until).since((*begin).max(from).min(until))
        };
        steps.iter().zip(ends).map(stretch).sum()
    }
}

fn parse_steps(text: &str) -> Option<Vec<(u64, u64)>> {
    let step = |step: &str| {
        let (kbps, at) = step.split_once('@')?;
        Some((at.parse().ok()?, kbps.parse().ok().filter(|kbps| (1..=1_000_000).contains(kbps))?))
    };
    let steps: Vec<(u64, u64)> = text.split(',').map(step).collect::<Option<_>>()?;
    (steps.first()?.0 == 0 && steps.is_sorted()).then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_the_table_is_one() {
        for name in ALL {
            let case = Case::parse(name).expect("a case");
            assert!(!case.flows.is_empty() && case.length >= Duration::from_secs(60), "{name}");
        }
        for name in ["", "5.9", "5.6:200", "loss:much", "steps:400@5", "trace:/nowhere"] {
            assert!(Case::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn capacity_follows_the_steps() {
        let case = Case::parse("5.1").expect("a case");
        let kilobytes = |from, until| case.capacity(false, secs(from), secs(until)).as_bytes() / 1000;
        assert_eq!(kilobytes(0, 40), 5_000);
        assert_eq!(kilobytes(39, 41), 125 + 312);
        assert_eq!(kilobytes(0, 100), 5_000 + 6_250 + 1_500 + 2_500);
    }
}
