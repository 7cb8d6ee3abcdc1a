//! What a lab call tells people: lines on the terminal, lines of a log, a page.

use super::ear::{Ear, Sample};
use super::outcome::{Direction, LabCall, Percentiles};
use crate::args::LabCallArgs;
use crate::report::{Chart, Heard, Line, Report, still};
use serde_json::json;
use undertone_engine::Stats;

/// A number, or a dash where there is none.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

fn delay(delay: &Percentiles) -> String {
    format!("{} ms (95 %: {} ms)", figure(delay.p50, 1), figure(delay.p95, 1))
}

/// The summary on a terminal.
pub(super) fn print(result: &LabCall) {
    println!("set-up            {} ms", figure(result.setup_ms, 0));
    for (name, direction) in [("a → b", &result.a_to_b), ("b → a", &result.b_to_a)] {
        println!("{name}");
        for (name, value) in facts(direction) {
            println!("  {name:<22}{value}");
        }
    }
}

/// What a direction came to, for people.
pub fn facts(direction: &Direction) -> Vec<(String, String)> {
    let recovered = &direction.recovered;
    let brought_back = recovered.lbrr + recovered.red + recovered.rlc + recovered.dred + recovered.rtx;
    let mut facts = vec![
        ("mouth to ear".into(), delay(&direction.m2e_ms)),
        ("made up".into(), format!("{:.2} %", direction.concealed_ratio * 100.0)),
        ("brought back".into(), format!("{:.2} %", brought_back * 100.0)),
        ("longest gap".into(), format!("{:.0} ms", direction.gap_ms)),
        ("MOS (E-model)".into(), format!("{:.2}", direction.mos)),
        (
            "wire".into(),
            format!(
                "{:.1} kbit/s sent, {:.1} received, {:.1} of it media",
                direction.wire_kbps.sent, direction.wire_kbps.received, direction.payload_kbps
            ),
        ),
        ("packets".into(), format!("{:.0} ms", direction.packet_ms)),
    ];
    if let Some(secs) = direction.recover90_s {
        facts.push(("back to 90 %".into(), format!("{secs:.1} s after the last step")));
    }
    if let Some(video) = &direction.video {
        facts.push((
            "pictures".into(),
            format!("{:.1} a second, {:.1} % frozen", video.fps, video.freeze_ratio * 100.0),
        ));
        facts.push(("camera to screen".into(), delay(&video.delay_ms)));
        facts.push(("picture quality".into(), format!("{} dB", figure(video.psnr_db, 1))));
    }
    facts
}

/// One line of `stats.ndjson`.
pub(super) fn stats_line(direction: &str, ear: &Ear, speaker: &Stats) -> String {
    let sample = ear.samples.last().copied().unwrap_or_default();
    let short = |value: f64| (value * 100.0).round() / 100.0;
    let percent = |share: u8| short(f64::from(share) * 100.0 / 255.0);
    json!({
        "schema": "undertone.stats/1",
        "direction": direction,
        "secs": sample.secs,
        "m2e_ms": sample.m2e_ms.map(short),
        "target_ms": short(sample.target_ms),
        "concealed_percent": short(sample.concealed_percent),
        "lost_percent": short(sample.lost_percent),
        "sent_kbps": short(sample.sent_kbps),
        "received_kbps": short(sample.received_kbps),
        "estimate_kbps": short(sample.estimate_kbps),
        "estimate_reason": format!("{:?}", speaker.congestion.reason),
        "queue_ms": short(speaker.congestion.queue.as_secs_f64() * 1000.0),
        "rtt_ms": speaker.rtt.map(|rtt| short(rtt.as_secs_f64() * 1000.0)),
        "sending": speaker.sending.map(|sound| format!("{sound:?}").to_lowercase()),
        "packet_ms": speaker.plan.map(|plan| plan.packet.as_millis() as u64),
        "coded_kbps": speaker.plan.map(|plan| short(plan.bitrate.as_kbps_f64())),
        "protection": speaker.plan.map(|plan| format!("{:?}", plan.protection)),
        "redundancy_ms": speaker.plan.and_then(|plan| plan.redundancy).map(|it| it.span.as_millis() as u64),
        "patience_ms": speaker.plan.map(|plan| plan.patience.as_millis() as u64),
        "loss_permille": speaker.loss.permille,
        "loss_run_ms": speaker.loss.run.as_millis() as u64,
        "told": speaker.told.map(|told| json!({
            "slack_ms": told.slack.as_millis() as u64,
            "held_ms": told.held.as_millis() as u64,
            "made_up_percent": percent(told.shares.made_up),
            "rtx_percent": percent(told.shares.resent),
            "red_percent": percent(told.shares.copied),
            "rlc_percent": percent(told.shares.coded),
            "dred_percent": percent(told.shares.deep),
            "lbrr_percent": percent(told.shares.low_rate),
        })),
        "plan_reason": speaker.plan.map(|plan| plan.reason.name()),
        "video_kbps": short(speaker.video_rate.as_kbps_f64()),
        "video_coding": (speaker.video_frames.0 > 0).then(|| json!({
            "width": speaker.video_coding.width,
            "height": speaker.video_coding.height,
            "fps": speaker.video_coding.fps,
            "quantiser": speaker.video_coding.quantiser,
            "key_frames": speaker.video_frames.1,
        })),
    })
    .to_string()
}

/// The four pictures that tell a call.
pub fn charts(ear: &Ear) -> Vec<Chart> {
    let line = |name: &str, value: &dyn Fn(&Sample) -> Option<f64>| Line {
        name: name.into(),
        points: ear.samples.iter().map(|sample| (sample.secs, value(sample))).collect(),
    };
    let chart =
        |title: &str, unit: &str, lines| Chart { title: title.into(), unit: unit.into(), axis: "s", lines };
    vec![
        chart(
            "Delay",
            "ms",
            vec![line("mouth to ear", &|it| it.m2e_ms), line("buffer's target", &|it| Some(it.target_ms))],
        ),
        chart(
            "Rate on the wire",
            "kbit/s",
            vec![line("sent", &|it| Some(it.sent_kbps)), line("received", &|it| Some(it.received_kbps))],
        ),
        chart("Packets lost on the way", "%", vec![line("lost", &|it| Some(it.lost_percent))]),
        chart(
            "Sound made up",
            "%",
            vec![
                line("concealed", &|it| Some(it.concealed_percent)),
                line("as the listener told the speaker", &|it| it.told_percent),
            ],
        ),
    ]
}

/// The command that was run, as it reads from the folder of its report: the same for every `--out`, so that two
/// runs of one seed write the same bytes.
pub fn command() -> String {
    let mut words = vec!["undertone".to_string()];
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.strip_prefix("--out=") {
            Some(_) => words.push("--out=.".into()),
            None => words.push(quoted(&word)),
        }
        if word == "--out" && arguments.next().is_some() {
            words.push(".".into());
        }
    }
    words.join(" ")
}

/// A word as a shell takes it back.
fn quoted(word: &str) -> String {
    if word.contains([' ', '\'', '"', '$']) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.into()
    }
}

/// `report.html` of a lab call.
pub(super) fn report(args: &LabCallArgs, result: &LabCall, forth: &Ear, back: &Ear) -> Report {
    let heard = |title: &str, ear: &Ear, files: [&str; 2], direction: &Direction| Heard {
        title: title.into(),
        sent: (files[0].into(), ear.sent.clone()),
        received: (files[1].into(), ear.received.clone()),
        stills: ear
            .stills
            .iter()
            .map(|(secs, picture)| (format!("at {secs:.1} s"), still(picture, 320)))
            .collect(),
        facts: facts(direction),
        charts: charts(ear),
    };
    let network = &args.network;
    let mut settings = vec![
        ("Speech".into(), args.speech.display().to_string()),
        ("Topology".into(), format!("{:?}", args.topology).to_lowercase()),
        ("Length".into(), format!("{} s", args.secs)),
        ("One-way delay".into(), format!("{} ms", network.delay)),
        ("Jitter".into(), format!("{} ms", network.jitter)),
        ("Loss".into(), format!("{} %, mean burst {}", network.loss, network.burst)),
        ("Seed".into(), args.seed.to_string()),
    ];
    for (name, value) in [("Outages", &network.outage), ("Rate", &network.rate), ("Steps", &network.steps)] {
        settings.extend(value.iter().map(|value| (name.to_string(), value.clone())));
    }
    let trace = network.trace.iter().map(|trace| ("Trace".to_string(), trace.display().to_string()));
    settings.extend(trace);
    settings.extend(network.at.iter().map(|at| ("Change".to_string(), at.clone())));
    let first = &result.first;
    Report {
        title: "A call in the lab".into(),
        lead:
            "Both ends are the real engine; the network between them is emulated, in virtual time. The same \
               command gives the same bytes."
                .into(),
        figures: vec![
            ("Mouth to ear".into(), format!("{} ms", figure(first.m2e_ms.p50, 0)), "median, a → b".into()),
            ("Made up".into(), format!("{:.2} %", first.concealed_ratio * 100.0), "of what b heard".into()),
            (
                "On the wire".into(),
                format!("{:.1}", first.wire_kbps.sent),
                "kbit/s sent, all included".into(),
            ),
            ("Set-up".into(), format!("{} ms", figure(result.setup_ms, 0)), "until keys are there".into()),
            ("MOS".into(), format!("{:.2}", first.mos), "E-model estimate".into()),
        ],
        heard: vec![
            heard("b heard a", forth, ["sent.wav", "received.wav"], &result.a_to_b),
            heard("a heard b", back, ["sent-back.wav", "received-back.wav"], &result.b_to_a),
        ],
        settings,
        command: command(),
    }
}
