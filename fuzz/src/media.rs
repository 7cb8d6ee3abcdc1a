//! Payloads, jitter buffers, and the codecs that read what the network brought.

use super::{Script, later};
use std::time::Duration;
use undertone_codec::{h264 as codec, opus};
use undertone_jitter::frames::{self, FrameBuffer};
use undertone_jitter::{Config, Contents, JitterBuffer, Playout};
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};
use undertone_transport::payload::{dd, h264, vp8};

/// Payloads of one access unit, each a step. What fits together can be cut and put together again.
pub(crate) fn h264_payload(data: &[u8]) {
    let payloads: Vec<&[u8]> = Script::steps(data).map(|(_, bytes)| bytes).collect();
    for payload in &payloads {
        h264::is_key(payload);
        h264::is_start(payload);
        vp8::is_key(payload);
    }
    let Some(annexb) = h264::assemble(payloads.iter().copied()) else { return };
    let max = 8 + usize::from(data[0]);
    let parts = h264::packetize(&annexb, max);
    assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= max));
    // Units of types that RTP uses for itself cannot travel; what the encoder makes has none.
    if h264::nal_units(&annexb).all(|unit| (1..=23).contains(&(unit[0] & 0x1f))) && !parts.is_empty() {
        let again = h264::assemble(parts.iter().map(Vec::as_slice)).expect("our own payloads fit together");
        assert!(h264::nal_units(&again).eq(h264::nal_units(&annexb)));
    }
}

/// Dependency descriptors of one stream, each a step.
pub(crate) fn dd(data: &[u8]) {
    let mut parser = dd::Parser::default();
    for (_, bytes) in Script::steps(data) {
        if let Some(facts) = parser.parse(bytes) {
            assert!(facts.spatial < 4 && facts.temporal < 8);
            let mut ours = dd::Parser::default();
            let first = dd::Facts { key: true, start: true, spatial: 0, temporal: 0, ..facts };
            assert_eq!(ours.parse(dd::Writer::new(3).write(&first).as_bytes()), Some(first));
        }
    }
}

/// A packet from four bytes of a step and what follows them: sequence number and time near the newest, or not.
fn packet(now: Timestamp, bytes: &[u8], newest: &mut (u64, u64), ticks: u64) -> Option<Packet> {
    let (&[near, far, time, flags], payload) = bytes.split_first_chunk::<4>()?;
    let step = i64::from(near as i8) + if flags & 4 == 0 { 0 } else { i64::from(far as i8) * 3_000 };
    let seq = newest.0.saturating_add_signed(step);
    let jump = if flags & 8 == 0 { 0 } else { i64::from(far as i8) << 24 };
    let date = newest.1.saturating_add_signed(step * ticks as i64 + i64::from(time as i8) * 16 + jump);
    *newest = (seq, date);
    Some(Packet {
        seq: SeqNo(seq),
        time: MediaTime(date),
        marker: flags & 1 == 1,
        payload_type: 111,
        arrival: now,
        repaired: flags & 2 == 2,
        payload: payload.to_vec(),
    })
}

/// Until when a missing packet may come, as a stream would say it.
fn repair(order: u8, now: Timestamp) -> impl Fn(SeqNo) -> Option<Timestamp> {
    move |seq| (order & 4 == 4 && seq.0 % 3 == 0).then(|| now + Duration::from_millis(30))
}

/// Video packets with any facts: what leaves is whole, in order, and each picture once.
pub(crate) fn frames(data: &[u8]) {
    let mut buffer = FrameBuffer::new(frames::Config { max_packets: 64, ..frames::Config::default() });
    let mut now = Timestamp::from_millis(1);
    let mut newest = (0x1_0000, 0x1_0000_0000);
    for (order, bytes) in Script::steps(data) {
        now += later(order);
        if let Some(packet) = packet(now, bytes, &mut newest, 3_000) {
            let flags = bytes[3];
            let facts = match flags & 16 {
                0 => frames::Facts {
                    start: h264::is_start(&packet.payload),
                    end: packet.marker,
                    key: h264::is_key(&packet.payload),
                    layer: None,
                },
                _ => frames::Facts {
                    start: flags & 32 > 0,
                    end: flags & 64 > 0,
                    key: flags & 128 > 0,
                    layer: Some(frames::Layer {
                        number: u16::from(bytes[2]),
                        temporal: flags & 3,
                        discardable: flags & 3 == 2,
                    }),
                },
            };
            buffer.insert(now, packet, facts);
        }
        if order & 8 == 8 {
            buffer.hold(later(order));
        }
        while let Some(frame) = buffer.poll(now, repair(order, now)) {
            assert!(frame.packets.windows(2).all(|pair| pair[0].seq.next() == pair[1].seq));
            assert!(frame.packets.iter().all(|packet| packet.time == frame.time));
            h264::assemble(frame.packets.iter().map(|packet| packet.payload.as_slice()));
        }
        buffer.deadline();
        buffer.wants_key();
        buffer.standing();
    }
}

/// Audio packets of any number, date and length: what is decided is never more than a moment's
/// sound, and comes to an end.
pub(crate) fn jitter(data: &[u8]) {
    let mut buffer = JitterBuffer::new(Config::default());
    let mut now = Timestamp::from_millis(1);
    let mut newest = (0x1_0000, 0x1_0000_0000);
    let mut queued = Duration::ZERO;
    for (order, bytes) in Script::steps(data) {
        if let Some(packet) = packet(now, bytes, &mut newest, 960) {
            let duration = Duration::from_micros(2_500) * u32::from(order & 63);
            let dred = Duration::from_millis(u64::from(bytes[3]) * 4);
            buffer.insert(
                now,
                packet,
                Contents { duration, lbrr: order & 1 == 1, dred, pause: order & 2 == 2 },
            );
        }
        let until = now + later(order);
        loop {
            let mut decisions = 0;
            while queued < Duration::from_millis(10) {
                decisions += 1;
                assert!(decisions < 100, "decisions without end");
                queued += match buffer.decide(now, queued, repair(order, now)) {
                    Playout::Play { packet, .. } => {
                        opus::packet_duration(&packet.payload).unwrap_or(Duration::from_millis(20))
                    }
                    Playout::Recover { missing, .. } => missing,
                    Playout::Conceal { duration } | Playout::Silence { duration } => {
                        assert!(duration <= Duration::from_millis(200), "{duration:?} at once");
                        duration
                    }
                    Playout::Wait => break,
                };
            }
            queued = queued.saturating_sub(Duration::from_millis(10));
            if now >= until {
                break;
            }
            now += Duration::from_millis(10);
        }
        assert!(buffer.target() <= Duration::from_secs(60));
    }
}

/// Opus packets, some lost and brought back from any other.
pub(crate) fn opus(data: &[u8]) {
    let Some((&level, data)) = data.split_first() else { return };
    let level = [opus::Level::Plain, opus::Level::Lace, opus::Level::NoLace][usize::from(level) % 3];
    let mut decoder = opus::Decoder::new(opus::DecoderConfig { level, ..Default::default() })
        .expect("a decoder can be made");
    let mut out = Vec::new();
    for (order, bytes) in Script::steps(data).take(16) {
        out.clear();
        let duration = opus::packet_duration(bytes);
        let samples = duration.map_or(320, |it| (it.as_micros() * 16 / 1000) as usize);
        assert!(samples <= 1920);
        match order & 7 {
            0..=2 => match decoder.decode(bytes, &mut out) {
                Ok(decoded) => assert_eq!((decoded, out.len()), (samples, samples)),
                Err(_) => assert!(out.is_empty()),
            },
            3 => {
                let made = decoder.conceal(usize::from(order >> 3) * 80, &mut out);
                assert_eq!(made, out.len());
            }
            4 => {
                if let Some(bare) = opus::strip(bytes) {
                    assert_eq!(opus::packet_duration(&bare), duration, "the padding holds no speech");
                    assert!(bare.len() <= bytes.len() && opus::strip(&bare).as_ref() == Some(&bare));
                }
                opus::has_lbrr(bytes);
                let got = decoder.recover_lbrr(bytes, samples, &mut out);
                assert_eq!(out.len(), if got { samples } else { 0 });
            }
            _ => {
                let offset = usize::from(order >> 3) * 320;
                let got = decoder.parse_dred(bytes).is_some() && decoder.recover_dred(offset, 320, &mut out);
                assert_eq!(out.len(), if got { 320 } else { 0 });
            }
        }
    }
}

/// Access units, each a step, of pictures no larger than a phone's.
pub(crate) fn h264_decoder(data: &[u8]) {
    let mut decoder = codec::Decoder::new();
    for (_, bytes) in Script::steps(data).take(8) {
        if let Ok(Some(picture)) = decoder.decode(bytes, Timestamp::ZERO) {
            assert_eq!(picture.data.len(), picture.width * picture.height * 3 / 2);
        }
    }
}
