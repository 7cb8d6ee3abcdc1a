//! Feedback from a receiver's packets to a sender's outcomes, and what it costs.

use std::time::Duration;
use undertone_media::{DataSize, Ssrc, Timestamp};
use undertone_transport::bwe::Fate;
use undertone_transport::feedback::{Format, PacketId, Recorder, SentLog};
use undertone_transport::rtcp;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// IP and UDP, SRTCP index and GCM tag.
const DATAGRAM: usize = 28 + 4 + 16;

/// Sends `bytes` every `every` ms for 60 s; returns feedback in kbit/s (wire) and reports per second, after
/// the first ten seconds.
fn cost(bytes: u64, every: u64) -> (f64, f64) {
    let mut recorder = Recorder::new(Format::Ccfb, Ssrc(9));
    let (mut spent, mut reports) = (0, 0);
    for ms in 0..60_000 {
        if ms % every == 0 {
            recorder.on_packet(
                at(ms),
                PacketId::Rtp(Ssrc(1), (ms / every) as u16),
                DataSize::from_bytes(bytes),
            );
        }
        if let Some(report) = recorder.poll(at(ms))
            && ms >= 10_000
        {
            spent += rtcp::write(&[report]).len() + DATAGRAM;
            reports += 1;
        }
    }
    (spent as f64 * 8.0 / 50_000.0, f64::from(reports) / 50.0)
}

#[test]
fn feedback_costs_little_at_low_rates_and_is_quick_at_high_ones() {
    let (speech, _) = cost(60 + 56, 20); // 24 kbit/s of Opus at 50 packets a second
    assert!(speech <= 2.5, "{speech} kbit/s");
    let (weak, _) = cost(60 + 56, 60);
    assert!(weak <= 1.7, "{weak} kbit/s");
    let (video, often) = cost(1200, 8); // 1.2 Mbit/s
    assert!(often >= 19.0, "{often} reports a second");
    assert!(video <= 0.02 * 1200.0, "{video} kbit/s");
}

#[test]
fn a_burst_of_losses_is_told_sooner() {
    let mut recorder = Recorder::new(Format::Ccfb, Ssrc(9));
    let size = DataSize::from_bytes(100);
    let mut reports = Vec::new();
    for ms in (0..10_000).step_by(20) {
        let seq = (ms / 20) as u16;
        // Packets are lost from 9.0 s to 9.1 s.
        if !(9_000..9_100).contains(&ms) {
            recorder.on_packet(at(ms), PacketId::Rtp(Ssrc(1), seq), size);
        }
        if recorder.poll(at(ms)).is_some() {
            reports.push(ms);
        }
    }
    let usual =
        reports.windows(2).filter(|pair| pair[0] > 5_000 && pair[1] < 9_000).map(|p| p[1] - p[0]).min();
    assert!(usual.is_some_and(|usual| usual >= 200), "{reports:?}");
    assert!(reports.iter().any(|ms| (9_100..9_160).contains(ms)), "{reports:?}");
}

#[test]
fn outcomes_match_what_happened() {
    for format in [Format::Ccfb, Format::Twcc] {
        let mut recorder = Recorder::new(format, Ssrc(9));
        let mut log = SentLog::new();
        let id = |n: u64| match format {
            Format::Ccfb => PacketId::Rtp(Ssrc(1), (65_500 + n) as u16),
            Format::Twcc => PacketId::Twcc((65_500 + n) as u16),
        };
        // The receiver's clock is 7.3 s ahead; the path takes 20 ms and n % 7 more; every fifth is lost.
        let arrival = |n: u64| at(n * 10 + 20 + n % 7 + 7_300);
        let mut outcomes = Vec::new();
        for n in 0..1000 {
            log.on_sent(at(n * 10), id(n), DataSize::from_bytes(100 + n));
            if n % 5 != 3 {
                recorder.on_packet(arrival(n), id(n), DataSize::from_bytes(100 + n));
            }
            if let Some(report) = recorder.poll(arrival(n)) {
                let bytes = rtcp::write(&[report]);
                for report in rtcp::parse(&bytes) {
                    outcomes.extend(log.on_feedback(at(n * 10 + 60), &report));
                }
            }
        }
        assert!(outcomes.len() > 950, "{format:?} {}", outcomes.len());
        let mut offset = None;
        for (n, outcome) in outcomes.iter().enumerate() {
            let n = n as u64;
            assert_eq!((outcome.sent, outcome.size), (at(n * 10), DataSize::from_bytes(100 + n)));
            match outcome.fate {
                Fate::Lost => assert_eq!(n % 5, 3),
                Fate::Arrived(told) => {
                    let delay = told.micros_from(arrival(n));
                    let offset = *offset.get_or_insert(delay);
                    assert!((delay - offset).abs() <= 1_100, "{format:?} {n}: {}", delay - offset);
                }
                Fate::Untold => panic!("every report came"),
            }
        }
        let rtt = log.rtt().expect("reports came");
        assert!((Duration::from_millis(55)..Duration::from_millis(70)).contains(&rtt), "{format:?} {rtt:?}");
    }
}

#[test]
fn packets_of_a_lost_report_are_untold_not_lost() {
    let mut recorder = Recorder::new(Format::Ccfb, Ssrc(9));
    let mut log = SentLog::new();
    let mut reports = Vec::new();
    for n in 0..40 {
        let id = PacketId::Rtp(Ssrc(1), n);
        log.on_sent(at(u64::from(n) * 20), id, DataSize::from_bytes(100));
        recorder.on_packet(at(u64::from(n) * 20), id, DataSize::from_bytes(100));
        reports.extend(recorder.poll(at(u64::from(n) * 20)));
    }
    let lost = reports.remove(1);
    let outcomes: Vec<_> = reports.iter().flat_map(|report| log.on_feedback(at(900), report)).collect();
    let untold = outcomes.iter().filter(|outcome| outcome.fate == Fate::Untold).count();
    assert!(untold > 0 && outcomes.iter().all(|outcome| outcome.fate != Fate::Lost));
    assert!(log.on_feedback(at(900), &lost).is_empty(), "too late: it would be out of order");
}

#[test]
fn a_report_about_packets_never_sent_changes_nothing() {
    let mut recorder = Recorder::new(Format::Ccfb, Ssrc(9));
    recorder.on_packet(at(0), PacketId::Rtp(Ssrc(1), 5_000), DataSize::from_bytes(100));
    let liar = recorder.poll(at(500)).expect("due");
    let mut log = SentLog::new();
    log.on_sent(at(0), PacketId::Rtp(Ssrc(1), 10), DataSize::from_bytes(100));
    assert!(log.on_feedback(at(500), &liar).is_empty());
    let mut honest = Recorder::new(Format::Ccfb, Ssrc(9));
    honest.on_packet(at(20), PacketId::Rtp(Ssrc(1), 10), DataSize::from_bytes(100));
    let report = honest.poll(at(500)).expect("due");
    assert_eq!(log.on_feedback(at(520), &report).len(), 1);
}
