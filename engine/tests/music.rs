//! Music in a call: the full band where the path carries it, a voice where it does not.

mod oneway;

use oneway::OneWay;
use std::f64::consts::TAU;
use std::time::Duration;
use undertone_engine::{AudioSlotStats, Config, Event, Role};
use undertone_media::{Bitrate, SampleRate, Sound};
use undertone_sim::loss::Share;
use undertone_sim::path::{Change, LinkConfig};

const RATE: f64 = 48_000.0;
/// What is played: one note in a voice's band, one above all voices.
const NOTES: [f64; 2] = [440.0, 13_000.0];

fn link() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(20), ..LinkConfig::default() }
}

fn music(config: &mut Config) {
    config.sample_rate = SampleRate::Full;
    config.sound = Sound::Music;
}

/// Two notes without an end.
#[derive(Default)]
struct Player(u64);

impl Player {
    fn next(&mut self, frame: usize, rate: f64) -> Vec<i16> {
        let from = self.0;
        self.0 += frame as u64;
        let at = |n: u64| NOTES.iter().map(|hz| (hz * TAU * n as f64 / rate).sin()).sum::<f64>();
        (from..self.0).map(|n| (6_000.0 * at(n)) as i16).collect()
    }
}

struct Heard {
    pcm: Vec<i16>,
    events: Vec<(f64, Event)>,
}

/// So many seconds of it.
fn play(call: &mut OneWay, player: &mut Player, seconds: u64) -> Heard {
    let mut heard = Heard { pcm: Vec::new(), events: Vec::new() };
    for step in 0..seconds * 100 {
        heard.pcm.extend(call.step(Some(&player.next(480, RATE))));
        while let Some(event) = call.talker().event() {
            heard.events.push((step as f64 / 100.0, event));
        }
    }
    heard
}

/// How much of the power is at one frequency (Goertzel): half of it for each of two notes.
fn share(pcm: &[i16], hz: f64, rate: f64) -> f64 {
    // In pieces, since stretched playout keeps no phase for long.
    let piece = rate as usize / 50;
    let (mut at, mut all) = (0.0, 0.0);
    for pcm in pcm.chunks_exact(piece) {
        let (re, im) = pcm.iter().enumerate().fold((0.0, 0.0), |(re, im), (n, &sample)| {
            let (sin, cos) = (TAU * hz * n as f64 / rate).sin_cos();
            (re + f64::from(sample) * cos, im + f64::from(sample) * sin)
        });
        at += 2.0 * (re * re + im * im) / piece as f64;
        all += pcm.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>();
    }
    at / all
}

fn last_seconds(heard: &Heard, seconds: usize) -> &[i16] {
    &heard.pcm[heard.pcm.len() - seconds * 48_000..]
}

fn slot(call: &mut OneWay) -> AudioSlotStats {
    call.listener().stats().audio[0]
}

#[test]
fn the_upper_octaves_arrive() {
    let mut call = OneWay::connect(&link(), music);
    let heard = play(&mut call, &mut Player::default(), 6);
    for hz in NOTES {
        let share = share(last_seconds(&heard, 3), hz, RATE);
        assert!((0.4..0.6).contains(&share), "{hz} Hz: {share}");
    }
    let stats = call.talker().stats();
    let plan = stats.plan.expect("a plan");
    assert_eq!((stats.sending, plan.packet), (Some(Sound::Music), Duration::from_millis(20)));
    assert_eq!(plan.bitrate, Bitrate::from_kbps(128));
    let slot = slot(&mut call);
    assert_eq!((slot.concealed, slot.undecodable), (0, 0), "{slot:?}");
    assert!(!heard.events.iter().any(|(_, event)| matches!(event, Event::Sending { .. })));
}

#[test]
fn who_hears_16_khz_hears_music_and_who_hears_48_hears_voices() {
    let narrow = |config: &mut Config| {
        if config.role == Role::Offer {
            music(config);
        }
    };
    let mut call = OneWay::connect(&link(), narrow);
    let heard = play(&mut call, &mut Player::default(), 4);
    let tail = &heard.pcm[heard.pcm.len() - 16_000..];
    assert!(share(tail, NOTES[0], 16_000.0) > 0.9);
    assert_eq!(slot(&mut call).concealed, 0);

    let full = |config: &mut Config| {
        if config.role == Role::Answer {
            config.sample_rate = SampleRate::Full;
        }
    };
    let mut call = OneWay::connect(&link(), full);
    let (mut player, mut pcm) = (Player::default(), Vec::new());
    for _ in 0..400 {
        pcm.extend(call.step(Some(&player.next(160, 16_000.0))));
    }
    let tail = &pcm[pcm.len() - 48_000..];
    // At 16 kHz the note of 13 kHz is one of 3.
    let share = share(tail, NOTES[0], RATE) + share(tail, 3_000.0, RATE);
    assert!(share > 0.8, "{share}");
    assert_eq!(slot(&mut call).concealed, 0);
}

#[test]
fn losses_are_asked_for_or_copied() {
    for percent in [2.0, 10.0, 20.0] {
        let mut call = OneWay::connect(&link(), music);
        call.change(Change::Loss(Share::from_percent(percent)));
        let heard = play(&mut call, &mut Player::default(), 20);
        assert_eq!(call.talker().stats().sending, Some(Sound::Music), "{percent} %");
        let slot = slot(&mut call);
        assert!(slot.lost > 5, "{percent} %: {slot:?}");
        assert!(slot.concealed * 100 <= slot.voiced(), "{percent} %: {slot:?}");
        let back = if percent < 5.0 { slot.rtx } else { slot.copied };
        assert!(back as f64 > slot.voiced() as f64 * percent / 200.0, "{percent} %: {slot:?}");
        let share = share(last_seconds(&heard, 10), NOTES[1], RATE);
        assert!(share > 0.35, "{percent} %: {share}");
    }
}

#[test]
fn where_the_path_gets_thin_a_voice_is_sent_until_it_is_wide_again() {
    let mut call = OneWay::connect(&link(), music);
    let mut player = Player::default();
    play(&mut call, &mut player, 5);
    call.change(Change::Rate(Some(Bitrate::from_kbps(30))));
    let thin = play(&mut call, &mut player, 20);
    let sent = |heard: &Heard| -> Vec<(f64, Sound)> {
        let sending = |(at, event): &(f64, Event)| match event {
            Event::Sending { sound, .. } => Some((*at, *sound)),
            _ => None,
        };
        heard.events.iter().filter_map(sending).collect()
    };
    let changes = sent(&thin);
    assert!(matches!(changes[..], [(at, Sound::Speech)] if at < 2.0), "{changes:?}");
    assert_eq!(call.talker().stats().sending, Some(Sound::Speech));
    let tail = last_seconds(&thin, 8);
    assert!(share(tail, NOTES[0], RATE) > 0.5 && share(tail, NOTES[1], RATE) < 0.01);
    let before = slot(&mut call);
    call.change(Change::Rate(None));
    let wide = play(&mut call, &mut player, 40);
    let changes = sent(&wide);
    assert!(matches!(changes[..], [(at, Sound::Music)] if (5.0..25.0).contains(&at)), "{changes:?}");
    assert!(share(last_seconds(&wide, 5), NOTES[1], RATE) > 0.4);
    // Going over is no gap.
    let after = slot(&mut call);
    let made_up = after.concealed + after.silence - before.concealed - before.silence;
    assert!(made_up <= 10, "{made_up} steps: {before:?} {after:?}");
}

#[test]
fn the_same_call_twice_is_the_same() {
    let once = || {
        let link = LinkConfig { loss: Share::from_percent(10.0), ..link() };
        let mut call = OneWay::connect(&link, music);
        let heard = play(&mut call, &mut Player::default(), 5);
        (heard.pcm, call.talker().stats().wire_sent)
    };
    assert!(once() == once());
}
