//! What one listener heard and saw of one speaker, and what can be said about it.

use super::outcome::{Direction, Percentiles, Recovered, Video, Wire};
use std::collections::VecDeque;
use std::time::Duration;
use undertone_codec::scale::Scaler;
use undertone_engine::{AudioSlotStats, Origin, Played, Stats};
use undertone_media::{Bitrate, SampleRate, Timestamp, VideoFrame};
use undertone_sim::score;

/// One point of the curves in a report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Seconds into the call.
    pub secs: f64,
    /// Mouth to ear, mean since the last point.
    pub m2e_ms: Option<f64>,
    /// What the jitter buffer aimed at.
    pub target_ms: f64,
    /// Share of played steps that were made up, since the last point.
    pub concealed_percent: f64,
    /// Share of packets that did not come the first time, since the last point.
    pub lost_percent: f64,
    /// Everything that the speaker sent.
    pub sent_kbps: f64,
    /// Everything that reached the listener.
    pub received_kbps: f64,
    /// What the speaker took the path for.
    pub estimate_kbps: f64,
    /// What of the sound was made up, as the listener's end told the speaker's last.
    pub told_percent: Option<f64>,
}

/// Pictures kept to compare with what arrives: beyond this delay nobody calls it live.
const KEPT_PICTURES: usize = 96;

/// Listens.
#[derive(Clone, Debug, Default)]
pub struct Ear {
    /// Samples a second of what was said and heard.
    pub rate: SampleRate,
    /// What was said, from the start of the call.
    pub sent: Vec<i16>,
    /// What came out of the speaker, on the same clock.
    pub received: Vec<i16>,
    /// The curves.
    pub samples: Vec<Sample>,
    m2e_ms: Vec<f64>,
    frames: [u64; Origin::COUNT],
    since: Since,
    packet_ms: Vec<f64>,
    eye: Option<Eye>,
    /// Stills for the report: (seconds, picture).
    pub stills: Vec<(f64, VideoFrame)>,
}

/// Sums since the last sample.
#[derive(Clone, Debug, Default)]
struct Since {
    m2e_ms: f64,
    m2e_count: u32,
    played: u32,
    concealed: u32,
    lost: u64,
    packets: u64,
    sent: u64,
    received: u64,
}

/// The pictures of one direction.
#[derive(Clone, Debug)]
struct Eye {
    fps: u32,
    started: Timestamp,
    /// The luma of what the camera took: (number, picture).
    taken: VecDeque<(u64, VideoFrame)>,
    shown: Vec<Timestamp>,
    delays_ms: Vec<f64>,
    psnr_db: Vec<f64>,
    scaler: Scaler,
    bytes: u64,
}

impl Ear {
    /// Has heard nothing yet.
    pub fn new(rate: SampleRate) -> Ear {
        Ear { rate, ..Ear::default() }
    }

    /// What was said in the last 10 ms, and what was heard.
    pub fn hear(&mut self, said: &[i16], heard: &[i16], played: impl IntoIterator<Item = Played>) {
        if self.received.is_empty() {
            // What is pulled now plays during the step to come; what is pushed now was said in the last.
            self.received.resize(said.len(), 0);
        }
        self.sent.extend_from_slice(said);
        self.received.extend_from_slice(heard);
        played.into_iter().for_each(|played| self.count(played));
    }

    fn count(&mut self, played: Played) {
        self.frames[played.origin as usize] += 1;
        if played.origin != Origin::Silence {
            self.since.played += 1;
            self.since.concealed += u32::from(played.origin == Origin::Plc);
        }
        if let Some(m2e) = played.mouth_to_ear {
            let m2e = m2e.as_secs_f64() * 1000.0;
            self.m2e_ms.push(m2e);
            self.since.m2e_ms += m2e;
            self.since.m2e_count += 1;
        }
    }

    /// The camera takes a picture.
    pub fn film(&mut self, now: Timestamp, fps: u32, number: u64, picture: &VideoFrame) {
        let eye = self.eye.get_or_insert_with(|| Eye {
            fps,
            started: now,
            taken: VecDeque::new(),
            shown: Vec::new(),
            delays_ms: Vec::new(),
            psnr_db: Vec::new(),
            scaler: Scaler::new(),
            bytes: 0,
        });
        eye.taken.push_back((number, picture.clone()));
        if eye.taken.len() > KEPT_PICTURES {
            eye.taken.pop_front();
        }
    }

    /// The screen shows a picture.
    pub fn see(&mut self, now: Timestamp, picture: &VideoFrame) {
        let Some(eye) = &mut self.eye else { return };
        eye.shown.push(now);
        eye.delays_ms.push(now.since(picture.captured).as_secs_f64() * 1000.0);
        // The date of capture comes by way of 90 kHz ticks and NTP fractions: the nearest picture is it.
        let nearest = eye
            .taken
            .iter()
            .min_by_key(|(_, taken)| taken.captured.micros_from(picture.captured).unsigned_abs());
        if let Some((_, taken)) = nearest {
            // It is looked at as large as it was filmed.
            let large = eye.scaler.fit(picture, taken.width, taken.height);
            eye.psnr_db.push(psnr(taken.y(), large.y()));
        }
        if eye.shown.len() % 90 == 45 && self.stills.len() < 4 {
            self.stills.push((now.as_secs_f64(), picture.clone()));
        }
    }

    /// Adds a point to the curves: of the voice in one slot, or of all.
    pub fn sample(
        &mut self,
        now: Timestamp,
        step: Duration,
        speaker: &Stats,
        listener: &Stats,
        slot: Option<usize>,
    ) {
        let heard =
            listener.audio.iter().enumerate().filter(|(index, _)| slot.is_none_or(|slot| slot == *index));
        let mut audio = AudioSlotStats::default();
        for (_, one) in heard {
            audio.received += one.received;
            audio.lost += one.lost;
            audio.repaired += one.repaired;
            audio.target = audio.target.max(one.target);
        }
        let since = &mut self.since;
        let kbps = |bytes: u64, before: u64| (bytes - before) as f64 * 8.0 / step.as_secs_f64() / 1000.0;
        let packets = audio.received + audio.lost.saturating_sub(audio.repaired);
        let fresh = packets.saturating_sub(since.packets);
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
        self.samples.push(Sample {
            secs: now.as_secs_f64(),
            m2e_ms: (since.m2e_count > 0).then(|| since.m2e_ms / f64::from(since.m2e_count)),
            target_ms: audio.target.as_secs_f64() * 1000.0,
            concealed_percent: share(u64::from(since.concealed), u64::from(since.played)),
            lost_percent: share(audio.lost.saturating_sub(since.lost), fresh).min(100.0),
            sent_kbps: kbps(speaker.wire_sent.as_bytes(), since.sent),
            received_kbps: kbps(listener.wire_received.as_bytes(), since.received),
            estimate_kbps: speaker.estimate.as_kbps_f64(),
            told_percent: speaker.told.map(|told| f64::from(told.shares.made_up) * 100.0 / 255.0),
        });
        if let Some(plan) = speaker.plan {
            self.packet_ms.push(plan.packet.as_secs_f64() * 1000.0);
        }
        if let Some(eye) = &mut self.eye {
            eye.bytes = listener.video.iter().map(|video| video.bytes).sum();
        }
        *since = Since {
            lost: audio.lost,
            packets,
            sent: speaker.wire_sent.as_bytes(),
            received: listener.wire_received.as_bytes(),
            ..Since::default()
        };
    }

    /// The result of the call, of which speech began at `spoke`.
    pub fn direction(
        &self,
        end: Timestamp,
        spoke: Option<Timestamp>,
        speaker: &Stats,
        listener: &Stats,
    ) -> Direction {
        let secs = end.as_secs_f64().max(1e-9);
        let kbps = |bytes: u64| bytes as f64 * 8.0 / secs / 1000.0;
        let count = |origin: Origin| self.frames[origin as usize];
        let voiced = self.frames.iter().sum::<u64>() - count(Origin::Silence);
        let share = |origin| if voiced == 0 { 0.0 } else { count(origin) as f64 / voiced as f64 };
        let m2e = Percentiles::of(&self.m2e_ms);
        let concealed = share(Origin::Plc);
        let lag = (m2e.p50.unwrap_or(0.0) / 1000.0 * f64::from(self.rate.hz())) as usize;
        let from = spoke
            .map_or(self.sent.len(), |spoke| self.rate.samples(spoke.since(Timestamp::ZERO)))
            .min(self.sent.len());
        let heard = &self.received[from..self.sent.len()];
        let gap = score::longest_gap(&self.sent[from..], heard, self.rate.hz(), lag);
        Direction {
            m2e_ms: m2e,
            concealed_ratio: concealed,
            recovered: Recovered {
                lbrr: share(Origin::Lbrr),
                red: share(Origin::Copy),
                rlc: share(Origin::Code),
                dred: share(Origin::Dred),
                rtx: share(Origin::Rtx),
                plc: concealed,
            },
            wire_kbps: Wire {
                sent: kbps(speaker.wire_sent.as_bytes()),
                received: kbps(listener.wire_received.as_bytes()),
            },
            payload_kbps: kbps(speaker.payload_sent.as_bytes()),
            packet_ms: mean(&self.packet_ms),
            gap_ms: gap.as_secs_f64() * 1000.0,
            mos: score::mos(m2e.p50.unwrap_or(0.0), concealed * 100.0),
            recover90_s: None,
            video: None,
        }
    }

    /// The pictures' part of the result, for a path that could carry `capacity` on average.
    pub fn video(&self, end: Timestamp, capacity: Option<Bitrate>) -> Option<Video> {
        let eye = self.eye.as_ref()?;
        let span = end.since(eye.started).as_secs_f64().max(1e-9);
        let mut edges = vec![eye.started];
        edges.extend(&eye.shown);
        edges.push(end);
        let frozen = frozen(&edges, 1.0 / f64::from(eye.fps)).as_secs_f64();
        Some(Video {
            fps: eye.shown.len() as f64 / span,
            freeze_ratio: (frozen / span).min(1.0),
            delay_ms: Percentiles::of(&eye.delays_ms),
            psnr_db: (!eye.psnr_db.is_empty()).then(|| mean(&eye.psnr_db)),
            utilisation: capacity
                .filter(|capacity| *capacity > Bitrate::ZERO)
                .map(|capacity| eye.bytes as f64 * 8.0 / span / capacity.as_bps() as f64),
        })
    }

    /// How long after `step` the listener received 90 % of `wanted` again, over a second.
    pub fn recovery(&self, step: Timestamp, wanted_kbps: f64) -> Option<f64> {
        let from = step.as_secs_f64();
        let after: Vec<&Sample> = self.samples.iter().filter(|sample| sample.secs > from).collect();
        after
            .windows(5)
            .find(|five| {
                five.iter().map(|sample| sample.received_kbps).sum::<f64>() / 5.0 >= 0.9 * wanted_kbps
            })
            .map(|five| five[4].secs - from)
    }

    /// What the listener received per second, on average, between two moments.
    pub fn received_kbps(&self, from: Timestamp, to: Timestamp) -> f64 {
        let between = self
            .samples
            .iter()
            .filter(|sample| sample.secs > from.as_secs_f64() && sample.secs <= to.as_secs_f64());
        mean(&between.map(|sample| sample.received_kbps).collect::<Vec<f64>>())
    }
}

/// How long pictures stood still that came at these moments, mostly `usual` seconds apart: all gaps of more than three
/// usual ones, or of one and 150 ms if that is more (W3C webrtc-stats, `freezeCount`).
pub fn frozen(moments: &[Timestamp], usual: f64) -> Duration {
    let longest = (3.0 * usual).max(usual + 0.15);
    let gaps = moments.windows(2).map(|pair| pair[1].since(pair[0]));
    gaps.filter(|gap| gap.as_secs_f64() > longest).sum()
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Peak signal-to-noise ratio of two luma planes, in dB; 99 if they are equal.
fn psnr(a: &[u8], b: &[u8]) -> f64 {
    let squares: u64 = a.iter().zip(b).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum();
    if squares == 0 { 99.0 } else { 10.0 * (255.0 * 255.0 * a.len() as f64 / squares as f64).log10() }
}
