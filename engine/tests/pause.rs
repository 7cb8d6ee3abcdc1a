//! Where nobody speaks: what is sent of it (DTX), and what the listener hears meanwhile.

mod oneway;
mod speech;

use oneway::OneWay;
use std::time::Duration;
use undertone_engine::{Coding, FRAME_SAMPLES};
use undertone_media::Kind;
use undertone_sim::loss::Share;
use undertone_sim::path::LinkConfig;

/// Samples in a second.
const SECOND: usize = 16_000;

/// Three seconds of talk, four of nothing, three of talk, all of it in a room that hisses.
fn talk() -> Vec<i16> {
    let speech = speech::reading();
    let mut dice = 1u32;
    let (mut low, mut before) = (0.0, 0.0);
    (0..10 * SECOND)
        .map(|at| {
            let spoken = match at / SECOND {
                0..3 => speech[at],
                3..7 => 0,
                _ => speech[at - 4 * SECOND],
            };
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let white = f64::from(dice as i32) / f64::from(1u32 << 31) * 400.0;
            low += 0.3 * (white - low);
            before = 0.5 * before + low;
            spoken.saturating_add(before as i16)
        })
        .collect()
}

/// Hears one end of a call: what it played, and how many packets had come when each second was over.
struct Listened {
    heard: Vec<i16>,
    packets: Vec<u64>,
}

/// What becomes of the talker after so many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Mutes(usize),
    /// Without a word: the battery is empty.
    Vanishes(usize),
}

/// The first end talks, the second listens. Time begins when they are connected.
fn listen(coding: Coding, link: &LinkConfig, fate: Fate) -> Listened {
    let mut call = OneWay::connect(link, |config| config.coding = coding);
    let mut listened = Listened { heard: Vec::new(), packets: Vec::new() };
    for (index, frame) in talk().chunks_exact(FRAME_SAMPLES).enumerate() {
        if fate == Fate::Mutes(index) {
            call.talker().mute(Kind::Audio, true);
        }
        let silent = matches!(fate, Fate::Vanishes(at) if index >= at);
        listened.heard.extend_from_slice(&call.step((!silent).then_some(frame)));
        if (index + 1) % 100 == 0 {
            listened.packets.push(call.listener().stats().audio.first().map_or(0, |audio| audio.received));
        }
    }
    listened
}

fn clean() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(15), ..LinkConfig::default() }
}

const DTX: Coding = Coding { effort: undertone_engine::Effort::Medium, dtx: true };

/// Decibels above one.
fn level(pcm: &[i16]) -> f64 {
    10.0 * (pcm.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>() / pcm.len() as f64)
        .max(1e-9)
        .log10()
}

/// The largest step between two samples.
fn steepest(pcm: &[i16]) -> i32 {
    pcm.windows(2).map(|two| (i32::from(two[1]) - i32::from(two[0])).abs()).max().unwrap_or(0)
}

#[test]
fn a_pause_sounds_like_the_room_and_costs_next_to_nothing() {
    let all = listen(Coding::default(), &clean(), Fate::Stays);
    for (name, link) in
        [("clean", clean()), ("lossy", LinkConfig { loss: Share::from_percent(5.0), ..clean() })]
    {
        let little = listen(DTX, &link, Fate::Stays);
        // Of the four seconds of the pause, three in which it is known as such.
        let sent = little.packets[6] - little.packets[3];
        assert!(sent <= 24, "{name}: {sent} packets");
        assert!(all.packets[6] - all.packets[3] > 100, "without it all are sent");
        let (from, to) = (37 * SECOND / 10, 69 * SECOND / 10);
        for (part, (quiet, room)) in
            little.heard[from..to].chunks(SECOND / 5).zip(all.heard[from..to].chunks(SECOND / 5)).enumerate()
        {
            let louder = level(quiet) - level(room);
            assert!(louder.abs() < 4.0, "{name}: {louder:.1} dB after {} ms", part * 200);
        }
        // Nothing clicks, neither where noise begins and ends nor where a piece of the room comes in between.
        let (steps, usual) = (steepest(&little.heard[from..to]), steepest(&all.heard[from..to]));
        assert!(steps <= usual * 3 / 2, "{name}: a step of {steps}, where {usual} is usual");
    }
}

#[test]
fn a_muted_microphone_is_silence() {
    for coding in [DTX, Coding::default()] {
        // In talk, and in a pause that noise fills already.
        for at in [150, 500] {
            let muted = listen(coding, &clean(), Fate::Mutes(at));
            let rest = &muted.heard[(at + 60) * FRAME_SAMPLES..];
            assert!(rest.iter().all(|&sample| sample == 0), "{coding:?}: {} dB at {at}", level(rest));
        }
    }
}

#[test]
fn who_is_gone_is_silence_too() {
    // In talk, and in a pause: what was heard of the room goes on for a moment and fades.
    for at in [150, 500] {
        let heard = listen(DTX, &clean(), Fate::Vanishes(at)).heard;
        let rest = &heard[(at + 250) * FRAME_SAMPLES..];
        assert!(rest.iter().all(|&sample| sample == 0), "{} dB at {at}", level(rest));
        let before = &heard[(at + 20) * FRAME_SAMPLES..];
        assert!(steepest(before) < 400, "it fades: a step of {}", steepest(before));
    }
}
