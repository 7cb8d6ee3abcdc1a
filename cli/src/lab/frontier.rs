//! What a wire's rate buys at all, by how much gets lost: the pictures beside one run of `lab speech`.
//!
//! Why: a run shows one point. Whether its plan is poor or its wire is thin shows beside what the planner expects of
//! every other rate.

use crate::report::{Chart, Line};
use undertone_engine::adapt::{self, Loss, Path};
use undertone_media::Bitrate;

/// From the least that carries packets of speech to what no speech needs, in steps of half a kbit/s.
const HALF_KBPS: std::ops::RangeInclusive<u64> = 16..=160;
/// In percent.
const LOSSES: [u16; 4] = [0, 20, 50, 80];

fn rates() -> impl Iterator<Item = (f64, Bitrate)> {
    HALF_KBPS.map(|half| (half as f64 / 2.0, Bitrate::from_bps(half * 500)))
}

/// What a listener is expected to hear of the best plan for each rate, as PESQ-WB, at four losses and this path's patience.
pub fn quality(path: &Path) -> Chart {
    let line = |percent: u16| {
        let loss = Loss { permille: 10 * percent, ..path.loss };
        let expected = |budget| adapt::expected(&Path { budget, loss, ..*path }).map(|(_, heard)| heard);
        let name = if percent == 0 { "no loss".into() } else { format!("{percent} %") };
        Line { name, points: rates().map(|(kbps, budget)| (kbps, expected(budget))).collect() }
    };
    let lines = LOSSES.into_iter().map(line).collect();
    Chart { title: "Expected, by wire rate and loss".into(), unit: "PESQ".into(), axis: "kbit/s", lines }
}

/// What the best plan for each rate spends it on, at this path's losses.
pub fn shares(path: &Path) -> Chart {
    let spent: Vec<_> = rates()
        .map(|(kbps, budget)| {
            let best = adapt::expected(&Path { budget, ..*path });
            (kbps, best.map(|(plan, _)| plan.spending(path.overhead)))
        })
        .collect();
    let line = |name: &str, part: fn(adapt::Spending) -> Bitrate| Line {
        name: name.into(),
        points: spent.iter().map(|&(kbps, it)| (kbps, it.map(|it| part(it).as_kbps_f64()))).collect(),
    };
    Chart {
        title: "What that is spent on".into(),
        unit: "kbit/s".into(),
        axis: "kbit/s",
        lines: vec![
            line("speech", |it| it.speech),
            line("repair", |it| it.repair),
            line("deep redundancy", |it| it.deep),
            line("headers", |it| it.headers),
        ],
    }
}
