//! `undertone lab congestion`: the congestion controller and the pacer alone, on the links where others were tried.
//!
//! Why: a call hides a controller behind a codec, repairs and playout. Here pictures are as large as the estimate has it, and
//! the link tells what that did: the cases of RFC 8867, random loss, steps and recordings, in virtual time. Another
//! controller is put in its place with `--aimd` or `--peer`, on the same link, with the same source, reports and account.
//!
//! Lost packets are not sent again, so a late picture is also one of which a packet was lost.

mod case;
mod controller;
mod flow;
mod measure;
mod run;
mod tcp;

use super::page;
use crate::args::LabCongestionArgs;
use crate::exit::{Failure, Fault, Outcome};
use crate::report::{Chart, Heard, Line, Report};
use case::Case;
use controller::{Kind, Limits};
use measure::LabCongestion;
use run::World;
use std::fs;
use std::time::Duration;
use undertone_media::{Bitrate, Timestamp};

/// Between two points of the curves.
const POINT: Duration = Duration::from_millis(500);

/// Runs the command.
pub fn congestion(args: &LabCongestionArgs) -> Outcome {
    let names = match &args.case {
        Some(name) => vec![name.clone()],
        None => case::ALL.map(String::from).to_vec(),
    };
    let mut charts = Vec::new();
    for name in names {
        let (result, world) = one(args, &name)?;
        if args.json {
            let line = serde_json::to_string(&result).map_err(|error| Failure::new(Fault::Media, error))?;
            println!("{line}");
        } else {
            print(&result);
        }
        charts.push(heard(&result, &world));
    }
    let Some(dir) = &args.out else { return Ok(()) };
    let written = fs::create_dir_all(dir)
        .and_then(|()| fs::write(dir.join("report.html"), report(args, charts).html()));
    written.map_err(|error| Failure::usage(format!("--out {}: {error}", dir.display())))
}

fn one(args: &LabCongestionArgs, name: &str) -> Outcome<(LabCongestion, World)> {
    let mut case = Case::parse(name)?;
    if let Some(ms) = args.queue {
        case.queue = Duration::from_millis(ms);
    }
    let limits = Limits {
        min: Bitrate::from_kbps(args.rmin),
        max: Bitrate::from_kbps(args.rmax.max(args.rmin)),
        start: Bitrate::from_kbps(args.start.clamp(args.rmin, args.rmax.max(args.rmin))),
    };
    let (kind, controller) = match &args.peer {
        Some(command) => (Kind::Peer(command.clone()), command.rsplit('/').next().unwrap_or(command)),
        None if args.aimd => (Kind::Aimd, "aimd"),
        None => (Kind::Ours, "undertone"),
    };
    let mut world = World::new(case, &kind, limits, args.seed)?;
    world.run()?;
    Ok((LabCongestion::new(&world, controller, args.seed, limits.max), world))
}

fn facts(result: &LabCongestion) -> Vec<(String, String)> {
    let queue = result.queue_ms;
    let flows: Vec<String> = result.flows_kbps.iter().map(|kbps| format!("{kbps:.0}")).collect();
    let mut facts = vec![
        ("used".into(), format!("{:.1} % of what was there", result.utilisation * 100.0)),
        ("arrived".into(), format!("{:.0} kbit/s; while all were active {}", result.kbps, flows.join(" / "))),
        (
            "queue".into(),
            format!("{} ms (95 %: {}, 99 %: {}, most: {})", queue.p50, queue.p95, queue.p99, queue.max),
        ),
        ("lost".into(), format!("{:.2} % of packets", result.loss * 100.0)),
        ("late pictures".into(), format!("{:.1} %", result.late_ratio * 100.0)),
        ("fairness (Jain)".into(), format!("{:.3}", result.jain)),
        ("80 % of its share".into(), format!("in second {}", result.ramp80_s)),
    ];
    if result.share < 1.0 {
        facts.push(("beside TCP".into(), format!("{:.0} % of what arrived", result.share * 100.0)));
    }
    if let Some(secs) = result.recover90_s {
        facts.push(("back to 90 %".into(), format!("{secs:.1} s after the last step")));
    }
    facts
}

fn print(result: &LabCongestion) {
    println!("{} ({})", result.case, result.controller);
    for (name, value) in facts(result) {
        println!("  {name:<20}{value}");
    }
}

/// Rates and queue over time.
fn heard(result: &LabCongestion, world: &World) -> Heard {
    let points = (world.case().length.as_micros() / POINT.as_micros()) as u32;
    let span = |at: u32| (Timestamp::ZERO + POINT * at, Timestamp::ZERO + POINT * (at + 1));
    let line = |name: String, value: &dyn Fn(Timestamp, Timestamp) -> Option<f64>| Line {
        name,
        points: (0..points)
            .map(|at| (f64::from(at) * POINT.as_secs_f64(), value(span(at).0, span(at).1)))
            .collect(),
    };
    let mut rates = vec![line("link".into(), &|from, until| {
        Some(world.case().capacity(false, from, until).per(POINT).as_kbps_f64())
    })];
    let mut queues = Vec::new();
    let one_way = world.case().one_way;
    for (number, flow) in world.flows.iter().enumerate().take(3) {
        let arrived = |from: Timestamp, until: Timestamp| {
            let first = flow.arrivals.partition_point(|it| it.at < from);
            flow.arrivals[first..].iter().take_while(move |it| it.at < until)
        };
        rates.push(line(format!("flow {number}"), &|from, until| {
            let bits: u64 = arrived(from, until).map(|it| it.size.as_bits()).sum();
            Some(bits as f64 / POINT.as_secs_f64() / 1000.0)
        }));
        queues.push(line(format!("flow {number}"), &|from, until| {
            let wait = |it: &flow::Arrival| it.at.since(it.sent).saturating_sub(flow.one_way(one_way));
            arrived(from, until).map(wait).max().map(|wait| wait.as_secs_f64() * 1000.0)
        }));
    }
    let chart =
        |title: &str, unit: &str, lines| Chart { title: title.into(), unit: unit.into(), axis: "s", lines };
    Heard {
        title: result.case.clone(),
        facts: facts(result),
        charts: vec![chart("What arrives", "kbit/s", rates), chart("Queue", "ms", queues)],
        ..Heard::default()
    }
}

fn report(args: &LabCongestionArgs, heard: Vec<Heard>) -> Report {
    Report {
        title: "Congestion control in the lab".into(),
        lead: "Pictures as large as the estimate has it, the real controller and pacer, emulated links, virtual time.".into(),
        heard,
        settings: vec![
            ("Rates".into(), format!("{} to {} kbit/s, from {}", args.rmin, args.rmax, args.start)),
            ("Seed".into(), args.seed.to_string()),
        ],
        command: page::command(),
        ..Report::default()
    }
}
