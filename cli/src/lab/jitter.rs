//! `undertone lab jitter`: recorded arrival times, the real receiver, virtual time.
//!
//! Why: how long a buffer holds packets and what it makes up is decided by when they come, and a recording of
//! that tells two policies apart in seconds. Everything from the packet to the loudspeaker is the product's own:
//! buffer, decoder, concealment, stretching. The definitions are those of the usual bench of NetEq, so that its
//! figures stand beside ours:
//!
//! - a packet holds 20 ms, and `send_ms` of the first is when its first sample was captured;
//! - playout starts with the first arrival and goes on in steps of 10 ms until a second after the last packet
//!   was sent;
//! - mouth to ear: from the capture of the last sample of a step until that step has been played. Sound that
//!   nobody made goes on counting where the last real one was, and time never runs back;
//! - everything that the decoder makes up counts as made up, the end of the trace included;
//! - a window of the E-model is 10 s.
//!
//! Not here: repairs. A trace does not say when a lost packet would have come again.

use super::page;
use crate::args::LabJitterArgs;
use crate::exit::{Failure, Fault, Outcome};
use crate::report::{Chart, Heard, Line, Report};
use crate::source::Voice;
use serde::{Serialize, Serializer};
use std::fs;
use std::path::Path;
use std::time::Duration;
use undertone_codec::SAMPLE_RATE;
use undertone_codec::opus::{Encoder, EncoderConfig};
use undertone_engine::receiver::{AudioReceiver, Formats, Listening};
use undertone_engine::{FRAME_SAMPLES, Origin, Plain, Timing};
use undertone_media::{Bitrate, SampleRate, Ssrc, Timestamp};
use undertone_sim::score;
use undertone_transport::rtcp::Rtcp;
use undertone_transport::rtp::{Extensions, Header};
use undertone_transport::stream::{RecvConfig, RecvStream};

/// The loudspeaker's step.
const STEP: Duration = Duration::from_millis(10);
/// Sound in a packet.
const PACKET: Duration = Duration::from_millis(20);
/// RTP counts Opus at 48 kHz (RFC 7587 §4.1).
const PACKET_TICKS: u32 = 960;
/// Between two points of the curves.
const SAMPLE_STEPS: usize = 20;
/// Steps in a window of the E-model.
const WINDOW_STEPS: usize = 1000;
const STREAM: Ssrc = Ssrc(1);
const PAYLOAD_TYPE: u8 = 111;

/// A packet of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    seq: u64,
    send: Timestamp,
    /// `None`: it never came.
    arrival: Option<Timestamp>,
}

/// Reads `seq,send_ms,arrival_ms`; a header and comments may come before.
fn read_arrivals(path: &Path) -> Outcome<Vec<Row>> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("--arrivals {}: {error}", path.display())))?;
    parse_arrivals(&text).map_err(|reason| Failure::usage(format!("--arrivals {}: {reason}", path.display())))
}

fn parse_arrivals(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(|first: char| first == '#' || first.is_ascii_alphabetic()) {
            continue;
        }
        let row = parse_row(line).ok_or_else(|| {
            format!("line {}: `{line}` is not SEQ,SEND_MS,ARRIVAL_MS, as in 7,140,163.5", number + 1)
        })?;
        if rows.last().is_some_and(|last| row.seq <= last.seq || row.seq - last.seq > 3000) {
            return Err(format!(
                "line {}: packets must be in order of SEQ; write −1 for a lost one",
                number + 1
            ));
        }
        rows.push(row);
    }
    match rows.iter().any(|row| row.arrival.is_some()) {
        true => Ok(rows),
        false => Err("no packet arrives".into()),
    }
}

fn parse_row(line: &str) -> Option<Row> {
    /// A day, in ms.
    const LONGEST: f64 = 86_400_000.0;
    let mut fields = line.split(',').map(str::trim);
    let seq = fields.next()?.parse().ok()?;
    let mut time = || fields.next()?.parse().ok().filter(|ms: &f64| *ms <= LONGEST);
    let micros = |ms: f64| Timestamp::from_micros((ms * 1000.0).round() as u64);
    let (send, arrival) = (time()?, time()?);
    (send >= 0.0).then(|| Row { seq, send: micros(send), arrival: (arrival >= 0.0).then(|| micros(arrival)) })
}

/// The result: one line of JSON.
#[derive(Clone, Debug, Serialize)]
struct LabJitter {
    /// Names this layout; grows by fields, changes by version.
    schema: &'static str,
    /// Packets in the trace.
    packets: usize,
    /// Share of them that never came.
    #[serde(serialize_with = "ratio")]
    net_loss: f64,
    #[serde(serialize_with = "ms")]
    m2e_mean_ms: f64,
    #[serde(serialize_with = "ms")]
    m2e_p50: f64,
    #[serde(serialize_with = "ms")]
    m2e_p95: f64,
    #[serde(serialize_with = "ms")]
    m2e_p99: f64,
    /// What the buffer aimed at, mouth to ear; mean.
    #[serde(serialize_with = "ms")]
    target_mean_ms: f64,
    /// Share of the steps that the decoder made up.
    #[serde(serialize_with = "ratio")]
    conceal_ratio: f64,
    /// Stretches of steps made up.
    conceal_events: u64,
    /// Sound taken out by stretching, as a share of what was played.
    #[serde(serialize_with = "ratio")]
    accel_ratio: f64,
    /// Sound put in by stretching.
    #[serde(serialize_with = "ratio")]
    preempt_ratio: f64,
    /// Packets that came after their turn.
    late: u64,
    /// E-model MOS (ITU-T G.107, Ie 5, Bpl 15) over windows of 10 s: mean and the worst tenth.
    #[serde(serialize_with = "ms")]
    emos_mean: f64,
    #[serde(serialize_with = "ms")]
    emos_p10: f64,
    /// How much later the codec brings a sample than its packet's date says; not part of mouth to ear.
    #[serde(serialize_with = "ms")]
    codec_lookahead_ms: f64,
}

fn ms<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1000.0).round() / 1000.0)
}

fn ratio<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1e5).round() / 1e5)
}

/// One point of the curves.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    secs: f64,
    /// The slowest packet that came since the last point.
    arrival_ms: Option<f64>,
    target_ms: Option<f64>,
    m2e_ms: Option<f64>,
    concealed_percent: f64,
}

/// What is known of each step.
#[derive(Clone, Copy, Debug)]
struct Step {
    m2e_ms: f64,
    origin: Origin,
}

/// What was heard.
#[derive(Default)]
struct Listened {
    played: Vec<i16>,
    steps: Vec<Step>,
    /// How many of the steps ended before the last packet was sent.
    measured: usize,
    target_ms: Vec<f64>,
    points: Vec<Point>,
    lookahead: Duration,
    stretched: (u64, u64),
    late: u64,
}

/// A packet that arrives.
struct Coded {
    seq: u64,
    arrival: Timestamp,
    payload: Vec<u8>,
}

/// Codes all packets of the trace, the lost ones too, and sorts those that arrive by when they do.
fn coded(rows: &[Row], voice: &mut Voice, kbps: u32) -> Outcome<(Vec<Coded>, Duration)> {
    let config = EncoderConfig { bitrate: Bitrate::from_kbps(kbps.into()), ..EncoderConfig::default() };
    let broken = |error| Failure::new(Fault::Media, error);
    let mut encoder = Encoder::new(&config).map_err(broken)?;
    let mut rows = rows.iter().peekable();
    let mut packets = Vec::new();
    let mut seq = rows.peek().map_or(0, |row| row.seq);
    while rows.peek().is_some() {
        let pcm = [voice.next_frame(), voice.next_frame()].concat();
        let mut payload = Vec::new();
        encoder.encode(&pcm, &mut payload).map_err(broken)?;
        if let Some(row) = rows.next_if(|row| row.seq == seq)
            && let Some(arrival) = row.arrival
        {
            packets.push(Coded { seq, arrival, payload });
        }
        seq += 1;
    }
    packets.sort_by_key(|packet| packet.arrival);
    Ok((packets, encoder.lookahead()))
}

/// Plays the trace.
fn listen(rows: &[Row], voice: &mut Voice, kbps: u32) -> Outcome<Listened> {
    let (packets, lookahead) = coded(rows, voice, kbps)?;
    let first = rows[0];
    let last_sent = rows[rows.len() - 1].send;
    let mut packets = packets.into_iter().peekable();
    let start = packets.peek().map_or(Timestamp::ZERO, |packet| packet.arrival);
    let mut receiver = receiver().map_err(|error| Failure::new(Fault::Media, error))?;
    let timing = Timing::default();
    let mut heard = Listened { lookahead, ..Listened::default() };
    // The sound before the first packet: none, so that both files have one clock.
    let before = start.since(first.send).as_micros() as usize * SAMPLE_RATE as usize / 1_000_000;
    heard.played.resize(before, 0);
    let mut slowest: Option<f64> = None;
    // The buffer's dates have an origin of their own: what it calls the fastest path when nothing but the first
    // packet is known is that packet's delay.
    let mut origin = None;
    let mut now = start;
    while now < last_sent + Duration::from_secs(1) {
        while let Some(Coded { seq, arrival, payload }) = packets.next_if(|packet| packet.arrival <= now) {
            let number = seq - first.seq;
            let header = Header {
                payload_type: PAYLOAD_TYPE,
                marker: false,
                seq: number as u16,
                timestamp: (number as u32).wrapping_mul(PACKET_TICKS),
                ssrc: STREAM,
                ext: Extensions::default(),
            };
            receiver.receive(arrival, &header, &payload, &mut Plain);
            let took = arrival.micros_from(first.send + PACKET * number as u32);
            if origin.is_none() {
                receiver.stream.on_sender_report(arrival, &report(&timing, first.send));
                origin = receiver.jitter().standing().map(|standing| standing.base - took);
            }
            let took = took as f64 / 1000.0;
            slowest = Some(slowest.map_or(took, |slowest| slowest.max(took)));
        }
        let mut mix = [0; FRAME_SAMPLES];
        let played = receiver.pull(now, None, timing, &mut mix);
        heard.played.extend(mix.map(|sample| sample.clamp(i16::MIN.into(), i16::MAX.into()) as i16));
        // Where playout stands, as NetEq reckons: on while nothing real plays, and never back.
        let before = heard.steps.last().map_or(f64::INFINITY, |step| step.m2e_ms);
        let real = played.mouth_to_ear.map_or(before, |m2e| m2e.as_secs_f64() * 1000.0);
        let m2e_ms = real.min(before + STEP.as_secs_f64() * 1000.0);
        heard.steps.push(Step { m2e_ms, origin: played.origin });
        heard.measured += usize::from(now < last_sent);
        let aim_ms = origin.zip(receiver.jitter().standing()).map(|(origin, standing)| {
            (standing.base - origin) as f64 / 1000.0 + standing.target.as_secs_f64() * 1000.0
        });
        heard.target_ms.extend(aim_ms);
        if heard.steps.len().is_multiple_of(SAMPLE_STEPS) {
            let recent = &heard.steps[heard.steps.len() - SAMPLE_STEPS..];
            heard.points.push(Point {
                secs: now.since(first.send).as_secs_f64(),
                arrival_ms: slowest.take(),
                target_ms: aim_ms,
                m2e_ms: Some(mean(recent.iter().map(|step| step.m2e_ms))),
                concealed_percent: 100.0 * concealed(recent),
            });
        }
        now += STEP;
    }
    heard.stretched = receiver.stretched();
    heard.late = receiver.jitter().stats().late;
    Ok(heard)
}

fn receiver() -> Result<AudioReceiver, undertone_codec::CodecError> {
    let stream = RecvStream::new(RecvConfig {
        ssrc: STREAM,
        payload_type: PAYLOAD_TYPE,
        clock_rate: 48_000,
        rtx_payload_type: None,
        nack: None,
    });
    AudioReceiver::new(stream, Formats::default(), undertone_jitter::Config::default(), Listening::default())
}

/// What ties media time to the clock of the trace.
fn report(timing: &Timing, first_captured: Timestamp) -> Rtcp {
    Rtcp::SenderReport {
        ssrc: STREAM,
        ntp: timing.ntp(first_captured),
        rtp_time: 0,
        packets: 0,
        octets: 0,
        blocks: Vec::new(),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

/// The value that so many of a thousand are below.
fn quantile(values: &[f64], permille: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

fn concealed(steps: &[Step]) -> f64 {
    steps.iter().filter(|step| step.origin == Origin::Plc).count() as f64 / steps.len().max(1) as f64
}

/// The E-model's MOS of each whole window.
fn windows(heard: &Listened) -> Vec<f64> {
    let window =
        |steps: &[Step]| score::mos(mean(steps.iter().map(|step| step.m2e_ms)), 100.0 * concealed(steps));
    heard.steps[..heard.measured].chunks_exact(WINDOW_STEPS).map(window).collect()
}

fn conclude(rows: &[Row], heard: &Listened) -> LabJitter {
    let m2e: Vec<f64> = heard.steps[..heard.measured].iter().map(|step| step.m2e_ms).collect();
    let lost = rows.iter().filter(|row| row.arrival.is_none()).count();
    let samples = (heard.steps.len() * FRAME_SAMPLES).max(1) as f64;
    let made_up = |step: &Step| step.origin == Origin::Plc;
    let gaps = heard.steps.windows(2).filter(|pair| !made_up(&pair[0]) && made_up(&pair[1])).count();
    let mos = windows(heard);
    LabJitter {
        schema: "undertone.lab.jitter/1",
        packets: rows.len(),
        net_loss: lost as f64 / rows.len() as f64,
        m2e_mean_ms: mean(m2e.iter().copied()),
        m2e_p50: quantile(&m2e, 500),
        m2e_p95: quantile(&m2e, 950),
        m2e_p99: quantile(&m2e, 990),
        target_mean_ms: mean(heard.target_ms.iter().copied()),
        conceal_ratio: concealed(&heard.steps),
        conceal_events: gaps as u64,
        accel_ratio: heard.stretched.0 as f64 / samples,
        preempt_ratio: heard.stretched.1 as f64 / samples,
        late: heard.late,
        emos_mean: mean(mos.iter().copied()),
        emos_p10: quantile(&mos, 100),
        codec_lookahead_ms: heard.lookahead.as_secs_f64() * 1000.0,
    }
}

/// Runs the command.
pub fn jitter(args: &LabJitterArgs) -> Outcome {
    let rows = read_arrivals(&args.arrivals)?;
    let mut voice = Voice::read(&args.speech, SampleRate::Wide)?;
    let mut said = voice.clone();
    let heard = listen(&rows, &mut voice, args.kbps)?;
    let result = conclude(&rows, &heard);
    if let Some(dir) = &args.out {
        let mut sent = Vec::with_capacity(heard.played.len());
        while sent.len() < heard.played.len() {
            sent.extend(said.next_frame());
        }
        write_files(dir, args, &result, &heard, sent)?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&result).map_err(Failure::usage)?);
    } else {
        facts(&result).iter().for_each(|(name, value)| println!("{name:<18}{value}"));
    }
    Ok(())
}

fn write_files(
    dir: &Path,
    args: &LabJitterArgs,
    result: &LabJitter,
    heard: &Listened,
    sent: Vec<i16>,
) -> Outcome {
    let unwritable = |path: &Path, error: std::io::Error| {
        Failure::usage(format!("{} cannot be written: {error}; give another --out", path.display()))
    };
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, error))?;
    for (name, samples) in [("sent.wav", &sent), ("played.wav", &heard.played)] {
        undertone_io::files::write_wav(dir.join(name), SAMPLE_RATE, samples).map_err(Failure::usage)?;
    }
    let path = dir.join("report.html");
    fs::write(&path, report_page(args, result, heard, sent).html()).map_err(|error| unwritable(&path, error))
}

fn facts(result: &LabJitter) -> Vec<(String, String)> {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    vec![
        (
            "mouth to ear".into(),
            format!(
                "{:.0} ms (50 %: {:.0}, 95 %: {:.0}, 99 %: {:.0})",
                result.m2e_mean_ms, result.m2e_p50, result.m2e_p95, result.m2e_p99
            ),
        ),
        ("aimed at".into(), format!("{:.0} ms", result.target_mean_ms)),
        ("made up".into(), format!("{} in {} gaps", percent(result.conceal_ratio), result.conceal_events)),
        ("never came".into(), percent(result.net_loss)),
        ("played faster".into(), percent(result.accel_ratio)),
        ("played slower".into(), percent(result.preempt_ratio)),
        ("MOS (E-model)".into(), format!("{:.2}, worst tenth {:.2}", result.emos_mean, result.emos_p10)),
    ]
}

fn report_page(args: &LabJitterArgs, result: &LabJitter, heard: &Listened, sent: Vec<i16>) -> Report {
    let line = |name: &str, value: &dyn Fn(&Point) -> Option<f64>| Line {
        name: name.into(),
        points: heard.points.iter().map(|point| (point.secs, value(point))).collect(),
    };
    let chart =
        |title: &str, unit: &str, lines| Chart { title: title.into(), unit: unit.into(), axis: "s", lines };
    let window_secs = WINDOW_STEPS as f64 * STEP.as_secs_f64();
    let mos = windows(heard).into_iter().enumerate();
    let mos = mos.map(|(index, mos)| ((index + 1) as f64 * window_secs, Some(mos))).collect();
    let charts = vec![
        chart(
            "Delay",
            "ms",
            vec![
                line("slowest arrival", &|it| it.arrival_ms),
                line("target", &|it| it.target_ms),
                line("mouth to ear", &|it| it.m2e_ms),
            ],
        ),
        chart("Sound made up", "%", vec![line("concealed", &|it| Some(it.concealed_percent))]),
        chart("MOS (E-model) of 10 s", "", vec![Line { name: "MOS".into(), points: mos }]),
    ];
    let figure = |name: &str, value: String, remark: &str| (name.into(), value, remark.into());
    Report {
        title: "A jitter buffer on recorded arrivals".into(),
        lead:
            "The real buffer, decoder, concealment and stretching play packets at the times at which a trace \
               says that they came, in virtual time."
                .into(),
        figures: vec![
            figure("Mouth to ear", format!("{:.0} ms", result.m2e_mean_ms), "mean"),
            figure("Mouth to ear", format!("{:.0} ms", result.m2e_p95), "95 % are no later"),
            figure("Made up", format!("{:.2} %", 100.0 * result.conceal_ratio), "of what was heard"),
            figure("MOS", format!("{:.2}", result.emos_mean), "E-model, mean of 10 s windows"),
            figure("MOS", format!("{:.2}", result.emos_p10), "the worst tenth of the windows"),
        ],
        heard: vec![Heard {
            title: "What was heard".into(),
            sent: ("sent.wav".into(), sent),
            received: ("played.wav".into(), heard.played.clone()),
            stills: Vec::new(),
            facts: facts(result),
            charts,
        }],
        settings: vec![
            ("Arrivals".into(), args.arrivals.display().to_string()),
            ("Speech".into(), args.speech.display().to_string()),
            ("Coded at".into(), format!("{} kbit/s, packets of 20 ms", args.kbps)),
            ("Codec's own delay".into(), format!("{:.1} ms, not counted", result.codec_lookahead_ms)),
        ],
        command: page::command(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_with_its_header_and_its_losses() {
        let rows = parse_arrivals("seq,send_ms,arrival_ms\n# lte\n5,100,120.5\n6,120,-1\n").expect("a trace");
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].arrival, Some(Timestamp::from_micros(120_500)));
        assert_eq!((rows[1].seq, rows[1].arrival), (6, None));
    }

    #[test]
    fn what_is_no_trace_is_named_by_its_line() {
        for (text, wanted) in [
            ("1,0,5\nx,y\n2,,7", "line 3"),
            ("1,0,5,\n7", "line 2"),
            ("1,0,5\n1,20,25", "order"),
            ("1,-20,5", "line 1"),
            ("1,0,nan", "line 1"),
            ("1,0,1e99", "line 1"),
            ("1,0,-1", "arrives"),
            ("", "arrives"),
        ] {
            let error = parse_arrivals(text).expect_err(text);
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn a_quantile_is_the_value_above_its_share() {
        let values: Vec<f64> = (0..30).map(f64::from).collect();
        assert_eq!(
            (quantile(&values, 100), quantile(&values, 500), quantile(&values, 999)),
            (3.0, 15.0, 29.0)
        );
        assert_eq!(quantile(&[], 500), 0.0);
    }
}
