//! What the listener's end tells the speaker's, and what that makes of it.

mod oneway;

use oneway::OneWay;
use std::time::Duration;
use undertone_engine::{AudioSlotStats, FRAME_SAMPLES, Stats};
use undertone_sim::loss::Share;
use undertone_sim::path::LinkConfig;
use undertone_transport::rtcp::Shares;

/// Twelve seconds of a tone over a link that loses three packets in ten, to who waits so long at most.
fn call(patience: Duration) -> (Stats, Stats) {
    let link = LinkConfig {
        delay: Duration::from_millis(20),
        loss: Share::from_percent(30.0),
        ..LinkConfig::default()
    };
    let mut call = OneWay::connect(&link, |config| config.patience = patience);
    let mut phase = 0.0f64;
    for _ in 0..1_200 {
        let tone: [i16; FRAME_SAMPLES] = std::array::from_fn(|_| {
            phase += std::f64::consts::TAU * 200.0 / 16_000.0;
            (8_000.0 * phase.sin()) as i16
        });
        call.step(Some(&tone));
    }
    (call.talker().stats(), call.listener().stats())
}

#[test]
fn protection_is_planned_for_how_long_the_listener_waits() {
    let most = Duration::from_millis(60);
    let (hurried, hearer) = call(most);
    let told = hurried.told.expect("a report");
    assert_eq!(told.slack, most);
    assert!(hurried.plan.expect("a plan").patience <= most, "{:?}", hurried.plan);
    assert!(hearer.audio[0].target <= most + Duration::from_millis(10), "{:?}", hearer.audio[0]);
    let (patient, _) = call(Duration::from_millis(400));
    assert!(patient.plan.expect("a plan").patience > most, "who has time gives it: {:?}", patient.plan);
}

#[test]
fn the_speaker_knows_what_became_of_its_speech() {
    let (speaker, listener) = call(Duration::from_millis(400));
    let told = speaker.told.expect("a report");
    let heard: AudioSlotStats = listener.audio[0];
    assert!(told.held > Duration::ZERO && told.held <= heard.target + Duration::from_millis(40), "{told:?}");
    // Three in ten were lost, and came back: most of them by the code, the rest by their gist.
    let of_all = Shares::of(heard.coded, heard.voiced());
    let back = Shares::of(heard.coded + heard.dred, heard.voiced());
    assert!((60..=100).contains(&back) && heard.coded > 2 * heard.dred, "{heard:?}");
    let since = told.shares.coded;
    assert!((i32::from(since) - i32::from(of_all)).abs() <= 25, "{told:?}, {of_all} of all");
    assert!(told.shares.made_up < 13, "{told:?}");
    // The listener does not speak, so nobody tells it anything.
    assert_eq!(listener.told, None);
}
