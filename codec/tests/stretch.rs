//! Speech made shorter and longer: the pitch stays, nothing clicks, what cannot be cut is left alone.

mod speech;

use speech::{energy, noise, purity, reading, tone};
use undertone_codec::stretch::{Change, Stretcher};

const RATE: f64 = 16_000.0;
const BLOCK: usize = 480; // 30 ms
/// One pitch period and no more: less than most voices have two of.
const BUDGET: usize = 40;

fn stretcher() -> Stretcher {
    Stretcher::new(16_000).unwrap()
}

/// Stretches every second block of a signal; gives the result, and how many blocks were and were not changed.
fn stretch_all(pcm: &[i16], block: usize, change: Change) -> (Vec<i16>, usize, usize) {
    let mut stretcher = stretcher();
    let (mut out, mut changed, mut refused) = (Vec::new(), 0, 0);
    for (i, chunk) in pcm.chunks(block).enumerate() {
        let mut chunk = chunk.to_vec();
        if i % 2 == 1 {
            let before = chunk.len() as isize;
            let delta = stretcher.stretch(&mut chunk, change, BUDGET, false);
            assert_eq!(chunk.len() as isize, before + delta);
            match (change, delta) {
                (_, 0) => refused += 1,
                (Change::Faster, -240..=-40) | (Change::Slower, 40..=240) => changed += 1,
                _ => panic!("{change:?} by {delta} samples"),
            }
        }
        out.extend(chunk);
    }
    (out, changed, refused)
}

/// The sharpest bend of a waveform: a click bends it more than the sound itself does.
fn sharpest_bend(pcm: &[i16]) -> i32 {
    pcm.windows(3).map(|w| (i32::from(w[0]) - 2 * i32::from(w[1]) + i32::from(w[2])).abs()).max().unwrap_or(0)
}

#[test]
fn tones_keep_their_pitch_and_do_not_click() {
    for hz in [70.0, 85.0, 110.0, 150.0, 220.0, 311.0, 400.0] {
        let pcm = tone(hz, 8000.0, 16_000, RATE);
        for change in [Change::Faster, Change::Slower] {
            for block in [BLOCK, 320] {
                let (out, changed, refused) = stretch_all(&pcm, block, change);
                assert!(changed > 10 * refused, "{hz} Hz {change:?}: {changed} changed, {refused} refused");
                let length = out.len() as f64 / pcm.len() as f64;
                assert!(if change == Change::Faster { length < 0.96 } else { length > 1.04 }, "{length}");
                // Whole periods only: the tone runs on in phase through every seam (to a sample: over many
                // seams the phase may drift, so a tenth of a second is looked at).
                let least = out.chunks_exact(1600).map(|part| purity(part, hz, RATE)).fold(1.0, f64::min);
                assert!(least > 0.95, "{hz} Hz {change:?}: {least}");
                assert!(sharpest_bend(&out) < 2 * sharpest_bend(&pcm) + 20, "{hz} Hz {change:?} clicks");
            }
        }
    }
}

#[test]
fn voices_with_overtones_lose_or_gain_one_period() {
    for hz in [80.0, 125.0, 200.0] {
        let period = RATE / hz;
        let voice: Vec<i16> = (0..BLOCK)
            .map(|i| {
                (1..20)
                    .map(|k| {
                        3000.0 / f64::from(k)
                            * (std::f64::consts::TAU * f64::from(k) * i as f64 / period).cos()
                    })
                    .sum::<f64>() as i16
            })
            .collect();
        for change in [Change::Faster, Change::Slower] {
            let delta = stretcher().stretch(&mut voice.clone(), change, BUDGET, false).unsigned_abs() as f64;
            assert!((delta - period).abs() < 2.0, "{hz} Hz {change:?}: {delta} samples, not {period}");
        }
    }
}

#[test]
fn speech_is_stretched_where_it_is_voiced_or_silent() {
    let pcm = reading();
    for change in [Change::Faster, Change::Slower] {
        let (out, changed, refused) = stretch_all(&pcm, BLOCK, change);
        let share = changed as f64 / (changed + refused) as f64;
        assert!((0.4..0.98).contains(&share), "{change:?}: {share} of the blocks");
        assert!(sharpest_bend(&out) <= sharpest_bend(&pcm) * 5 / 4, "{change:?} clicks");
        let loudness = energy(&out) / energy(&pcm);
        assert!((0.85..1.15).contains(&loudness), "{change:?}: {loudness}");
    }
}

#[test]
fn the_ends_stay_so_that_neighbours_still_join() {
    for change in [Change::Faster, Change::Slower] {
        let pcm = tone(150.0, 8000.0, BLOCK, RATE);
        let mut out = pcm.clone();
        assert_ne!(stretcher().stretch(&mut out, change, BUDGET, false), 0);
        assert_eq!(out[0], pcm[0]);
        assert!((i32::from(*out.last().unwrap()) - i32::from(*pcm.last().unwrap())).abs() < 400);
    }
}

#[test]
fn loud_noise_and_onsets_are_left_alone() {
    let mut stretcher = stretcher();
    let loud = noise(6000, BLOCK);
    let mut onset = vec![0; BLOCK / 2];
    onset.extend(noise(6000, BLOCK / 2));
    for pcm in [loud, onset] {
        for change in [Change::Faster, Change::Slower] {
            let mut out = pcm.clone();
            assert_eq!(stretcher.stretch(&mut out, change, BUDGET, false), 0);
            assert_eq!(out, pcm);
        }
    }
}

#[test]
fn quiet_noise_and_silence_may_be_cut_anywhere() {
    for pcm in [noise(60, BLOCK), vec![0; BLOCK]] {
        for change in [Change::Faster, Change::Slower] {
            assert_ne!(stretcher().stretch(&mut pcm.clone(), change, BUDGET, false), 0);
        }
    }
}

#[test]
fn blocks_that_are_too_short_are_left_alone() {
    for samples in [0, 1, 40, 119] {
        let pcm = tone(300.0, 8000.0, samples, RATE);
        let mut out = pcm.clone();
        assert_eq!(stretcher().stretch(&mut out, Change::Faster, BUDGET, false), 0);
        assert_eq!(out, pcm);
    }
}

#[test]
fn pieces_out_of_phase_are_joined_in_phase() {
    let whole = tone(130.0, 8000.0, 2000, RATE);
    for gap in [0, 17, 60, 100] {
        let mut next = whole[800 - gap..1600].to_vec();
        let dropped = stretcher().join(&whole[800..1000], &mut next, 200);
        let mut joined = whole[..800].to_vec();
        joined.extend(&next);
        assert!((gap as isize - dropped as isize).rem_euclid(123) <= 2 || dropped == gap, "{gap}: {dropped}");
        assert!(purity(&joined, 130.0, RATE) > 0.97, "gap {gap}: {}", purity(&joined, 130.0, RATE));
        assert!(sharpest_bend(&joined) < 2 * sharpest_bend(&whole) + 20);
    }
}

#[test]
fn joining_strangers_only_fades() {
    let mut next = noise(5000, 400);
    let before = next.clone();
    let tail = tone(200.0, 5000.0, 160, RATE);
    assert_eq!(stretcher().join(&tail, &mut next, 100), 0);
    assert_eq!(next[0], tail[0]);
    assert_eq!(next[100..], before[100..]);
    assert_eq!(stretcher().join(&[], &mut next, 100), 0, "nothing to fade from");
    assert_eq!(stretcher().join(&tail, &mut Vec::new(), 100), 0);
}

#[test]
fn rates_beyond_speech_are_refused() {
    assert!(Stretcher::new(7_999).is_err() && Stretcher::new(48_001).is_err());
}

#[test]
fn as_many_periods_go_as_are_asked_for() {
    let pcm = tone(250.0, 8000.0, BLOCK, RATE); // a period is 64 samples
    for (budget, wanted) in [(40, 64), (70, 64), (130, 128), (200, 192), (1000, 192)] {
        let mut out = pcm.clone();
        let removed = -stretcher().stretch(&mut out, Change::Faster, budget, false);
        assert!((removed - wanted).abs() <= 2, "{removed} of {budget}");
        assert!(purity(&out, 250.0, RATE) > 0.95);
    }
}

#[test]
fn urgency_makes_do_with_less() {
    // A voice under noise of half its power.
    let mixed: Vec<i16> =
        tone(150.0, 5000.0, BLOCK, RATE).iter().zip(noise(4000, BLOCK)).map(|(&a, b)| a + b).collect();
    assert_eq!(stretcher().stretch(&mut mixed.clone(), Change::Faster, 160, false), 0);
    assert_ne!(stretcher().stretch(&mut mixed.clone(), Change::Faster, 160, true), 0);
}

#[test]
fn a_pause_is_known_by_the_voice_around_it() {
    let (mut loud, mut quiet) = (stretcher(), stretcher());
    let hum = noise(300, 320);
    assert!(!quiet.pause(&hum), "all there is is no pause");
    loud.pause(&tone(150.0, 12_000.0, 320, RATE));
    assert!(loud.pause(&hum), "much softer than the voice");
    // The voice is remembered for sentences, and forgotten in the end.
    let forgotten = (0..10_000).position(|_| !loud.pause(&hum)).expect("in the end");
    assert!((100..5_000).contains(&forgotten), "{forgotten} packets");
}

#[test]
fn a_bridge_loses_nothing_and_stays_in_phase() {
    let whole = tone(130.0, 8000.0, 2000, RATE);
    for ahead in [0, 17, 60, 100] {
        // What comes next is later in the wave than what was made up until now.
        let mut next = whole[800 + ahead..1600].to_vec();
        let length = next.len();
        let extra = stretcher().bridge(&whole[800..1120], &mut next);
        assert_eq!(next.len(), length + extra);
        let mut joined = whole[..800].to_vec();
        joined.extend(&next);
        assert!(purity(&joined, 130.0, RATE) > 0.97, "{ahead}: {}", purity(&joined, 130.0, RATE));
        assert!(sharpest_bend(&joined) < 2 * sharpest_bend(&whole) + 20);
    }
}
