//! `undertone lab speech`: codec, plan and protection alone, under losses that are known.
//!
//! Why: in a call, what is heard depends on how soon losses are noticed and on how long the listener waits. Here both are
//! given, so that what is heard tells how good the plan is, and any other plan can be put beside it (`--plan`). The
//! sender and the receiver are the product's own; between them a packet is either there at once or lost, and the
//! jitter buffer holds everything for `--lookahead-ms`.
//!
//! A packet counts as its payload and 40 bytes of IPv4, UDP and RTP headers.

use super::network::Network;
use super::{frontier, page};
use crate::args::{LabSpeechArgs, NetworkArgs};
use crate::exit::{Failure, Fault, Outcome};
use crate::report::{Chart, Heard, Line, Report};
use crate::source::Voice;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path as File;
use std::time::Duration;
use undertone_codec::opus::Redundancy;
use undertone_codec::{CodecError, SAMPLE_RATE};
use undertone_engine::adapt::{self, Loss, Path, Peer, Plan, Protection, Reason};
use undertone_engine::receiver::{AudioReceiver, Formats, Listening};
use undertone_engine::sender::{AudioSender, Speaking};
use undertone_engine::{FRAME_SAMPLES, Origin, Plain, Timing};
use undertone_media::{Bitrate, DataSize, Fate, Link, SampleRate, Ssrc, Timestamp};
use undertone_transport::rtp::Extensions;
use undertone_transport::stream::{RecvConfig, RecvStream, SendConfig, SendStream};

/// The microphone's and the loudspeaker's step.
const STEP: Duration = Duration::from_millis(10);
/// IPv4, UDP and RTP headers.
const HEADERS: DataSize = DataSize::from_bytes(40);
/// Losses in runs of so many packets are planned for as if packets were so long.
const RUN_PACKET: Duration = Duration::from_millis(60);
/// Steps between two points of the curves.
const POINT_STEPS: usize = 50;
const STREAM: Ssrc = Ssrc(1);
const OPUS: u8 = 111;
const FORMATS: Formats = Formats { red: Some(63), rlc: Some(64) };

/// A plan as JSON: what is printed can be given to `--plan`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanJson {
    /// Speech in one packet.
    packet_ms: u64,
    /// Rate of the codec alone.
    kbps: f64,
    /// The sliding-window code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<CodeJson>,
    /// Packets before, in each packet (RFC 2198).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copies: Option<u8>,
    /// The codec's own coarse repair (LBRR).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_band: bool,
    /// Deep redundancy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redundancy: Option<RedundancyJson>,
    /// Whether speech may be narrowband; by itself if nothing else brings it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    narrowband: Option<bool>,
    /// Why; not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeJson {
    /// Packets back.
    window: u8,
    /// Repair for a thousand bytes of speech.
    permille: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedundancyJson {
    span_ms: u64,
    quantiser: u8,
    slope: u8,
}

impl From<&Plan> for PlanJson {
    fn from(plan: &Plan) -> PlanJson {
        PlanJson {
            packet_ms: plan.packet.as_millis() as u64,
            kbps: plan.bitrate.as_kbps_f64(),
            code: match plan.protection {
                Protection::Code { window, permille } => Some(CodeJson { window, permille }),
                _ => None,
            },
            copies: match plan.protection {
                Protection::Copies(count) => Some(count),
                _ => None,
            },
            in_band: plan.protection == Protection::InBand,
            redundancy: plan.redundancy.map(|it| RedundancyJson {
                span_ms: it.span.as_millis() as u64,
                quantiser: it.quantiser,
                slope: it.slope,
            }),
            narrowband: Some(plan.narrowband),
            reason: Some(plan.reason.name().into()),
        }
    }
}

impl PlanJson {
    fn parse(text: &str, patience: Duration) -> Outcome<Plan> {
        let wrong = |what: &str| Failure::usage(format!("--plan: {what}; a run with --json prints one"));
        let json: PlanJson = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        if !(20..=120).contains(&json.packet_ms) || !json.packet_ms.is_multiple_of(20) {
            return Err(wrong("packet_ms is 20 to 120 in steps of 20"));
        }
        if !(6.0..=64.0).contains(&json.kbps) {
            return Err(wrong("kbps is 6 to 64"));
        }
        let protection = match (json.code, json.copies.filter(|&count| count > 0), json.in_band) {
            (None, None, false) => Protection::None,
            (Some(code), None, false) => Protection::Code { window: code.window, permille: code.permille },
            (None, Some(count), false) => Protection::Copies(count),
            (None, None, true) => Protection::InBand,
            _ => return Err(wrong("code, copies and in_band exclude each other")),
        };
        let unprotected = protection == Protection::None && json.redundancy.is_none();
        let narrowband = json.narrowband.unwrap_or(unprotected);
        Ok(Plan {
            packet: Duration::from_millis(json.packet_ms),
            bitrate: Bitrate::from_bps((json.kbps * 1000.0).round() as u64),
            protection,
            redundancy: json.redundancy.map(|it| Redundancy {
                span: Duration::from_millis(it.span_ms),
                quantiser: it.quantiser,
                slope: it.slope,
            }),
            narrowband,
            patience,
            reason: Reason::Lossy,
        })
    }
}

/// The result: one line of JSON.
#[derive(Clone, Debug, Serialize)]
struct LabSpeech {
    /// Names this layout; grows by fields, changes by version.
    schema: &'static str,
    seed: u64,
    plan: PlanJson,
    /// Packets sent, and the share of them that was lost.
    packets: u64,
    lost_ratio: f64,
    /// Payload and 40 bytes a packet.
    wire_kbps: f64,
    /// Share of the 10 ms steps played, pauses left out.
    recovered: Shares,
    concealed_ratio: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Shares {
    lbrr: f64,
    red: f64,
    rlc: f64,
    dred: f64,
    plc: f64,
}

/// What was heard.
#[derive(Default)]
struct Listened {
    sent: Vec<i16>,
    received: Vec<i16>,
    origins: Vec<Origin>,
    packets: u64,
    lost: u64,
    bytes: u64,
}

fn path(args: &LabSpeechArgs, link: &Network) -> Path {
    let config = &link.down;
    let (mut permille, mut run) = (config.loss.as_ppm() / 1000, Duration::ZERO);
    if config.burst > 1 {
        run = RUN_PACKET * config.burst;
    }
    if let Some(outage) = config.outage {
        permille = 1000 * outage.bad_ms / (outage.good_ms + outage.bad_ms).max(1);
        run = Duration::from_millis(outage.bad_ms.into());
    }
    Path {
        budget: Bitrate::from_bps((args.wire_kbps * 1000.0).round() as u64),
        overhead: HEADERS,
        loss: Loss { permille: permille as u16, run, guessed: false },
        delay: None,
        slack: Duration::from_millis(args.lookahead_ms),
        peer: Peer { code: true, copies: true, redundancy: true },
    }
}

fn listen(args: &LabSpeechArgs, network: &Network, path: &Path, plan: Plan) -> Result<Listened, CodecError> {
    let mut voice = Voice::read(&args.speech, SampleRate::Wide)
        .map_err(|_| CodecError::ApiMisuse("unreadable speech"))?;
    let (_, mut link) = network.links(args.seed, 0);
    let stream = SendStream::new(SendConfig::new(STREAM, OPUS, 48_000, args.seed));
    let mut sender = AudioSender::new(stream, FORMATS, Speaking::default(), path)?;
    sender.keep_to(plan);
    let lookahead = Duration::from_millis(args.lookahead_ms);
    let stream = RecvStream::new(RecvConfig {
        ssrc: STREAM,
        payload_type: OPUS,
        clock_rate: 48_000,
        rtx_payload_type: None,
        nack: None,
    });
    let playout = undertone_jitter::Config {
        min_delay: lookahead,
        max_delay: lookahead,
        start_delay: lookahead,
        ..Default::default()
    };
    let mut receiver = AudioReceiver::new(stream, FORMATS, playout, Listening::default())?;
    // What does not fill a packet is not sent, and nothing is to be heard after the last packet.
    let packet_samples = (plan.packet.as_millis() as usize * SAMPLE_RATE as usize) / 1000;
    let steps = voice.len() / packet_samples * packet_samples / FRAME_SAMPLES;
    let after = (lookahead + plan.packet).as_millis() as usize / STEP.as_millis() as usize;
    let mut heard = Listened::default();
    for step in 0..steps + after - 1 {
        let now = Timestamp::ZERO + STEP * (step as u32 + 1);
        if step < steps {
            let said = voice.next_frame();
            heard.sent.extend_from_slice(&said);
            if let Some(frame) = sender.push(now, &said)? {
                let header = sender.stream.next(frame.time, heard.packets == 0, Extensions::default());
                let payload = sender.enrich(&frame.data);
                let (header, payload) = sender.protect(header, payload, false);
                heard.packets += 1;
                let size = DataSize::from_bytes(payload.len() as u64) + HEADERS;
                heard.bytes += size.as_bytes();
                match link.offer(now, size) {
                    Fate::Arrives(_) => receiver.receive(now, &header, &payload, &mut Plain),
                    _ => heard.lost += 1,
                }
            }
        }
        let mut mix = [0; FRAME_SAMPLES];
        let played = receiver.pull(now, None, Timing::default(), &mut mix);
        heard.received.extend(mix.map(|sample| sample.clamp(i16::MIN.into(), i16::MAX.into()) as i16));
        heard.origins.push(played.origin);
    }
    Ok(heard)
}

fn conclude(args: &LabSpeechArgs, plan: &Plan, heard: &Listened) -> LabSpeech {
    let voiced = heard.origins.iter().filter(|&&origin| origin != Origin::Silence).count().max(1);
    let short = |value: f64| (value * 1e5).round() / 1e5;
    let share = |wanted: Origin| {
        let count = heard.origins.iter().filter(|&&origin| origin == wanted).count();
        short(count as f64 / voiced as f64)
    };
    let secs = heard.sent.len() as f64 / f64::from(SAMPLE_RATE);
    LabSpeech {
        schema: "undertone.lab.speech/1",
        seed: args.seed,
        plan: PlanJson::from(plan),
        packets: heard.packets,
        lost_ratio: short(heard.lost as f64 / heard.packets.max(1) as f64),
        wire_kbps: short(heard.bytes as f64 * 8.0 / secs / 1000.0),
        recovered: Shares {
            lbrr: share(Origin::Lbrr),
            red: share(Origin::Copy),
            rlc: share(Origin::Code),
            dred: share(Origin::Dred),
            plc: share(Origin::Plc),
        },
        concealed_ratio: share(Origin::Plc),
    }
}

/// Runs the command.
pub fn speech(args: &LabSpeechArgs) -> Outcome {
    Voice::read(&args.speech, SampleRate::Wide)?;
    let network = Network::parse(&NetworkArgs {
        delay: "0".into(),
        jitter: "0".into(),
        queue: "300".into(),
        loss: args.loss.clone(),
        burst: args.burst.clone(),
        outage: args.outage.clone(),
        ..NetworkArgs::default()
    })?;
    let path = path(args, &network);
    let plan = match &args.plan {
        Some(text) => PlanJson::parse(text, path.slack)?,
        None => adapt::plan(&path),
    };
    let heard = listen(args, &network, &path, plan).map_err(|error| Failure::new(Fault::Media, error))?;
    let result = conclude(args, &plan, &heard);
    if let Some(dir) = &args.out {
        write_files(dir, args, &path, &result, &heard)?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&result).map_err(Failure::usage)?);
    } else {
        facts(&result).iter().for_each(|(name, value)| println!("{name:<18}{value}"));
    }
    Ok(())
}

fn facts(result: &LabSpeech) -> Vec<(String, String)> {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let plan = &result.plan;
    let protection = match (&plan.code, plan.copies) {
        _ if plan.in_band => "in-band".into(),
        (Some(code), _) => format!(
            "code over {} packets, {:.2} of the speech again",
            code.window,
            f64::from(code.permille) / 1000.0
        ),
        (None, Some(copies)) => format!("{copies} copies"),
        (None, None) => "none".into(),
    };
    let redundancy = plan
        .redundancy
        .as_ref()
        .map_or("none".into(), |it| format!("{} ms, quantiser {}", it.span_ms, it.quantiser));
    let recovered = &result.recovered;
    vec![
        ("packets".into(), format!("{} ms, {:.1} kbit/s of speech", plan.packet_ms, plan.kbps)),
        ("protection".into(), protection),
        ("deep redundancy".into(), redundancy),
        ("reason".into(), plan.reason.clone().unwrap_or_default()),
        ("wire".into(), format!("{:.1} kbit/s", result.wire_kbps)),
        ("packets lost".into(), percent(result.lost_ratio)),
        ("by copies".into(), percent(recovered.red)),
        ("in-band".into(), percent(recovered.lbrr)),
        ("by the code".into(), percent(recovered.rlc)),
        ("by redundancy".into(), percent(recovered.dred)),
        ("made up".into(), percent(recovered.plc)),
    ]
}

fn write_files(
    dir: &File,
    args: &LabSpeechArgs,
    path: &Path,
    result: &LabSpeech,
    heard: &Listened,
) -> Outcome {
    let unwritable = |path: &File, error: std::io::Error| {
        Failure::usage(format!("{} cannot be written: {error}; give another --out", path.display()))
    };
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, error))?;
    for (name, samples) in [("sent.wav", &heard.sent), ("received.wav", &heard.received)] {
        undertone_io::files::write_wav(dir.join(name), SAMPLE_RATE, samples).map_err(Failure::usage)?;
    }
    let page = dir.join("report.html");
    fs::write(&page, report(args, path, result, heard).html()).map_err(|error| unwritable(&page, error))
}

fn report(args: &LabSpeechArgs, path: &Path, result: &LabSpeech, heard: &Listened) -> Report {
    let line = |name: &str, wanted: &[Origin]| Line {
        name: name.into(),
        points: heard
            .origins
            .chunks(POINT_STEPS)
            .enumerate()
            .map(|(index, steps)| {
                let count = steps.iter().filter(|origin| wanted.contains(origin)).count();
                let secs = (index * POINT_STEPS) as f64 * STEP.as_secs_f64();
                (secs, Some(100.0 * count as f64 / steps.len() as f64))
            })
            .collect(),
    };
    let chart = Chart {
        title: "Origin of the sound".into(),
        unit: "%".into(),
        axis: "s",
        lines: vec![
            line("sent", &[Origin::Decoded]),
            line("repair", &[Origin::Code, Origin::Copy, Origin::Lbrr]),
            line("deep redundancy", &[Origin::Dred]),
            line("made up", &[Origin::Plc]),
        ],
    };
    let figure = |name: &str, value: String, remark: &str| (name.into(), value, remark.into());
    Report {
        title: "Speech under known losses".into(),
        lead: "The real encoder, plan, protection and decoder; packets are there at once or lost.".into(),
        figures: vec![
            figure("Wire", format!("{:.1}", result.wire_kbps), "kbit/s"),
            figure("Lost", format!("{:.1} %", 100.0 * result.lost_ratio), "of the packets"),
            figure("Made up", format!("{:.2} %", 100.0 * result.concealed_ratio), "of what was heard"),
        ],
        heard: vec![Heard {
            title: "What was heard".into(),
            sent: ("sent.wav".into(), heard.sent.clone()),
            received: ("received.wav".into(), heard.received.clone()),
            stills: Vec::new(),
            facts: facts(result),
            charts: vec![chart, frontier::quality(path), frontier::shares(path)],
        }],
        settings: vec![
            ("Speech".into(), args.speech.display().to_string()),
            ("Wire".into(), format!("{} kbit/s", args.wire_kbps)),
            ("Lookahead".into(), format!("{} ms", args.lookahead_ms)),
            ("Seed".into(), args.seed.to_string()),
        ],
        command: page::command(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_plan_is_read_again() {
        for protection in [
            Protection::None,
            Protection::Copies(2),
            Protection::Code { window: 5, permille: 1500 },
            Protection::InBand,
        ] {
            let plan = Plan {
                packet: Duration::from_millis(60),
                bitrate: Bitrate::from_bps(7_500),
                protection,
                redundancy: Some(Redundancy { span: Duration::from_millis(240), quantiser: 4, slope: 2 }),
                narrowband: false,
                patience: Duration::from_millis(300),
                reason: Reason::Lossy,
            };
            let text = serde_json::to_string(&PlanJson::from(&plan)).unwrap();
            assert_eq!(PlanJson::parse(&text, plan.patience).unwrap(), plan, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"packet_ms":30,"kbps":9}"#,
            r#"{"packet_ms":20,"kbps":900}"#,
            r#"{"packet_ms":20,"kbps":9,"copies":1,"code":{"window":3,"permille":500}}"#,
            r#"{"packet_ms":20,"kbps":9,"copies":1,"in_band":true}"#,
            r#"{"packet_ms":20,"kbps":9,"speed":1}"#,
        ] {
            assert!(PlanJson::parse(text, Duration::ZERO).is_err(), "{text}");
        }
    }
}
