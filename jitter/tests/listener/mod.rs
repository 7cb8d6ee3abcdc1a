//! A listener without ears: drives a jitter buffer as an engine does, and writes down what would have been
//! heard.
//!
//! Stretching depends on the sound; here each change takes out or puts in pitch periods of 4 to 9 ms, at
//! least one, and one in eight is refused.

#![allow(dead_code, unreachable_pub)]

use std::collections::VecDeque;
use std::time::Duration;
use undertone_jitter::{Config, Contents, JitterBuffer, Playout, Stats, Stretch};
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

pub const TICK: i64 = 10_000;

/// One packet's journey, in µs of the listener's clock but for `media`.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub seq: u64,
    /// Capture of its first sample, as its timestamp says, in µs.
    pub media: i64,
    pub at: i64,
    pub repaired: bool,
}

/// What 10 ms sounded like.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    pub now: i64,
    /// From capture of the last sample until it had been played; `None` if it was made up.
    pub delay: Option<i64>,
}

pub struct Heard {
    pub ticks: Vec<Tick>,
    pub stats: Stats,
    pub played: Vec<u64>,
    /// Sound taken out and put in by stretching, in µs.
    pub removed: i64,
    pub added: i64,
    pub recovered: u64,
    /// What of `removed` was taken out of talk and not out of pauses.
    pub hurried: i64,
}

impl Heard {
    /// Delays of real sound, sorted, in µs.
    pub fn delays(&self) -> Vec<i64> {
        let mut delays: Vec<i64> = self.ticks.iter().filter_map(|tick| tick.delay).collect();
        delays.sort_unstable();
        delays
    }

    pub fn mean_ms(&self) -> f64 {
        let delays = self.delays();
        delays.iter().sum::<i64>() as f64 / 1000.0 / delays.len().max(1) as f64
    }

    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let delays = self.delays();
        delays.get(delays.len() * percent / 100).map_or(0.0, |&d| d as f64 / 1000.0)
    }

    pub fn concealed_percent(&self) -> f64 {
        self.stats.concealed.as_secs_f64() * 100.0 / (self.ticks.len() as f64 / 100.0)
    }

    pub fn share_percent(&self, micros: i64) -> f64 {
        micros as f64 / 10_000.0 / (self.ticks.len() as f64 / 100.0)
    }
}

/// Decoded sound that has not been played, in pieces.
#[derive(Default)]
struct Pcm {
    pieces: VecDeque<(i64, Option<i64>)>,
    queued: i64,
}

impl Pcm {
    /// Adds a piece whose last sample was captured then; `None`: it is made up.
    fn push(&mut self, length: i64, captured: Option<i64>) {
        self.queued += length;
        self.pieces.push_back((length, captured));
    }

    /// Plays 10 ms; says when the last sample of it was captured.
    fn play(&mut self) -> Option<i64> {
        let mut rest = TICK;
        let mut captured = None;
        while rest > 0 {
            let (length, end) = self.pieces.front_mut()?;
            let part = rest.min(*length);
            rest -= part;
            *length -= part;
            self.queued -= part;
            captured = end.map(|end| end - *length);
            if *length == 0 {
                self.pieces.pop_front();
            }
        }
        captured
    }
}

/// How a call is listened to.
pub struct Listener<'a> {
    pub config: Config,
    pub contents: Contents,
    /// Until when a missing packet may be repaired, asked at a time in µs.
    pub repairable: &'a dyn Fn(u64, i64) -> Option<i64>,
    /// How late a repair is, in µs, as the engine knows from the round trip; `None` if nothing is repaired.
    pub repair: Option<u64>,
    /// How long the sender says that repairs are to be waited for, if it does.
    pub patience: Option<Duration>,
    /// Whether nobody speaks in what was captured then, in µs.
    pub pause: &'a dyn Fn(i64) -> bool,
    /// When playout begins and ends; the first tick is at its beginning.
    pub from: i64,
    pub until: i64,
}

pub const PACKET: Duration = Duration::from_millis(20);

impl Default for Listener<'_> {
    fn default() -> Self {
        Listener {
            config: Config::default(),
            contents: Contents::plain(PACKET),
            repairable: &|_, _| None,
            repair: None,
            patience: None,
            pause: &|_| false,
            from: 0,
            until: 60_000_000,
        }
    }
}

pub fn packet(arrival: &Arrival, clock_rate: u32) -> Packet {
    let ticks = i128::from(arrival.media) * i128::from(clock_rate) / 1_000_000;
    Packet {
        seq: SeqNo(65_536 + arrival.seq),
        time: MediaTime((1 << 32) + ticks as u64),
        marker: false,
        payload_type: 111,
        arrival: Timestamp::from_micros(arrival.at as u64),
        repaired: arrival.repaired,
        payload: Vec::new(),
    }
}

impl Listener<'_> {
    /// Listens to packets, which need not be sorted.
    pub fn listen(&self, arrivals: &[Arrival]) -> Heard {
        let mut arrivals = arrivals.to_vec();
        arrivals.sort_by_key(|arrival| arrival.at);
        let mut arrivals = arrivals.iter().peekable();
        let mut buffer = JitterBuffer::new(self.config);
        if let Some(after) = self.repair {
            buffer.expect_repair(Duration::from_micros(after));
        }
        if self.patience.is_some() {
            buffer.wait_for_repairs(self.patience);
        }
        let mut pcm = Pcm::default();
        let mut noise = 1u64;
        let mut heard = Heard {
            ticks: Vec::new(),
            stats: Stats::default(),
            played: Vec::new(),
            removed: 0,
            added: 0,
            recovered: 0,
            hurried: 0,
        };
        // Packets carry no capture time; media time stands for it.
        let media = |packet: &Packet| {
            ((packet.time.0 - (1 << 32)) as i128 * 1_000_000 / i128::from(self.config.clock_rate)) as i64
        };
        let span = self.contents.duration.as_micros() as i64;
        let mut now = self.from;
        while now < self.until {
            while let Some(arrival) = arrivals.next_if(|arrival| arrival.at <= now) {
                let at = Timestamp::from_micros(arrival.at as u64);
                buffer.insert(at, packet(arrival, self.config.clock_rate), self.contents);
            }
            loop {
                let queued = Duration::from_micros(pcm.queued as u64);
                let repairable = |seq: SeqNo| {
                    let until = (self.repairable)(seq.0.checked_sub(65_536)?, now)?;
                    Some(Timestamp::from_micros(until as u64))
                };
                match buffer.decide(Timestamp::from_micros(now as u64), queued, repairable) {
                    Playout::Play { packet, begun, stretch, .. } => {
                        heard.played.push(packet.seq.0 - 65_536);
                        let changed = match stretch {
                            Stretch::None => 0,
                            Stretch::Faster(most) => -stretched(&mut noise, most),
                            Stretch::Slower(most) => stretched(&mut noise, most),
                        };
                        let pause = (self.pause)(media(&packet));
                        buffer.heard(pause);
                        heard.removed += (-changed).max(0);
                        heard.hurried += if pause { 0 } else { (-changed).max(0) };
                        heard.added += changed.max(0);
                        pcm.push(span - begun.as_micros() as i64 + changed, Some(media(&packet) + span));
                    }
                    Playout::Recover { missing, .. } => {
                        heard.recovered += 1;
                        pcm.push(missing.as_micros() as i64, None);
                    }
                    Playout::Conceal { duration } | Playout::Silence { duration } => {
                        pcm.push(duration.as_micros() as i64, None);
                    }
                    Playout::Wait => break,
                }
            }
            let delay = pcm.play().map(|captured| now + TICK - captured);
            heard.ticks.push(Tick { now, delay });
            now += TICK;
        }
        heard.stats = *buffer.stats();
        heard
    }
}

fn stretched(noise: &mut u64, most: Duration) -> i64 {
    let mut done = 0;
    loop {
        *noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pitch = 4_000 + (*noise >> 33) as i64 % 5_000;
        let refused = *noise >> 61 == 0;
        if refused || (done > 0 && done + pitch > most.as_micros() as i64) {
            return done;
        }
        done += pitch;
    }
}

/// One packet every 20 ms, each over a path of 20 ms.
pub fn clean(packets: u64) -> Vec<Arrival> {
    (0..packets)
        .map(|seq| {
            let media = seq as i64 * 20_000;
            Arrival { seq, media, at: media + 20_000, repaired: false }
        })
        .collect()
}
