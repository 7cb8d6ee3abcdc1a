//! On a thin path every byte that is not speech delays speech.

mod oneway;

use oneway::OneWay;
use std::time::Duration;
use undertone_engine::FRAME_SAMPLES;
use undertone_engine::adapt::Protection;
use undertone_media::Bitrate;
use undertone_sim::loss::Share;
use undertone_sim::path::LinkConfig;

/// Ten seconds of a voice-like tone over a link of 24 kbit/s that loses so much.
fn call(percent: f64) -> OneWay {
    let link = LinkConfig {
        delay: Duration::from_millis(20),
        rate: Some(Bitrate::from_kbps(24)),
        loss: Share::from_percent(percent),
        ..LinkConfig::default()
    };
    let mut call = OneWay::connect(&link, |_| {});
    let mut phase = 0.0f64;
    for step in 0..1_000 {
        let loud = if step / 20 % 3 == 0 { 1_000.0 } else { 8_000.0 };
        let tone: [i16; FRAME_SAMPLES] = std::array::from_fn(|_| {
            phase += std::f64::consts::TAU * 200.0 / 16_000.0;
            (loud * phase.sin()) as i16
        });
        call.step(Some(&tone));
    }
    call
}

#[test]
fn what_is_lost_on_a_thin_path_is_not_sent_again() {
    let mut call = call(10.0);
    let heard = call.listener().stats();
    assert!(heard.audio[0].lost > 5, "{:?}", heard.audio[0]);
    assert_eq!((call.talker().stats().resent, heard.audio[0].rtx), (0, 0));
    assert!(heard.audio[0].dred > 0, "its gist comes with the next packet: {:?}", heard.audio[0]);
}

#[test]
fn a_thin_path_that_loses_nothing_pays_for_no_protection() {
    let mut call = call(0.0);
    let plan = call.talker().stats().plan.expect("it speaks");
    assert_eq!((plan.protection, plan.redundancy), (Protection::None, None));
    assert_eq!(plan.patience, Duration::ZERO);
}
