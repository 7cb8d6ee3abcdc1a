//! What a peer received, held against what the others sent.

use super::material::{Material, nals, tone_anywhere};
use std::collections::BTreeMap;
use std::time::Duration;
use undertone_codec::pattern::read_number;
use undertone_codec::{h264, opus};
use undertone_media::Timestamp;

/// Something that happened to a peer.
#[derive(Debug)]
pub enum Event {
    /// ICE and DTLS are through.
    Connected,
    /// An Opus packet came on the line of this name.
    Audio(String, Vec<u8>),
    /// An access unit came on the line of this name.
    Video(String, Vec<u8>),
    /// Somebody asked for a key frame.
    KeyFrameAsked,
    /// What the peer thinks that its path carries, in bit/s, after feedback.
    Estimate(u64),
    /// What our reports tell the peer of a stream that it sends.
    Reported {
        /// By the time between its report and ours.
        round_trip: Duration,
        /// The share lost, 0 to 1.
        loss: f64,
    },
    /// What the peer counted, for people.
    Counted(String),
    /// The peer is over, and why.
    Over(String),
}

/// All that a peer received, in order, by line.
#[derive(Default)]
pub struct Ledger {
    /// ICE and DTLS are through.
    pub connected: bool,
    /// Opus packets.
    pub audio: BTreeMap<String, Vec<Vec<u8>>>,
    /// Access units.
    pub video: BTreeMap<String, Vec<Vec<u8>>>,
    /// How often somebody asked for a key frame.
    pub key_frames_asked: usize,
    /// What feedback made the peer think that its path carries, in bit/s.
    pub estimate: Option<u64>,
    /// The newest round trip that reports showed, and the share lost.
    pub reported: Option<(Duration, f64)>,
    /// What the peer counted last, for people.
    counted: BTreeMap<String, String>,
}

impl Ledger {
    /// Writes an event down.
    pub fn note(&mut self, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::Audio(line, packet) => self.audio.entry(line).or_default().push(packet),
            Event::Video(line, unit) => self.video.entry(line).or_default().push(unit),
            Event::KeyFrameAsked => self.key_frames_asked += 1,
            Event::Estimate(estimate) => self.estimate = Some(estimate),
            Event::Reported { round_trip, loss } => self.reported = Some((round_trip, loss)),
            Event::Counted(what) => {
                let line = what.split(' ').next().unwrap_or_default().to_owned();
                self.counted.insert(line, what);
            }
            Event::Over(why) => panic!("the peer gave up: {why}"),
        }
    }

    /// The line on which at least `count` of these Opus packets came one after the other, byte for byte.
    pub fn line_that_heard(&self, from: &Material, count: usize) -> Option<&str> {
        let place = |packet: &Vec<u8>| from.audio.iter().position(|sent| sent == packet);
        let mut lines = self.audio.iter();
        lines
            .find(|(_, got)| longest_run(got.iter().map(place), from.audio.len()) >= count)
            .map(|(line, _)| &line[..])
    }

    /// The line on which at least `count` of these pictures came one after the other, byte for byte in every
    /// NAL unit.
    pub fn line_that_saw(&self, from: &Material, count: usize) -> Option<&str> {
        let sent: Vec<_> = from.video.iter().map(|unit| nals(unit)).collect();
        let place = |unit: &Vec<u8>| {
            let got = nals(unit);
            sent.iter().position(|sent| *sent == got)
        };
        let mut lines = self.video.iter();
        lines
            .find(|(_, got)| longest_run(got.iter().map(place), sent.len()) >= count)
            .map(|(line, _)| &line[..])
    }

    /// Whether every packet and every picture that came is, byte for byte, one that somebody of these sent.
    pub fn assert_nothing_strange(&self, from: &[&Material]) {
        for packet in self.audio.values().flatten() {
            assert!(
                from.iter().any(|it| it.audio.contains(packet)),
                "an Opus packet that nobody sent: {packet:02x?}"
            );
        }
        let sent: Vec<_> = from.iter().flat_map(|it| &it.video).map(|unit| nals(unit)).collect();
        for unit in self.video.values().flatten() {
            let got = nals(unit);
            let kinds: Vec<u8> = got.iter().map(|nal| nal[0] & 0x1f).collect();
            assert!(
                sent.contains(&got),
                "a picture that nobody sent: {} bytes, NAL types {kinds:?}",
                unit.len()
            );
        }
    }

    /// Decodes the last second of sound that came: the share of its energy that lies at `hz`.
    pub fn decoded_tone(&self, hz: f64) -> f64 {
        let share = |packets: &Vec<Vec<u8>>| {
            let config = opus::DecoderConfig { level: opus::Level::Plain, ..Default::default() };
            let mut decoder = opus::Decoder::new(config).expect("an Opus decoder");
            let mut pcm = Vec::new();
            for packet in &packets[packets.len().saturating_sub(50)..] {
                decoder.decode(packet, &mut pcm).expect("an Opus packet that decodes");
            }
            tone_anywhere(&pcm, hz)
        };
        self.audio.values().map(share).fold(0.0, f64::max)
    }

    /// Decodes all pictures that came, and reads their numbers; those that cannot be decoded are counted apart.
    pub fn decoded_numbers(&self) -> (Vec<u32>, usize) {
        let (mut numbers, mut bad) = (Vec::new(), 0);
        for units in self.video.values() {
            let mut decoder = h264::Decoder::new();
            for unit in units {
                match decoder.decode(unit, Timestamp::ZERO) {
                    Ok(picture) => numbers.extend(picture.as_ref().and_then(read_number)),
                    Err(_) => bad += 1,
                }
            }
        }
        (numbers, bad)
    }
}

/// A test that fails says how far its peers came.
impl Drop for Ledger {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let count = |lines: &BTreeMap<String, Vec<Vec<u8>>>| -> Vec<usize> {
                lines.values().map(Vec::len).collect()
            };
            eprintln!(
                "a peer: connected {}, {:?} packets of sound, {:?} pictures, asked for {} key frames, reports {:?}, \
                 estimate {:?}",
                self.connected,
                count(&self.audio),
                count(&self.video),
                self.key_frames_asked,
                self.reported,
                self.estimate,
            );
            self.counted.values().for_each(|what| eprintln!("  {what}"));
        }
    }
}

/// The longest run of places that follow each other, in a sequence that begins again after `length`.
fn longest_run(places: impl Iterator<Item = Option<usize>>, length: usize) -> usize {
    let (mut longest, mut run, mut last) = (0, 0, None);
    for place in places {
        run = match (last, place) {
            (Some(last), Some(place)) if place == (last + 1) % length => run + 1,
            (_, Some(_)) => 1,
            (_, None) => 0,
        };
        (longest, last) = (longest.max(run), place);
    }
    longest
}
