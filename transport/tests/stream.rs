//! Streams over a path that loses, delays and reorders: what NACK and RTX bring back, and when.

use std::collections::BTreeMap;
use std::time::Duration;
use undertone_media::{MediaTime, SeqNo, Ssrc, Timestamp};
use undertone_transport::recovery::red;
use undertone_transport::rtcp::{self, Rtcp};
use undertone_transport::rtp::{Extensions, Header};
use undertone_transport::stream::{Copies, NackConfig, RecvConfig, RecvStream, Rtx, SendConfig, SendStream};

const RTX: Rtx = Rtx { ssrc: Ssrc(2), payload_type: 112 };

fn sender(first_seq: u16) -> SendStream {
    SendStream::new(SendConfig {
        rtx: Some(RTX),
        first_seq,
        timestamp_offset: u32::MAX - 5_000,
        ..SendConfig::new(Ssrc(1), 111, 48_000, 0)
    })
}

fn receiver(nack: NackConfig) -> RecvStream {
    RecvStream::new(RecvConfig {
        ssrc: Ssrc(1),
        payload_type: 111,
        clock_rate: 48_000,
        rtx_payload_type: Some(RTX.payload_type),
        nack: Some(nack),
    })
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// The n-th packet of a stream with 20 ms packets.
fn packet(sender: &mut SendStream, now: Timestamp, n: u64) -> (Header, Vec<u8>) {
    let header = sender.next(MediaTime(n * 960), n == 0, Extensions::default());
    let payload = n.to_be_bytes().to_vec();
    sender.store(now, &header, &payload);
    (header, payload)
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What came of a call: for each packet, how long after it was sent it arrived.
struct Call {
    delays: Vec<Option<Duration>>,
    resent: u64,
    stats: undertone_transport::stream::RecvStats,
}

/// 20 ms packets for 100 s over `one_way` with random loss both ways.
fn call(loss_permille: u64, one_way: Duration, nack: NackConfig) -> Call {
    let (mut send, mut recv) = (sender(65_000), receiver(nack));
    let mut dice = Dice(42);
    let mut forward: BTreeMap<(Timestamp, u64), (Header, Vec<u8>)> = BTreeMap::new();
    let mut backward: BTreeMap<(Timestamp, u64), Vec<u16>> = BTreeMap::new();
    let mut delays = vec![None; 5000];
    let (mut order, mut resent) = (0, 0);
    let rtt = Some(one_way * 2);
    for step in 0..100_500 {
        let now = at(step);
        if step % 20 == 0 && step < 100_000 {
            let packet = packet(&mut send, now, step / 20);
            if dice.roll(1000) >= loss_permille {
                forward.insert((now + one_way, order), packet);
            }
        }
        while let Some(entry) = backward.first_entry().filter(|entry| entry.key().0 <= now) {
            for seq in entry.remove() {
                if let Some(resend) = send.resend(now, seq, one_way) {
                    resent += 1;
                    order += 1;
                    if dice.roll(1000) >= loss_permille {
                        forward.insert((now + one_way, order), (resend.header, resend.payload));
                    }
                }
            }
        }
        while let Some(entry) = forward.first_entry().filter(|entry| entry.key().0 <= now) {
            let (header, payload) = entry.remove();
            if let Some(packet) = recv.receive(now, &header, &payload) {
                let n = u64::from_be_bytes(packet.payload.try_into().expect("eight bytes")) as usize;
                assert_eq!(packet.seq, SeqNo(0x1_0000 + 65_000 + n as u64));
                assert_eq!(packet.payload_type, 111);
                assert!(delays[n].is_none(), "given out twice");
                delays[n] = Some(now.since(at(n as u64 * 20)));
            }
        }
        let wanted = recv.nack(now, rtt);
        assert!(wanted.is_empty() || recv.deadline().is_none_or(|due| due > now));
        order += 1;
        if !wanted.is_empty() && dice.roll(1000) >= loss_permille {
            backward.insert((now + one_way, order), wanted);
        }
    }
    Call { delays, resent, stats: recv.stats() }
}

fn within(call: &Call, limit: Duration) -> f64 {
    let timely = call.delays.iter().filter(|delay| delay.is_some_and(|delay| delay <= limit)).count();
    timely as f64 / call.delays.len() as f64
}

#[test]
fn ten_percent_loss_at_40_ms_is_repaired_within_two_round_trips() {
    let plain = call(100, ms(20), NackConfig::default());
    // Noticed by the next packet after 40 ms, asked and answered in 40 more; a second try costs 50.
    assert!(within(&plain, ms(80)) > 0.97, "{}", within(&plain, ms(80)));
    assert!(within(&plain, ms(130)) > 0.993, "{}", within(&plain, ms(130)));
    assert!(within(&plain, ms(1000)) > 0.9995);
    let stats = plain.stats;
    assert!((400..600).contains(&stats.lost), "{stats:?}");
    assert!(stats.repaired + 5 >= stats.lost && stats.duplicates == 0, "{stats:?}");

    // A second request at once makes up for requests lost, and does not make the sender answer twice.
    let echoed = call(100, ms(20), NackConfig { echo: Some(ms(10)), ..NackConfig::default() });
    assert!(within(&echoed, ms(90)) > within(&plain, ms(90)) + 0.003, "{}", within(&echoed, ms(90)));
    assert!(echoed.resent < plain.resent * 11 / 10, "{} {}", echoed.resent, plain.resent);
    assert_eq!(echoed.stats.duplicates, 0);
}

#[test]
fn where_half_is_lost_who_goes_on_asking_waits_less() {
    let patient = call(500, ms(20), NackConfig { tries: 40, ..NackConfig::default() });
    let pictures = call(500, ms(20), NackConfig::video());
    let limit = ms(250);
    assert!(within(&pictures, limit) > within(&patient, limit) + 0.1, "{}", within(&pictures, limit));
    assert!(within(&pictures, ms(1100)) > 0.995, "{}", within(&pictures, ms(1100)));
}

#[test]
fn requests_that_are_due_soon_go_along() {
    let mut send = sender(0);
    let mut recv = receiver(NackConfig { again: Some(ms(20)), ..NackConfig::default() });
    let rtt = Some(ms(100));
    let mut asked = Vec::new();
    for n in 0..6 {
        let (header, payload) = packet(&mut send, at(n * 8), n);
        if n % 2 == 0 {
            recv.receive(at(n * 8), &header, &payload);
            asked.push(recv.nack(at(n * 8), rtt));
        }
    }
    // The first was asked for at 16 ms and would be again at 36 ms: it goes along with the second, at 32 ms.
    assert_eq!(asked, [vec![], vec![1], vec![1, 3]]);
    assert_eq!(recv.deadline(), Some(at(52)));
    assert_eq!(recv.nack(at(51), rtt), [] as [u16; 0]);
    assert_eq!(recv.nack(at(52), rtt), [1, 3]);
}

#[test]
fn copies_follow_the_losses() {
    let against = |lost| {
        let it = Copies::against(lost);
        (it.first, it.answer, it.permille)
    };
    assert_eq!(against(0), (1, 1, 1_000));
    assert_eq!(against(200), (1, 1, 1_250));
    // Of 400 lost packets, 160 are lost in their second copy and asked for again.
    assert_eq!(against(400), (1, 2, 1_000 + 400 * 2_000 / 840));
    assert_eq!(against(600).0, 2);
    assert_eq!(against(1_000), against(800), "more is not believed");
    assert!((0..1_000).all(|lost| against(lost).2 >= 1_000_000 / (1_000 - u64::from(lost.min(800)))));
}

#[test]
fn what_would_come_too_late_is_asked_for_once_at_most() {
    let call = call(100, ms(150), NackConfig { useful: ms(200), ..NackConfig::default() });
    let stats = call.stats;
    assert!(stats.requested <= stats.lost && stats.requested + 20 > stats.lost, "{stats:?}");
}

#[test]
fn reordering_within_tolerance_asks_for_nothing() {
    let (mut send, mut recv) = (sender(0), receiver(NackConfig { reorder: 3, ..NackConfig::default() }));
    let mut packets: Vec<_> = (0..40).map(|n| packet(&mut send, at(n * 20), n)).collect();
    for pair in packets.chunks_mut(4) {
        pair.swap(0, 2);
    }
    let mut got = 0;
    for (i, (header, payload)) in packets.iter().enumerate() {
        let now = at(i as u64 * 20);
        got += usize::from(recv.receive(now, header, payload).is_some());
        assert_eq!(recv.nack(now, Some(ms(40))), [] as [u16; 0]);
    }
    assert_eq!((got, recv.stats().lost), (40, 0));
}

#[test]
fn the_last_packet_of_a_spurt_is_missed_by_the_clock() {
    let tail = NackConfig { tail: true, ..NackConfig::default() };
    let (mut send, mut recv) = (sender(0), receiver(tail));
    for n in 0..10 {
        let (header, payload) = packet(&mut send, at(n * 20), n);
        if n < 9 {
            recv.receive(at(n * 20), &header, &payload).expect("new");
            assert!(recv.nack(at(n * 20), None).is_empty());
        }
    }
    let due = recv.deadline().expect("the tenth should come");
    assert_eq!(due, at(160) + ms(30));
    assert_eq!(recv.nack(due, Some(ms(40))), [9]);
    assert_eq!(recv.deadline(), None, "asked for once: it may never have been sent");
    let resend = send.resend(due, 9, ms(20)).expect("remembered");
    let packet = recv.receive(due + ms(40), &resend.header, &resend.payload).expect("new");
    assert!(packet.repaired && packet.seq == SeqNo(0x1_0009));
}

#[test]
fn repairable_until_the_answer_is_due_and_not_beyond() {
    let (mut send, mut recv) = (sender(0), receiver(NackConfig { tries: 2, ..NackConfig::default() }));
    let packets: Vec<_> = (0..3).map(|n| packet(&mut send, at(0), n)).collect();
    recv.receive(at(100), &packets[0].0, &packets[0].1).expect("first");
    recv.receive(at(140), &packets[2].0, &packets[2].1).expect("third");
    let lost = SeqNo(0x1_0001);
    let rtt = Some(ms(40));
    assert_eq!(recv.repairable_until(lost, rtt), Some(at(190)));
    assert_eq!(recv.nack(at(140), rtt), [1]);
    assert_eq!(recv.nack(at(189), rtt), [] as [u16; 0]);
    assert_eq!(recv.deadline(), Some(at(190)));
    assert_eq!(recv.nack(at(190), rtt), [1]);
    assert_eq!(recv.repairable_until(lost, rtt), Some(at(240)));
    assert_eq!(recv.nack(at(240), rtt), [] as [u16; 0]);
    assert_eq!(recv.repairable_until(lost, rtt), None, "two tries are over");
    assert_eq!(recv.repairable_until(SeqNo(0x1_0002), rtt), None, "not missing");
    let late = recv.receive(at(500), &packets[1].0, &packets[1].1).expect("late is not twice");
    assert_eq!(late.seq, lost);
}

#[test]
fn abandoned_packets_are_not_asked_for() {
    let (mut send, mut recv) = (sender(0), receiver(NackConfig::default()));
    let packets: Vec<_> = (0..6).map(|n| packet(&mut send, at(0), n)).collect();
    recv.receive(at(0), &packets[0].0, &packets[0].1).expect("first");
    recv.receive(at(0), &packets[5].0, &packets[5].1).expect("last");
    recv.abandon_before(SeqNo(0x1_0003));
    assert_eq!(recv.nack(at(0), None), [3, 4]);
}

#[test]
fn a_sender_that_begins_anew_is_followed_and_a_stray_packet_is_not() {
    let mut recv = receiver(NackConfig::default());
    let header = |seq| Header { payload_type: 111, seq, ssrc: Ssrc(1), ..Header::default() };
    let first = recv.receive(at(0), &header(100), b"x").expect("first").seq;
    assert_eq!(recv.receive(at(20), &header(40_000), b"x"), None, "one stray packet");
    assert_eq!(recv.receive(at(20), &header(101), b"x").expect("goes on").seq, first.next());
    assert_eq!(recv.receive(at(40), &header(50_000), b"x"), None);
    let anew = recv.receive(at(60), &header(50_001), b"x").expect("two in a row").seq;
    assert!(anew > first && anew.wire() == 50_001);
    assert_eq!(recv.receive(at(80), &header(50_002), b"x").expect("goes on").seq, anew.next());
    assert!(recv.nack(at(80), None).is_empty(), "the gap between is no loss");
    assert_eq!(recv.stats().bad, 2);
}

#[test]
fn reports_tell_loss_and_answer_sender_reports() {
    let (mut send, mut recv) = (sender(65_530), receiver(NackConfig::default()));
    for n in 0..20 {
        let (header, payload) = packet(&mut send, at(n * 20), n);
        if n % 4 != 1 {
            recv.receive(at(n * 20 + 30), &header, &payload).expect("new");
        }
    }
    let report = send.sender_report(rtcp::ntp(at(400)), MediaTime(20 * 960));
    assert!(matches!(report, Rtcp::SenderReport { packets: 20, octets: 160, .. }), "{report:?}");
    recv.on_sender_report(at(430), &report);
    let block = recv.report_block(at(530));
    assert_eq!((block.cumulative_lost, block.fraction_lost), (5, 64));
    assert_eq!(block.highest_seq, 65_530 + 19);
    let rtt = block.round_trip(rtcp::ntp(at(560))).expect("answers the report");
    assert!((59..=61).contains(&rtt.as_millis()), "{rtt:?}");
    assert_eq!(recv.report_block(at(600)).fraction_lost, 0, "nothing since");
    assert!(recv.stats().jitter < ms(1), "steady arrival");

    // Packet 10 was captured 200 ms before the report, on the sender's clock.
    let (header, payload) = packet(&mut send, at(400), 20);
    let time = recv.receive(at(430), &header, &payload).expect("new").time;
    let captured = recv.capture_ntp(time - 10 * 960).expect("a report came");
    assert_eq!(rtcp::ntp(at(400)) - captured, (1u64 << 32) / 5);
}

#[test]
fn the_cache_forgets_and_pauses() {
    let mut send = sender(0);
    packet(&mut send, at(0), 0);
    packet(&mut send, at(20), 1);
    let pause = ms(50);
    let first = send.resend(at(60), 1, pause).expect("remembered");
    assert_eq!((first.header.ssrc, first.header.payload_type), (RTX.ssrc, RTX.payload_type));
    assert_eq!(&first.payload[..2], [0, 1], "original sequence number");
    assert_eq!(send.resend(at(100), 1, pause), None, "the copy is still on its way");
    let again = send.resend(at(110), 1, pause).expect("half a round trip later");
    assert_eq!(again.header.seq, first.header.seq.wrapping_add(1));
    assert_eq!(send.resend(at(110), 2, pause), None, "never sent");
    send.forget();
    assert_eq!(send.resend(at(200), 1, pause), None, "forgotten");
    packet(&mut send, at(210), 2);
    assert!(
        send.copy(at(210), 2).is_some() && send.resend(at(210), 2, pause).is_some(),
        "copies do not count"
    );
    assert_eq!(send.resend(at(1400), 2, pause), None, "too old");
}

#[test]
fn a_copy_fills_a_gap_once_and_is_not_asked_for() {
    let mut sender = sender(7);
    let mut receiver = receiver(NackConfig::default());
    let mut before: Option<(Header, Vec<u8>)> = None;
    let mut came = Vec::new();
    for n in 0..40 {
        let (header, payload) = packet(&mut sender, at(n * 20), n);
        let sent = match &before {
            Some((last, copy)) => red::join(&header, &payload, &[(last.timestamp, copy)], 63).unwrap(),
            None => (header, payload.clone()),
        };
        before = Some((header, payload));
        // Every fifth is lost; of the twenties, the one before as well.
        if n % 5 == 0 && n > 0 || n % 20 == 19 {
            continue;
        }
        let parts = if sent.0.payload_type == 63 {
            red::split(&sent.0, &sent.1)
        } else {
            vec![(sent.0, &sent.1[..])]
        };
        for (place, (header, payload)) in parts.into_iter().enumerate() {
            let packet = match place {
                0 => receiver.receive(at(n * 20), &header, payload),
                _ => receiver.receive_copy(at(n * 20), &header, payload),
            };
            if let Some(packet) = packet {
                assert_eq!(packet.payload_type, 111);
                assert_eq!(packet.repaired, place > 0);
                came.push(packet.payload);
            }
        }
    }
    came.sort_unstable();
    let whole: Vec<Vec<u8>> = (0..39u64).filter(|&n| n != 19).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(came, whole);
    let stats = receiver.stats();
    assert_eq!((stats.lost, stats.repaired, stats.duplicates), (8, 7, 0));
    assert_eq!(receiver.nack(at(800), None), [7 + 19]);
}
