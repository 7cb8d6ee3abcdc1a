//! STUN, RTP, RTCP, SRTP.

use super::{Script, later};
use std::time::Duration;
use undertone_media::{DataSize, MediaTime, Ssrc, Timestamp};
use undertone_transport::bwe::{self, Cc, DelayLoss};
use undertone_transport::feedback::{Format, PacketId, Recorder, SentLog};
use undertone_transport::recovery::red;
use undertone_transport::recovery::rlc::{Decoder, Encoder, Plan};
use undertone_transport::rtcp::{self, Rtcp};
use undertone_transport::rtp::{Extension, ExtensionMap, Extensions, Header};
use undertone_transport::srtp::{Opener, Profile, Refused, Sealer};
use undertone_transport::stream::{NackConfig, RecvConfig, RecvStream, Rtx, SendConfig, SendStream};
use undertone_transport::stun;

/// The password of the seeds.
pub(crate) const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

/// Our extensions, under one-byte ids or, with `wide`, two under ids that only the two-byte form can say.
pub(crate) fn extensions(wide: bool) -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for (id, extension) in (1..).zip(Extension::ALL) {
        map.set(id, extension);
    }
    if wide {
        map.set(200, Extension::Dependency);
        map.set(16, Extension::Mid);
    }
    map
}

/// A STUN message is read, and believed only under its key.
pub(crate) fn stun(data: &[u8]) {
    let Some(message) = stun::Message::parse(data) else {
        assert_eq!(stun::username(data), None);
        return;
    };
    assert!(!message.is_authentic(&stun::key("of somebody else")));
    let key = stun::key(PASSWORD);
    message.is_authentic(&key);
    stun::username(data);
    // What it asked can be asked again in our words.
    if let (Some(username), Some(priority), Some(part)) = (message.username, message.priority, message.part) {
        let check = stun::Check {
            transaction: message.transaction,
            username,
            priority,
            part,
            use_candidate: message.use_candidate,
        };
        let bytes = check.write(&key);
        let again = stun::Message::parse(&bytes).expect("our own check is sound");
        assert!(again.is_authentic(&key));
        assert_eq!(
            (again.username, again.priority, again.part),
            (Some(username), Some(priority), Some(part))
        );
    }
}

/// A header is read; written and read again it says the same.
pub(crate) fn rtp(data: &[u8]) {
    for wide in [false, true] {
        let map = extensions(wide);
        let Some((header, payload)) = Header::parse(data, &map) else { continue };
        assert!(payload.end <= data.len());
        let mut out = Vec::new();
        header.write(&map, &mut out);
        let (again, rest) = Header::parse(&out, &map).expect("our own header is one");
        assert_eq!(again, header);
        assert_eq!(rest, out.len()..out.len());
    }
}

/// Packets of a stream, its retransmissions and reports about it, in any order and at any time.
pub(crate) fn recv_stream(data: &[u8]) {
    let nack = NackConfig { echo: Some(Duration::from_millis(10)), tail: true, ..NackConfig::default() };
    let mut stream = RecvStream::new(RecvConfig {
        ssrc: Ssrc(7),
        payload_type: 111,
        clock_rate: 48_000,
        rtx_payload_type: Some(112),
        nack: Some(nack),
    });
    let map = extensions(false);
    let mut now = Timestamp::from_millis(1);
    let rtt = Some(Duration::from_millis(40));
    for (order, bytes) in Script::steps(data) {
        now += later(order);
        match order & 15 {
            0..=7 => {
                let Some((header, payload)) = Header::parse(bytes, &map) else { continue };
                if let Some(packet) = stream.receive(now, &header, &bytes[payload]) {
                    stream.capture_ntp(packet.time);
                    stream.repairable_until(packet.seq, rtt);
                }
            }
            8 => {
                let Some((header, payload)) = Header::parse(bytes, &map) else { continue };
                stream.receive_copy(now, &header, &bytes[payload]);
            }
            9 => rtcp::parse(bytes).iter().for_each(|report| stream.on_sender_report(now, report)),
            10 => drop(stream.report_block(now)),
            _ => assert!(stream.nack(now, rtt).len() <= 1001),
        }
        stream.deadline();
        let stats = stream.stats();
        assert!(stats.repaired <= stats.received);
    }
}

/// A packet with copies falls into parts that are together no more than it.
pub(crate) fn red(data: &[u8]) {
    let map = extensions(false);
    let Some((header, payload)) = Header::parse(data, &map) else { return };
    let payload = &data[payload];
    let parts = red::split(&header, payload);
    assert!(parts.iter().map(|(_, part)| part.len()).sum::<usize>() <= payload.len());
    let Some(((newest, new), older)) = parts.split_first() else { return };
    let before: Vec<(u32, &[u8])> = older.iter().rev().map(|(it, old)| (it.timestamp, *old)).collect();
    if older.iter().all(|(it, _)| it.payload_type == newest.payload_type)
        && let Some((joined, bytes)) = red::join(newest, new, &before, header.payload_type)
    {
        assert_eq!((joined, &bytes[..]), (header, payload));
    }
}

/// Packets with repair symbols, ours and the input's: nothing that comes makes a decoder hold or return more than
/// it may, and among our own alone nothing comes back but what was sent.
pub(crate) fn rlc(data: &[u8]) {
    let (mut encoder, mut honest, mut decoder) = (Encoder::new(), Decoder::new(111), Decoder::new(111));
    let mut sent: Vec<(Header, Vec<u8>)> = Vec::new();
    let (mut seq, mut timestamp) = (u16::MAX - 20, u32::MAX - 20_000);
    for (order, bytes) in Script::steps(data) {
        let step = [960, 960, 960, 1_920, 48_000, 7][usize::from(order >> 4) % 6];
        seq = seq.wrapping_add(1);
        timestamp = timestamp.wrapping_add(step);
        let header = Header { payload_type: 111, seq, timestamp, ssrc: Ssrc(7), ..Header::default() };
        if order & 3 == 3 {
            // As it came, with any number near ours.
            let header = Header { seq: seq.wrapping_sub(u16::from(order >> 2) % 40), ..header };
            let Some(carrier) = decoder.open(bytes) else { continue };
            assert!(carrier.payload.len() <= bytes.len());
            let back = decoder.receive(&header, &carrier, carrier.payload);
            assert!(back.iter().all(|(_, payload)| payload.len() <= 1275));
            assert!(decoder.memory() < 512 * 1024, "{}", decoder.memory());
            continue;
        }
        let (&[rate, window, symbol], payload) = bytes.split_first_chunk().unwrap_or((&[9, 9, 9], bytes));
        let plan = Plan {
            rate: u32::from(rate) * 40,
            window: usize::from(window) % 30,
            symbol: 2 * usize::from(symbol) % 130,
            max_bytes: 1_400,
        };
        let (dressed, bytes) = encoder.dress(&header, payload, payload, &plan, 113);
        sent.push((header, payload.to_vec()));
        if order & 3 == 2 {
            continue; // lost
        }
        let carrier = honest.open(&bytes).expect("our own packet can be read");
        assert_eq!(carrier.payload, payload);
        for back in honest.receive(&dressed, &carrier, payload) {
            assert!(sent.contains(&back), "{back:?} was never sent");
        }
        decoder.receive(&dressed, &carrier, payload);
    }
}

/// RTCP is read; written and read again it says the same.
pub(crate) fn rtcp(data: &[u8]) {
    let packets = rtcp::parse(data);
    let written = rtcp::write(&packets);
    let again = rtcp::parse(&written);
    assert_eq!(rtcp::write(&again), written);
    for (packet, again) in packets.iter().filter(|it| !matches!(it, Rtcp::Other { .. })).zip(&again) {
        match (packet, again) {
            // Numbers are packed anew, and an estimate keeps 18 bits.
            (Rtcp::Nack { .. }, Rtcp::Nack { .. }) | (Rtcp::Remb { .. }, Rtcp::Remb { .. }) => {}
            // Of one that holds more than a feedback packet may, the rest is left out.
            (Rtcp::Ccfb(all), Rtcp::Ccfb(_)) if all.streams.iter().any(|it| it.reports.len() > 16_384) => {}
            _ => assert_eq!(packet, again),
        }
    }
    for packet in &packets {
        if let Rtcp::SenderReport { blocks, .. } | Rtcp::ReceiverReport { blocks, .. } = packet {
            for block in blocks {
                block.round_trip(rtcp::ntp(Timestamp::from_millis(5_000)));
            }
        }
        if let Rtcp::Twcc(feedback) = packet {
            assert_eq!(feedback.arrivals().count(), feedback.deltas.len());
        }
    }
}

/// Feedback, requests and reports about what we sent, between packets sent and received.
pub(crate) fn feedback(data: &[u8]) {
    let mut log = SentLog::new();
    let mut cc = DelayLoss::new(bwe::Config::default());
    let mut sender = SendStream::new(SendConfig {
        rtx: Some(Rtx { ssrc: Ssrc(8), payload_type: 112 }),
        ..SendConfig::new(Ssrc(7), 111, 48_000, 0)
    });
    let mut recorders = [Recorder::new(Format::Twcc, Ssrc(9)), Recorder::new(Format::Ccfb, Ssrc(9))];
    let mut now = Timestamp::from_millis(1);
    let (mut time, mut number) = (MediaTime(0), 0u16);
    let map = extensions(false);
    for (order, bytes) in Script::steps(data) {
        now += later(order);
        match order & 15 {
            0..=3 => {
                for _ in 0..bytes.len().min(64) {
                    now += Duration::from_millis(5);
                    time = time + 960;
                    let header = sender.next(time, false, Extensions::default());
                    sender.store(now, &header, &bytes[..bytes.len().min(100)]);
                    let size = DataSize::from_bytes(100);
                    log.on_sent(now, PacketId::Rtp(header.ssrc, header.seq), size);
                    log.on_sent(now, PacketId::Twcc(number), size);
                    number = number.wrapping_add(1);
                    cc.on_sent(now, size);
                }
            }
            4 => {
                let Some((header, _)) = Header::parse(bytes, &map) else { continue };
                let size = DataSize::from_bytes(bytes.len() as u64);
                let [twcc, ccfb] = &mut recorders;
                twcc.on_packet(now, PacketId::Twcc(header.ext.twcc.unwrap_or(header.seq)), size);
                ccfb.on_packet(now, PacketId::Rtp(header.ssrc, header.seq), size);
            }
            _ => {
                for report in rtcp::parse(bytes) {
                    let outcomes = log.on_feedback(now, &report);
                    cc.on_feedback(now, &outcomes, log.rtt());
                    if let Rtcp::Nack { seqs, .. } = &report {
                        for &seq in seqs {
                            sender.resend(now, seq, log.rtt().unwrap_or_default() / 2);
                        }
                    }
                }
            }
        }
        cc.on_tick(now);
        assert!(cc.estimate().as_bps() > 0);
        for recorder in &mut recorders {
            if let Some(report) = recorder.poll(now) {
                // What we tell others can be read.
                let bytes = rtcp::write(std::slice::from_ref(&report));
                assert_eq!(rtcp::parse(&bytes), [report]);
            }
        }
    }
}

/// The keys of a profile, for both sides of the seeds.
pub(crate) fn ends(profile: Profile) -> (Sealer, Opener) {
    let (key, salt) = ([0x5a; 32], [0xa5; 14]);
    let (key, salt) = (&key[..profile.key_bytes()], &salt[..profile.salt_bytes()]);
    let sealer = Sealer::new(profile, key, salt).expect("the lengths are the profile's");
    (sealer, Opener::new(profile, key, salt).expect("the lengths are the profile's"))
}

pub(crate) const PROFILES: [Profile; 3] =
    [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];

/// What was sealed opens, once and unchanged; what was changed on the way, or never sealed, does not.
pub(crate) fn srtp(data: &[u8]) {
    let Some((&profile, data)) = data.split_first() else { return };
    let (mut sealer, mut opener) = ends(PROFILES[usize::from(profile) % 3]);
    for (order, bytes) in Script::steps(data) {
        let rtcp = order & 1 == 1;
        let mut open = |packet: &mut Vec<u8>| -> Result<usize, Refused> {
            if rtcp {
                opener.unprotect_rtcp(packet)
            } else {
                opener.unprotect_rtp(packet).map(|opened| opened.len)
            }
        };
        if order & 2 == 2 {
            // As it came: a capture of the seeds may even be authentic.
            if let Ok(len) = open(&mut bytes.to_vec()) {
                assert!(len <= bytes.len());
            }
            continue;
        }
        let mut sealed = bytes.to_vec();
        let done = if rtcp { sealer.protect_rtcp(&mut sealed) } else { sealer.protect_rtp(&mut sealed) };
        if done.is_err() {
            continue;
        }
        let at = usize::from(order >> 3).wrapping_mul(37) % sealed.len();
        let mut forged = sealed.clone();
        forged[at] ^= 1 << (order & 7);
        assert!(open(&mut forged).is_err(), "byte {at} was changed unnoticed");
        let mut opened = sealed.clone();
        // A number used before was refused above, so only a stream too many is refused here.
        if let Ok(len) = open(&mut opened) {
            assert_eq!(&opened[..len], bytes);
            assert!(open(&mut sealed).is_err(), "opened twice");
        }
    }
}
