//! Scores against what is known: published E-model values, delays put in by hand, holes cut by hand.

use std::time::Duration;
use undertone_sim::score::{find, longest_gap, mos, percentile, track};

/// Something like speech: noise in syllables of 150 ms, a pause of 60 ms after each, 1 s after each tenth.
fn speech(secs: usize) -> Vec<i16> {
    let mut state = 12345u32;
    let mut held = 0i32;
    (0..secs * 16_000)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            held += ((state >> 16) as i32 - 32_768 - held) / 4;
            let ms = n / 16 % 3100;
            let speaks = ms < 2100 && ms % 210 < 150;
            if speaks { (held / 3) as i16 } else { (held / 3000) as i16 }
        })
        .collect()
}

fn delayed(sound: &[i16], samples: usize) -> Vec<i16> {
    let mut late = vec![0; samples];
    late.extend(sound.iter().map(|&s| s / 2));
    late
}

#[test]
fn mos_is_the_e_model() {
    // R = 93.2 − 5 = 88.2 without delay or loss; by hand from G.107 Annex B.
    assert!((mos(0.0, 0.0) - 4.2924).abs() < 0.001, "{}", mos(0.0, 0.0));
    // R = 93.2 − 0.024·200 − 0.11·22.7 − (5 + 90·10/25) = 44.903.
    assert!((mos(200.0, 10.0) - 2.3101).abs() < 0.001, "{}", mos(200.0, 10.0));
    assert_eq!(mos(5000.0, 100.0), 1.0);
    assert_eq!(mos(400.0, 19.7), 1.0, "where the polynomial would dip below");
    assert!(mos(100.0, 0.0) > mos(150.0, 0.0) && mos(100.0, 0.0) > mos(100.0, 1.0));
}

#[test]
fn percentiles_are_nearest_rank() {
    let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
    assert_eq!(percentile(&values, 50.0), Some(10.0));
    assert_eq!(percentile(&values, 95.0), Some(19.0));
    assert_eq!(percentile(&values, 100.0), Some(20.0));
    assert_eq!(percentile(&values, 0.0), Some(1.0));
    assert_eq!(percentile(&[7.0], 95.0), Some(7.0));
    assert_eq!(percentile(&[], 50.0), None);
}

#[test]
fn a_delay_is_found_to_the_sample() {
    let sound = speech(3);
    for lag in [0, 1, 1234, 16_000] {
        let found = find(&sound, &delayed(&sound, lag), 16_000).unwrap();
        assert_eq!(found.lag, lag);
        assert!(found.correlation > 0.999, "{found:?}");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let sound = speech(1);
    assert_eq!(find(&sound, &[0; 16_000], 8000), None);
    assert_eq!(find(&[], &sound, 8000), None);
    assert_eq!(find(&sound, &[], 8000), None);
    // The second channel of chance: other noise is hardly alike.
    let other: Vec<i16> = speech(2).split_off(16_007);
    assert!(find(&sound, &other, 8000).is_none_or(|found| found.correlation < 0.3));
}

#[test]
fn a_delay_that_moves_is_followed() {
    let sound = speech(6);
    let mut received = delayed(&sound[..48_000], 800);
    received.extend(delayed(&sound[48_000..], 1600));
    let lags: Vec<usize> =
        track(&sound, &received, 9600, 9600, 8000).into_iter().flatten().map(|found| found.lag).collect();
    assert!(lags.len() >= 6, "{lags:?}");
    assert!(lags.iter().all(|&lag| lag == 800 || lag == 2400), "{lags:?}");
    assert!(lags.is_sorted() && lags.contains(&800) && lags.contains(&2400), "{lags:?}");
}

#[test]
fn pauses_of_the_speaker_are_no_gap() {
    let sound = speech(10);
    for shift in [0, 640, 2000] {
        assert_eq!(longest_gap(&sound, &delayed(&sound, shift), 16_000, 640), Duration::ZERO, "{shift}");
    }
}

#[test]
fn a_hole_is_as_long_as_the_speech_it_swallowed() {
    let sound = speech(10);
    let mut received = delayed(&sound, 640);
    // 500 ms from 3.2 s on: in a talking stretch, so the hole holds syllables and short pauses.
    received[51_200..59_200].fill(0);
    let gap = longest_gap(&sound, &received, 16_000, 640);
    assert!((Duration::from_millis(250)..=Duration::from_millis(380)).contains(&gap), "{gap:?}");
    assert_eq!(longest_gap(&sound, &[0; 160_000], 16_000, 640).as_millis() / 1000, 4);
}
