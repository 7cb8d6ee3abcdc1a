//! RTCP: what is written is read again; nonsense is left out and harms nothing.

use proptest::prelude::*;
use rtcp_types::{RtcpPacketParser, TwccPacketStatus};
use std::time::Duration;
use undertone_media::{Bitrate, Ssrc, Timestamp};
use undertone_transport::rtcp::{
    self, CcfbFeedback, CcfbReport, CcfbStream, PlayoutReport, ReportBlock, Rtcp, Shares, TwccFeedback,
};

prop_compose! {
    fn block()(
        ssrc: u32,
        fraction_lost: u8,
        cumulative_lost in -0x80_0000i32..0x80_0000,
        highest_seq: u32,
        jitter: u32,
        last_sr: u32,
        delay_since_last_sr: u32,
    ) -> ReportBlock {
        let ssrc = Ssrc(ssrc);
        ReportBlock { ssrc, fraction_lost, cumulative_lost, highest_seq, jitter, last_sr, delay_since_last_sr }
    }
}

fn ssrc() -> impl Strategy<Value = Ssrc> {
    any::<u32>().prop_map(Ssrc)
}

fn ssrcs(max: usize) -> impl Strategy<Value = Vec<Ssrc>> {
    proptest::collection::vec(ssrc(), 0..max)
}

/// Deltas as they come: runs of lost packets, of small steps, and now and then a large or negative one.
fn deltas() -> impl Strategy<Value = Vec<Option<i16>>> {
    let step =
        prop_oneof![8 => (0i16..256).prop_map(Some), 1 => any::<i16>().prop_map(Some), 3 => Just(None)];
    let run = (step, 1usize..40).prop_map(|(step, len)| vec![step; len]);
    proptest::collection::vec(run, 1..12).prop_map(|runs| runs.concat())
}

prop_compose! {
    fn ccfb_stream()(
        ssrc in ssrc(),
        begin_seq: u16,
        reports in proptest::collection::vec(
            proptest::option::of((0u8..4, 0u16..0x2000).prop_map(|(ecn, age)| CcfbReport { ecn, age })), 0..40),
    ) -> CcfbStream {
        CcfbStream { ssrc, begin_seq, reports }
    }
}

prop_compose! {
    fn playout()(sender in ssrc(), media in ssrc(), slack: u8, held: u8, shares: [u8; 6]) -> PlayoutReport {
        let [made_up, resent, copied, coded, deep, low_rate] = shares;
        let shares = Shares { made_up, resent, copied, coded, deep, low_rate };
        let [slack, held] = [slack, held].map(|steps| Duration::from_millis(10 * u64::from(steps)));
        PlayoutReport { sender, media, slack, held, shares }
    }
}

fn packet() -> impl Strategy<Value = Rtcp> {
    let blocks = || proptest::collection::vec(block(), 0..4);
    prop_oneof![
        (ssrc(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>(), blocks()).prop_map(
            |(ssrc, ntp, rtp_time, packets, octets, blocks)| Rtcp::SenderReport {
                ssrc,
                ntp,
                rtp_time,
                packets,
                octets,
                blocks
            }
        ),
        (ssrc(), blocks()).prop_map(|(ssrc, blocks)| Rtcp::ReceiverReport { ssrc, blocks }),
        (ssrc(), ssrc(), any::<u16>(), proptest::collection::btree_set(0u16..2000, 1..60)).prop_map(
            |(sender, media, first, offsets)| Rtcp::Nack {
                sender,
                media,
                seqs: offsets.into_iter().map(|offset| first.wrapping_add(offset)).collect(),
            }
        ),
        (ssrc(), ssrc()).prop_map(|(sender, media)| Rtcp::Pli { sender, media }),
        (ssrc(), proptest::collection::vec((ssrc(), any::<u8>()), 0..4))
            .prop_map(|(sender, requests)| Rtcp::Fir { sender, requests }),
        (ssrc(), ssrc(), any::<u16>(), 0u32..1 << 24, any::<u8>(), deltas()).prop_map(
            |(sender, media, base_seq, reference_time, feedback_count, deltas)| {
                Rtcp::Twcc(TwccFeedback { sender, media, base_seq, reference_time, feedback_count, deltas })
            }
        ),
        (ssrc(), proptest::collection::vec(ccfb_stream(), 0..4), any::<u32>())
            .prop_map(|(sender, streams, timestamp)| Rtcp::Ccfb(CcfbFeedback { sender, streams, timestamp })),
        (ssrc(), 0u64..1 << 18, 0u32..40, ssrcs(4)).prop_map(|(sender, mantissa, exponent, ssrcs)| {
            Rtcp::Remb { sender, bitrate: Bitrate::from_bps(mantissa << exponent), ssrcs }
        }),
        playout().prop_map(Rtcp::Playout),
        ssrcs(5).prop_map(|ssrcs| Rtcp::Bye { ssrcs }),
    ]
}

proptest! {
    #[test]
    fn compounds_survive_the_wire(packets in proptest::collection::vec(packet(), 0..5)) {
        let bytes = rtcp::write(&packets);
        prop_assert_eq!(bytes.len() % 4, 0);
        prop_assert_eq!(rtcp::parse(&bytes), packets);
    }

    #[test]
    fn nonsense_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        rtcp::parse(&bytes);
    }

    #[test]
    fn broken_real_packets_never_panic(
        packets in proptest::collection::vec(packet(), 1..4),
        breaks in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = rtcp::write(&packets);
        for (at, value) in breaks {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        rtcp::parse(&bytes);
        rtcp::parse(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn an_independent_parser_agrees_on_transport_feedback(base_seq: u16, deltas in deltas()) {
        let feedback = TwccFeedback {
            sender: Ssrc(1), media: Ssrc(2), base_seq, reference_time: 5, feedback_count: 3, deltas,
        };
        let bytes = rtcp::write(&[Rtcp::Twcc(feedback.clone())]);
        let theirs = rtcp_types::TransportFeedback::parse(&bytes).expect("well-formed");
        let fci = theirs.parse_fci::<rtcp_types::Twcc>().expect("twcc");
        prop_assert_eq!(fci.base_sequence_number(), base_seq);
        let mut last = 0;
        let mut theirs = Vec::new();
        for packet in fci.packets() {
            let (seq, status) = packet.expect("well-formed");
            prop_assert_eq!(seq, base_seq.wrapping_add(theirs.len() as u16));
            theirs.push(match status {
                TwccPacketStatus::NotReceived => None,
                TwccPacketStatus::Received { delta } => Some(delta),
            });
            last = seq;
        }
        prop_assert_eq!(theirs, feedback.deltas.clone());
        let newest = base_seq.wrapping_add(feedback.deltas.len() as u16 - 1);
        prop_assert_eq!(last, newest);
    }
}

#[test]
fn a_broken_packet_spoils_only_what_follows_its_length() {
    let pli = Rtcp::Pli { sender: Ssrc(1), media: Ssrc(2) };
    let mut bytes = rtcp::write(std::slice::from_ref(&pli));
    bytes.extend_from_slice(&[0x80, 205, 0xff, 0xff]); // longer than the datagram
    assert_eq!(rtcp::parse(&bytes), std::slice::from_ref(&pli));
    // A packet too short for what it claims to be is left out; the next one is read.
    let mut bytes = vec![0x81, 206, 0, 1, 0, 0, 0, 1];
    pli.write(&mut bytes);
    assert_eq!(rtcp::parse(&bytes), [pli]);
}

#[test]
fn nacks_pack_seventeen_numbers_into_one_word() {
    let nack = |seqs: Vec<u16>| rtcp::write(&[Rtcp::Nack { sender: Ssrc(1), media: Ssrc(2), seqs }]).len();
    assert_eq!(nack((65_530..=65_535).chain(0..=10).collect()), 16);
    assert_eq!(nack(vec![0, 17]), 20);
}

#[test]
fn known_bytes_of_rfc_8888_feedback() {
    // One stream, packets 10 to 12, the middle one lost; written by hand from RFC 8888 §3.1.
    let bytes = [
        0x8b, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 3, 0x80, 0x40, 0, 0, 0xa0, 0x01, 0, 0, 0, 1, 0, 0,
    ];
    let reports = vec![Some(CcfbReport { ecn: 0, age: 64 }), None, Some(CcfbReport { ecn: 1, age: 1 })];
    let streams = vec![CcfbStream { ssrc: Ssrc(2), begin_seq: 10, reports }];
    let feedback = CcfbFeedback { sender: Ssrc(1), streams, timestamp: 0x1_0000 };
    assert_eq!(rtcp::parse(&bytes), [Rtcp::Ccfb(feedback.clone())]);
    assert_eq!(rtcp::write(&[Rtcp::Ccfb(feedback)]), bytes);
}

#[test]
fn known_bytes_of_a_playout_report() {
    let report = PlayoutReport {
        sender: Ssrc(1),
        media: Ssrc(2),
        slack: Duration::from_millis(405),
        held: Duration::from_secs(60),
        shares: Shares { made_up: Shares::of(1, 10_000), coded: Shares::of(1, 2), ..Shares::default() },
    };
    let mut bytes = rtcp::write(&[Rtcp::Playout(report)]);
    assert_eq!(
        bytes,
        [0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, b'U', b'T', b'P', b'O', 40, 255, 1, 0, 0, 128, 0, 0]
    );
    // What a later version appends is skipped; what is cut short is no report.
    let told =
        PlayoutReport { slack: Duration::from_millis(400), held: Duration::from_millis(2_550), ..report };
    bytes.extend_from_slice(&[1, 2, 3, 4]);
    bytes[3] = 6;
    assert_eq!(rtcp::parse(&bytes), [Rtcp::Playout(told)]);
    bytes.truncate(20);
    bytes[3] = 4;
    assert_eq!(rtcp::parse(&bytes), []);
    assert_eq!([Shares::of(0, 0), Shares::of(7, 7), Shares::of(9, 7), Shares::of(0, 7)], [0, 255, 255, 0]);
}

#[test]
fn a_report_block_tells_the_round_trip() {
    let sent = rtcp::ntp(Timestamp::from_millis(1000));
    let answered = rtcp::ntp(Timestamp::from_millis(1300));
    let block = ReportBlock {
        last_sr: (sent >> 16) as u32,
        delay_since_last_sr: 65_536 / 4, // held for 250 ms
        ..ReportBlock::default()
    };
    let rtt = block.round_trip(answered).expect("answers a report");
    assert!((49..=51).contains(&rtt.as_millis()), "{rtt:?}");
    assert_eq!(block.round_trip(sent), None, "answered before it was sent");
    assert_eq!(ReportBlock::default().round_trip(answered), None);
}

#[test]
fn reports_are_dated_so_that_every_receiver_can_give_the_date_back() {
    assert_eq!(rtcp::ntp(Timestamp::ZERO), 2_208_988_800 << 32, "1970 in NTP time");
    // A receiver that kept our report as a time before Unix time's beginning would give another back.
    let strange = ReportBlock { last_sr: 0x7e80_0000, ..ReportBlock::default() };
    assert_eq!(
        strange.round_trip(rtcp::ntp(Timestamp::from_millis(100_000))),
        None,
        "it answers none of ours"
    );
}
