//! Plays arrival traces through the jitter buffer and says what a listener would have heard.
//!
//! ```text
//! cargo run --release -p undertone-jitter --example arrivals -- TRACE.csv…
//! ```
//!
//! A trace has lines `seq,send_ms,arrival_ms` (−1: lost), 20 ms of sound a packet. Stretching depends on
//! the sound; here it is modelled: each change takes out or puts in one pitch period of 4 to 9 ms, and one
//! in eight is refused. Mouth to ear counts from the capture of a sample to the end of the 10 ms in which
//! it played.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_jitter::{Config, JitterBuffer, Playout, Stretch};
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

struct Sent {
    seq: u64,
    sent: i64,
    arrival: i64,
}

/// Decoded sound that has not been played, in pieces.
#[derive(Default)]
struct Pcm {
    pieces: VecDeque<Piece>,
    queued: i64,
}

struct Piece {
    length: i64,
    /// When its last sample was captured, in µs; `None` if it is made up.
    captured: Option<i64>,
}

impl Pcm {
    fn push(&mut self, length: i64, captured: Option<i64>) {
        self.queued += length;
        self.pieces.push_back(Piece { length, captured });
    }

    /// Plays 10 ms; says when the last sample of it was captured.
    fn play(&mut self) -> Option<i64> {
        let mut rest = 10_000;
        let mut captured = None;
        while rest > 0 {
            let Some(piece) = self.pieces.front_mut() else { break };
            let part = piece.length.min(rest);
            rest -= part;
            piece.length -= part;
            self.queued -= part;
            captured = piece.captured.map(|end| end - piece.length);
            if piece.length == 0 {
                self.pieces.pop_front();
            }
        }
        captured
    }
}

fn main() {
    for path in std::env::args().skip(1) {
        match std::fs::read_to_string(&path) {
            Ok(text) => println!("{path} {}", play(&text)),
            Err(error) => eprintln!("{path}: {error}"),
        }
    }
}

fn parse(text: &str) -> Vec<Sent> {
    let micros = |field: Option<&str>| field?.trim().parse::<f64>().ok().map(|ms| (ms * 1000.0) as i64);
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(',');
            let seq = fields.next()?.trim().parse().ok()?;
            Some(Sent { seq, sent: micros(fields.next())?, arrival: micros(fields.next())? })
        })
        .collect()
}

fn play(text: &str) -> String {
    let trace = parse(text);
    let mut arrivals: Vec<&Sent> = trace.iter().filter(|p| p.arrival >= 0).collect();
    arrivals.sort_by_key(|p| p.arrival);
    let (Some(first), Some(last)) = (arrivals.first(), trace.last()) else { return "empty".into() };
    let (start, end) = (first.arrival, last.sent + 1_000_000);
    let mut buffer = JitterBuffer::new(config());
    let mut pcm = Pcm::default();
    let mut next = 0;
    let mut noise = 1u64;
    let (mut removed, mut added) = (0i64, 0i64);
    let mut delays: Vec<i64> = Vec::new();
    let mut windows: Vec<f64> = Vec::new();
    let (mut window_delay, mut window_count, mut window_concealed) = (0i64, 0i64, Duration::ZERO);
    let mut step = 0;
    let (mut run, mut concealing) = (0u32, false);
    let mut runs = std::collections::BTreeMap::<u32, u32>::new();
    loop {
        let now = start + step * 10_000;
        if now >= end {
            break;
        }
        let at = Timestamp::from_micros(now as u64);
        while let Some(p) = arrivals.get(next).filter(|p| p.arrival <= now) {
            let arrival = Timestamp::from_micros(p.arrival as u64);
            let packet = Packet {
                seq: SeqNo(65_536 + p.seq),
                time: MediaTime(1 << 32) + p.seq * 960,
                marker: false,
                payload_type: 111,
                arrival,
                repaired: false,
                payload: Vec::new(),
            };
            buffer.insert(arrival, packet, Duration::from_millis(20));
            next += 1;
        }
        loop {
            match buffer.decide(at, Duration::from_micros(pcm.queued as u64), |_| None) {
                Playout::Play { packet, stretch, .. } => {
                    concealing = false;
                    let captured = trace[0].sent + (packet.seq.0 - 65_536 - trace[0].seq + 1) as i64 * 20_000;
                    let mut length = 20_000;
                    let mut change = |most: Duration| {
                        let mut done = 0;
                        loop {
                            noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                            let pitch = 4_000 + (noise >> 33) as i64 % 5_000;
                            if (noise >> 60) < 2 || done + pitch > most.as_micros() as i64 {
                                return done;
                            }
                            done += pitch;
                        }
                    };
                    match stretch {
                        Stretch::Faster(most) => {
                            let by = change(most);
                            length -= by;
                            removed += by;
                        }
                        Stretch::Slower(most) => {
                            let by = change(most);
                            length += by;
                            added += by;
                        }
                        Stretch::None => {}
                    }
                    pcm.push(length, Some(captured));
                }
                Playout::Recover { missing, .. } => {
                    pcm.push(missing.as_micros() as i64, None);
                }
                Playout::Conceal { duration } | Playout::Silence { duration } => {
                    run += 1;
                    concealing = true;
                    pcm.push(duration.as_micros() as i64, None);
                }
                Playout::Wait => {
                    if !concealing && run > 0 {
                        *runs.entry(run.min(10)).or_insert(0) += 1;
                        run = 0;
                    }
                    break;
                }
            }
        }
        if let Some(captured) = pcm.play() {
            let delay = now + 10_000 - captured;
            if now < last.sent {
                delays.push(delay);
            }
            window_delay += delay;
            window_count += 1;
        }
        if step % 1000 == 999 && now < last.sent {
            let concealed = buffer.stats().concealed;
            let loss = concealed.saturating_sub(window_concealed).as_secs_f64() * 10.0;
            windows.push(mos(window_delay as f64 / 1000.0 / window_count.max(1) as f64, loss));
            (window_delay, window_count, window_concealed) = (0, 0, concealed);
        }
        if std::env::var_os("VERBOSE").is_some() && step % 50 == 0 {
            let s = buffer.stats();
            println!("{:.1} target {:?} delay {:?} concealed {:?}", now as f64 / 1e6, s.target, s.delay, s.concealed);
        }
        step += 1;
    }
    let stats = buffer.stats();
    if std::env::var_os("RUNS").is_some() { println!("{runs:?} {stats:?}"); }
    let total = (end - start) as f64 / 1e6;
    delays.sort_unstable();
    windows.sort_by(f64::total_cmp);
    let at = |share: f64| delays.get((share * delays.len() as f64) as usize).map_or(0.0, |&d| d as f64 / 1e3);
    let mean = delays.iter().sum::<i64>() as f64 / 1e3 / delays.len().max(1) as f64;
    format!(
        "{{\"m2e_mean_ms\":{mean:.1},\"m2e_p50\":{:.1},\"m2e_p95\":{:.1},\"m2e_p99\":{:.1},\"conceal_ratio\":{:.5},\
         \"accel_ratio\":{:.5},\"preempt_ratio\":{:.5},\"dropped\":{},\"late\":{},\"emos_mean\":{:.3},\"emos_p10\":{:.3}}}",
        at(0.5),
        at(0.95),
        at(0.99),
        stats.concealed.as_secs_f64() / total,
        removed as f64 / 1e6 / total,
        added as f64 / 1e6 / total,
        stats.dropped,
        stats.late,
        windows.iter().sum::<f64>() / windows.len().max(1) as f64,
        windows.get((windows.len() as f64 * 0.1) as usize).copied().unwrap_or(0.0),
    )
}

/// ITU-T G.107 as a MOS, with Ie 5 and Bpl 15.
fn mos(delay_ms: f64, loss_percent: f64) -> f64 {
    let delay = 0.024 * delay_ms + if delay_ms > 177.3 { 0.11 * (delay_ms - 177.3) } else { 0.0 };
    let equipment = 5.0 + 90.0 * loss_percent / (loss_percent + 15.0);
    let r = (93.2 - delay - equipment).clamp(0.0, 100.0);
    1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6
}

fn config() -> Config {
    let var = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let mut c = Config::default();
    c.costs.concealment = Duration::from_millis(var("L", 10_000));
    c.costs.memory = Duration::from_millis(var("M", 20_000));
    c.costs.comfortable = Duration::from_millis(var("C", 150));
    c.costs.steep = var("S", 2) as u32;
    c
}
