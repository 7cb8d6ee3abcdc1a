//! Two calls, directly, over a clean link in virtual time: what one end does, the other notices.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use undertone_codec::pattern::{Pattern, read_number};
use undertone_engine::{Call, Config, Event, FRAME_SAMPLES, FrameTransform, Origin, Role, VideoConfig};
use undertone_media::{EncodedFrame, Input, Kind, Machine, Timestamp};
use undertone_sim::path::{LinkConfig, LinkModel};
use undertone_sim::world::{NodeId, World};
use undertone_transport::dtls::{Certificate, Crypto};

const STEP: Duration = Duration::from_millis(10);
const VIDEO: VideoConfig = VideoConfig {
    width: 320,
    height: 180,
    fps: 25,
    max_bitrate: undertone_media::Bitrate::from_kbps(400),
    prefer: undertone_engine::Prefer::Smooth,
};

/// Two ends and what they have told.
struct Pair {
    world: World<Call>,
    ends: [NodeId; 2],
    events: [Vec<Event>; 2],
    now: Timestamp,
    /// Phase of the tone that both speak.
    phase: f64,
    /// What each heard, all of it.
    heard: [Vec<i16>; 2],
    seen: Vec<u32>,
}

/// DTLS wants an instant; none of its clocks is read here.
#[allow(clippy::disallowed_methods)]
fn anchor() -> Instant {
    Instant::now()
}

/// Clean, and far enough that a packet arrives between two ticks.
fn link() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(15), ..LinkConfig::default() }
}

impl Pair {
    fn new(link: &LinkConfig) -> Pair {
        let mut world = World::new();
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 5000));
        let ends = [Role::Offer, Role::Answer].map(|role| {
            let number = if role == Role::Offer { 1 } else { 2 };
            let seed = [number; 32];
            let config = Config {
                video: (number == 1).then_some(VIDEO),
                video_slots: 1,
                audio_slots: 1,
                certificate: Certificate::from_seed(seed),
                crypto: Crypto::Seeded(seed),
                ..Config::new(role, vec![address(number)], seed, anchor())
            };
            world.add(Call::new(config), address(number))
        });
        world.link(ends[0], ends[1], LinkModel::new(7, 0, link));
        world.link(ends[1], ends[0], LinkModel::new(7, 1, link));
        world.connect((ends[0], 0), (ends[1], 0), Duration::ZERO);
        Pair {
            world,
            ends,
            events: Default::default(),
            now: Timestamp::ZERO,
            phase: 0.0,
            heard: Default::default(),
            seen: Vec::new(),
        }
    }

    fn end(&mut self, which: usize) -> &mut Call {
        self.world.node_mut(self.ends[which])
    }

    /// Both speak a tone of 300 Hz, the first also films.
    fn run(&mut self, span: Duration) {
        let pattern = Pattern::new(VIDEO.width, VIDEO.height);
        let end = self.now + span;
        while self.now < end {
            self.now += STEP;
            let now = self.now;
            self.world.run_until(now);
            let tone: [i16; FRAME_SAMPLES] = std::array::from_fn(|_| {
                self.phase += std::f64::consts::TAU * 300.0 / 16_000.0;
                (8_000.0 * self.phase.sin()) as i16
            });
            for which in 0..2 {
                while let Some(event) = self.end(which).event() {
                    self.events[which].push(event);
                }
                let mut heard = [0; FRAME_SAMPLES];
                self.end(which).pull_audio(now, &mut heard);
                self.heard[which].extend_from_slice(&heard);
                self.end(which).push_audio(now, &tone);
            }
            if now.as_micros().is_multiple_of(40_000) {
                let picture = pattern.frame((now.as_micros() / 40_000) as u32, now);
                self.end(0).push_video(now, &picture);
            }
            while let Some((_, picture)) = self.end(1).pull_video() {
                self.seen.extend(read_number(&picture));
            }
        }
    }

    fn loudness(&self, which: usize, last: Duration) -> f64 {
        let samples = (last.as_millis() * 16) as usize;
        let tail = &self.heard[which][self.heard[which].len() - samples..];
        (tail.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>() / samples as f64).sqrt()
    }
}

#[test]
fn both_hear_and_see_each_other() {
    let mut pair = Pair::new(&link());
    pair.run(Duration::from_secs(3));
    for which in 0..2 {
        assert!(matches!(pair.events[which][0], Event::Connected { .. }), "{:?}", pair.events[which]);
        assert!((4_000.0..8_000.0).contains(&pair.loudness(which, Duration::from_secs(1))));
        let stats = pair.end(which).stats();
        assert_eq!((stats.audio[0].concealed, stats.audio[0].undecodable), (0, 0));
    }
    assert!(pair.seen.len() >= 60, "{} pictures", pair.seen.len());
    assert!(pair.seen.windows(2).all(|two| two[1] > two[0]), "pictures come in order: {:?}", pair.seen);
}

/// A cipher that any eavesdropper breaks: enough to see that frames pass through it, once each way.
struct Xor(u8);

impl FrameTransform for Xor {
    fn outbound(&mut self, frame: &mut EncodedFrame) {
        // As end-to-end encryption does, it leaves what the packetiser reads: Opus' first byte, NAL headers.
        let clear = if frame.kind == Kind::Audio { 1 } else { frame.data.len() };
        frame.data.iter_mut().skip(clear).for_each(|byte| *byte ^= self.0);
        frame.data.push(self.0);
    }

    fn inbound(&mut self, frame: &mut EncodedFrame) -> bool {
        if frame.data.pop() != Some(self.0) {
            return false;
        }
        let clear = if frame.kind == Kind::Audio { 1 } else { frame.data.len() };
        frame.data.iter_mut().skip(clear).for_each(|byte| *byte ^= self.0);
        true
    }
}

#[test]
fn frames_pass_through_the_transform_on_both_sides() {
    let mut pair = Pair::new(&link());
    pair.end(0).set_transform(Box::new(Xor(0x5a)));
    pair.end(1).set_transform(Box::new(Xor(0x5a)));
    pair.run(Duration::from_secs(2));
    assert!(pair.loudness(1, Duration::from_secs(1)) > 4_000.0);
    assert!(pair.seen.len() >= 30, "{} pictures", pair.seen.len());
}

#[test]
fn frames_that_another_key_sealed_are_dropped_and_counted() {
    let mut pair = Pair::new(&link());
    pair.end(0).set_transform(Box::new(Xor(0x5a)));
    pair.end(1).set_transform(Box::new(Xor(0xa5)));
    pair.run(Duration::from_secs(2));
    let stats = pair.end(1).stats();
    assert!(stats.audio[0].undecodable > 50, "{stats:?}");
    assert_eq!(stats.audio[0].decoded, 0);
    assert!(pair.seen.is_empty());
}

#[test]
fn who_mutes_is_not_heard_and_can_be_heard_again() {
    let mut pair = Pair::new(&link());
    pair.run(Duration::from_secs(2));
    pair.end(0).mute(Kind::Audio, true);
    pair.run(Duration::from_secs(2));
    assert!(pair.loudness(1, Duration::from_secs(1)) < 50.0, "{}", pair.loudness(1, Duration::from_secs(1)));
    assert!(pair.loudness(0, Duration::from_secs(1)) > 4_000.0, "the other way is not touched");
    pair.end(0).mute(Kind::Audio, false);
    pair.run(Duration::from_secs(2));
    assert!(pair.loudness(1, Duration::from_secs(1)) > 4_000.0);
}

#[test]
fn what_was_lost_and_asked_for_is_told_from_what_was_made_up() {
    let link = LinkConfig { loss: undertone_sim::loss::Share::from_percent(10.0), ..link() };
    let mut pair = Pair::new(&link);
    pair.run(Duration::from_secs(10));
    let stats = pair.end(1).stats();
    let audio = stats.audio[0];
    assert!(audio.lost > 20, "{audio:?}");
    assert!(audio.repaired * 10 > audio.lost * 9, "{audio:?}");
    assert!(audio.concealed * 50 < audio.voiced(), "{audio:?}");
    assert!(pair.end(1).played().iter().all(|(_, played)| played.origin != Origin::Silence));
}

#[test]
fn pictures_come_where_many_packets_get_lost() {
    for (percent, least) in [(20.0, 480), (40.0, 450), (55.0, 350)] {
        let link = LinkConfig { loss: undertone_sim::loss::Share::from_percent(percent), ..link() };
        let mut pair = Pair::new(&link);
        pair.run(Duration::from_secs(5));
        pair.seen.clear();
        pair.run(Duration::from_secs(20));
        assert!(pair.seen.len() >= least, "{} of 500 pictures at {percent} %", pair.seen.len());
        assert!(pair.end(1).stats().video[0].freezes <= 1, "{:?}", pair.end(1).stats().video);
    }
}

#[test]
fn who_leaves_is_known_to_have_left() {
    let mut pair = Pair::new(&link());
    pair.run(Duration::from_secs(1));
    let now = pair.now;
    pair.end(0).leave(now);
    pair.run(Duration::from_millis(200));
    for which in 0..2 {
        assert_eq!(pair.events[which].last(), Some(&Event::Ended), "{:?}", pair.events[which]);
        assert!(pair.end(which).is_over());
    }
    assert_eq!(pair.end(0).deadline(), None, "nothing is left to do");
}

#[test]
fn rubbish_is_counted_and_disturbs_nobody() {
    let mut pair = Pair::new(&link());
    pair.run(Duration::from_secs(1));
    let (from, to) = (SocketAddr::from(([10, 0, 0, 1], 5000)), SocketAddr::from(([10, 0, 0, 2], 5000)));
    let mut noise = 1u32;
    for length in 0..2_000usize {
        let mut bytes: Vec<u8> = (0..length % 300)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        let now = pair.now;
        pair.end(1).handle(now, Input::Datagram { from, to, bytes: &mut bytes });
        pair.end(1).handle(now, Input::Signal { channel: 0, message: &bytes });
    }
    pair.run(Duration::from_secs(1));
    let stats = pair.end(1).stats();
    assert!(stats.session.bad + stats.session.unauthentic > 1_000, "{:?}", stats.session);
    assert!(pair.loudness(1, Duration::from_millis(500)) > 4_000.0);
}
