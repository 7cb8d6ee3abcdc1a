//! Deep redundancy: what packets tell of the past, at any rate, for decoders that know it and for those that do not.

mod speech;

use proptest::prelude::*;
use speech::{energy, reading};
use std::time::Duration;
use undertone_codec::opus::{
    Decoder, DecoderConfig, Encoder, EncoderConfig, Redundancy, packet_duration, strip,
};
use undertone_media::Bitrate;

const MS_20: usize = 320;
const HALF_SECOND: Redundancy = Redundancy { span: Duration::from_millis(480), quantiser: 4, slope: 2 };

/// Packets as coded, and the same with redundancy.
fn encode(kbps: u64, packet_samples: usize, wanted: Redundancy, pcm: &[i16]) -> Vec<(Vec<u8>, Vec<u8>)> {
    // Deep redundancy brings back wideband alone.
    let config = EncoderConfig {
        bitrate: Bitrate::from_kbps(kbps),
        redundancy: true,
        narrowband: false,
        ..EncoderConfig::default()
    };
    let mut encoder = Encoder::new(&config).unwrap();
    let packets = pcm
        .chunks_exact(packet_samples)
        .map(|chunk| {
            let (mut bare, mut dressed) = (Vec::new(), Vec::new());
            encoder.encode(chunk, &mut bare).unwrap();
            if !encoder.dress(wanted, &bare, &mut dressed) {
                dressed.clone_from(&bare);
            }
            (bare, dressed)
        })
        .collect();
    assert!(encoder.is_within_bounds(), "libopus needs more room than it is given: see STATE_BYTES");
    packets
}

/// Loudness in steps of 20 ms: what deep redundancy promises to keep, since it invents the waveform.
fn envelope(pcm: &[i16]) -> Vec<f64> {
    pcm.chunks_exact(MS_20).map(|chunk| energy(chunk).max(1.0).log10()).collect()
}

fn decode(packets: &[(Vec<u8>, Vec<u8>)]) -> Vec<i16> {
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let mut pcm = Vec::new();
    for (_, packet) in packets {
        decoder.decode(packet, &mut pcm).unwrap();
    }
    pcm
}

/// How far 200 ms are from what was said when the packet after them brings them back, and when they are concealed.
fn filled(packets: &[(Vec<u8>, Vec<u8>)], burst: usize) -> (f64, f64) {
    let (mut deep_error, mut plc_error) = (0.0, 0.0);
    for lost in (40..packets.len() - 20).step_by(25) {
        let whole = decode(&packets[..lost + burst]);
        for deep in [true, false] {
            let mut out = Vec::new();
            let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
            for (_, packet) in &packets[..lost] {
                decoder.decode(packet, &mut out).unwrap();
            }
            let span = decoder.parse_dred(&packets[lost + burst].1);
            for offset in (1..=burst).rev().map(|back| back * MS_20) {
                // Where nobody spoke there is nothing to bring back.
                if !(deep && span.is_some_and(|span| offset <= span.reach)) {
                    decoder.conceal(MS_20, &mut out);
                } else {
                    assert!(decoder.recover_dred(offset, MS_20, &mut out));
                }
            }
            let from = lost * MS_20;
            let error: f64 =
                envelope(&whole[from..]).iter().zip(envelope(&out[from..])).map(|(a, b)| (a - b).abs()).sum();
            *if deep { &mut deep_error } else { &mut plc_error } += error;
        }
    }
    (deep_error, plc_error)
}

#[test]
fn a_burst_is_filled_at_any_rate() {
    for kbps in [6, 9, 22] {
        let (deep, concealed) = filled(&encode(kbps, MS_20, HALF_SECOND, &reading()), 10);
        assert!(deep < 0.55 * concealed, "{kbps} kbit/s: {deep} against {concealed}");
    }
}

#[test]
fn stripped_packets_are_as_coded() {
    for ms in [20, 40, 60, 80, 100, 120] {
        for (bare, dressed) in encode(9, ms * 16, HALF_SECOND, &reading()) {
            assert_eq!(packet_duration(&dressed), packet_duration(&bare));
            assert_eq!(strip(&dressed).unwrap(), bare, "{ms} ms");
        }
    }
}

#[test]
fn redundancy_leaves_the_speech_as_it_is() {
    let packets = encode(9, 3 * MS_20, HALF_SECOND, &reading());
    let bare: Vec<_> = packets.iter().map(|(bare, _)| (Vec::new(), bare.clone())).collect();
    assert_eq!(decode(&packets), decode(&bare));
}

#[test]
fn its_price_is_what_the_quantiser_says() {
    let bits = |wanted| {
        let packets = encode(9, 3 * MS_20, wanted, &reading());
        let more =
            packets.iter().skip(10).map(|(bare, dressed)| 8 * (dressed.len() - bare.len())).sum::<usize>();
        more / (packets.len() - 10)
    };
    let span = |ms, quantiser, slope| Redundancy { span: Duration::from_millis(ms), quantiser, slope };
    let (fine, coarse, short) = (bits(span(480, 2, 2)), bits(span(480, 9, 2)), bits(span(160, 2, 2)));
    assert!((500..1000).contains(&fine), "{fine} bits");
    assert!(coarse * 10 < fine * 6, "{coarse} against {fine} bits");
    assert!(short * 10 < fine * 6, "{short} against {fine} bits");
    assert_eq!(bits(span(0, 2, 2)), 0);
}

#[test]
fn nothing_is_told_beyond_the_reach() {
    let packets =
        encode(9, MS_20, Redundancy { span: Duration::from_millis(200), ..HALF_SECOND }, &reading());
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let mut pcm = Vec::new();
    assert!(!decoder.recover_dred(MS_20, MS_20, &mut pcm), "nothing was parsed");
    let reach = decoder.parse_dred(&packets[100].1).expect("it carries redundancy").reach;
    assert!((2400..=6400).contains(&reach), "{reach}");
    assert!(!decoder.recover_dred(reach + 40, 40, &mut pcm));
    assert!(!decoder.recover_dred(MS_20, 2 * MS_20, &mut pcm), "into the packet itself");
    assert!(!decoder.recover_dred(MS_20, 17, &mut pcm));
    assert!(pcm.is_empty());
    assert!(decoder.recover_dred(reach, MS_20.min(reach), &mut pcm));
    assert!(decoder.parse_dred(&[]).is_none());
    assert!(!decoder.recover_dred(MS_20, MS_20, &mut pcm), "a packet without any forgets the last");
}

#[test]
fn silence_has_nothing_to_tell() {
    let config = EncoderConfig { redundancy: true, ..EncoderConfig::default() };
    let mut encoder = Encoder::new(&config).unwrap();
    let (mut bare, mut dressed) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        encoder.encode(&[0; MS_20], &mut bare).unwrap();
    }
    assert!(!encoder.dress(HALF_SECOND, &bare, &mut dressed));
    assert!(dressed.is_empty());
}

/// Speech, a pause, speech: what the first packets after the pause tell must lie where it was said.
#[test]
fn after_a_pause_the_old_is_not_told_as_new() {
    let pcm = reading();
    let mut paused = pcm[16_000..48_000].to_vec();
    paused.resize(paused.len() + 30 * MS_20, 0);
    paused.extend_from_slice(&pcm[16_000..32_000]);
    let (from, to) = (100, 130);
    let packets = encode(22, MS_20, Redundancy { span: Duration::from_millis(1000), ..HALF_SECOND }, &paused);
    let whole = decode(&packets);
    let loud = energy(&whole[..from * MS_20]);
    let mut told = 0;
    for (index, (_, packet)) in packets.iter().enumerate().take(to + 25).skip(to) {
        let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
        let mut out = Vec::new();
        for (_, earlier) in &packets[..from + 12] {
            decoder.decode(earlier, &mut out).unwrap();
        }
        let Some(span) = decoder.parse_dred(packet) else { continue };
        // The middle of the pause, which this packet looks back on.
        for back in (index - to + 5..index - from - 10).rev() {
            let offset = back * MS_20;
            if offset <= span.reach && offset - MS_20 >= span.end {
                out.clear();
                assert!(decoder.recover_dred(offset, MS_20, &mut out));
                told += 1;
                let level = energy(&out) / loud;
                assert!(level < 0.02, "packet {index}: {level} of speech {back} frames back, in the pause");
            }
        }
    }
    assert!(told > 50, "{told}");
}

#[test]
fn all_of_a_long_redundancy_is_read() {
    let second = Redundancy { span: Duration::from_millis(1040), quantiser: 2, slope: 0 };
    let packets = encode(9, MS_20, second, &reading());
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let mut longest = 0;
    for (index, (_, dressed)) in packets.iter().enumerate().skip(5) {
        let Some(span) = decoder.parse_dred(dressed) else { continue };
        longest = longest.max(span.reach - span.end);
        // It never claims to remember what was before the first packet (but for the step of 40 ms).
        assert!(span.reach <= (index + 2) * MS_20, "packet {index}: {span:?}");
    }
    assert!(
        longest >= 26 * 640 - 10 * 40,
        "all 26 chunks of 40 ms, but for the offset of a latent: {longest}"
    );
}

/// The wire has room for a claim that the redundancy ends 20 s ago.
#[test]
fn no_packet_claims_more_than_an_encoder_can_know() {
    let (bare, _) = encode(9, MS_20, HALF_SECOND, &reading()[..3200]).pop().unwrap();
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let (mut state, mut read) = (1u32, 0);
    for _ in 0..3000 {
        let junk: Vec<u8> = (0..24)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        // A code 3 packet of one frame, with an extension 126 that fills its padding.
        let padding = [&[126 << 1, b'D', 12][..], &junk].concat();
        let packet = [&[bare[0] | 3, 0x41, padding.len() as u8][..], &bare[1..], &padding].concat();
        assert_eq!(strip(&packet).as_ref(), Some(&bare));
        let Some(span) = decoder.parse_dred(&packet) else { continue };
        read += 1;
        assert!(span.end <= 17_000 && span.reach <= 34_000, "{span:?}");
    }
    assert!(read > 500, "{read} were read at all");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever a peer puts where redundancy belongs: it is read or refused, and speech can be asked for anywhere.
    #[test]
    fn any_padding_is_read_without_harm(
        junk in prop::collection::vec(any::<u8>(), 0..300),
        flip in 0usize..2000,
        offset in 0usize..30_000,
    ) {
        let (bare, mut dressed) = encode(9, MS_20, HALF_SECOND, &reading()[..16_000]).pop().unwrap();
        let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
        let mut pcm = Vec::new();
        decoder.decode(&bare, &mut pcm).unwrap();
        let place = flip / 8 % dressed.len();
        dressed[place] ^= 1 << (flip % 8);
        for packet in [&dressed, &[&[bare[0] | 3, 0x41, junk.len().min(254) as u8][..], &junk].concat()] {
            let reach = decoder.parse_dred(packet).map_or(0, |span| span.reach);
            decoder.recover_dred(offset.min(reach), MS_20, &mut pcm);
            strip(packet);
        }
    }

    #[test]
    fn damaged_redundancy_never_crashes(
        damage in prop::collection::vec((0usize..400, any::<u8>()), 1..5),
        cut in 1usize..400,
    ) {
        let wanted = Redundancy { span: Duration::from_millis(1000), ..HALF_SECOND };
        let (_, mut packet) = encode(32, MS_20, wanted, &reading()[..8000]).pop().unwrap();
        for (at, byte) in damage {
            let length = packet.len();
            packet[at % length] = byte;
        }
        packet.truncate(cut);
        let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
        let mut pcm = Vec::new();
        if let Some(span) = decoder.parse_dred(&packet) {
            for offset in (MS_20..=span.reach).step_by(MS_20) {
                decoder.recover_dred(offset, MS_20, &mut pcm);
            }
        }
        let _ = decoder.decode(&packet, &mut pcm);
    }
}

/// The network that makes sound of deep redundancy goes astray once in some hundred losses, and roars at full scale.
#[test]
fn what_is_brought_back_never_roars() {
    let wanted = Redundancy { span: Duration::from_millis(400), quantiser: 2, slope: 2 };
    let mut random = 1u32;
    let mut draw = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random >> 16
    };
    for name in ["librivox_austen_0870.wav", "librivox_austen_0920.wav", "codec2_speech_orig_16k.wav"] {
        let packets = encode(18, MS_20, wanted, &speech::clip(name));
        let whole = decode(&packets);
        let loudest = whole.chunks(MS_20).map(energy).fold(0.0, f64::max);
        for _ in 0..4 {
            let (mut decoder, mut out) = (Decoder::new(DecoderConfig::default()).unwrap(), Vec::new());
            let mut lost = 0;
            for (_, packet) in &packets {
                // Outages of some hundred milliseconds, half of the time.
                let outage = if lost > 0 { 12 } else { 88 };
                if draw() % 100 >= outage {
                    lost += 1;
                    continue;
                }
                let span = decoder.parse_dred(packet);
                for offset in (1..=lost).rev().map(|back| back * MS_20) {
                    let reached = span.is_some_and(|span| offset <= span.reach);
                    if !(reached && decoder.recover_dred(offset, MS_20, &mut out)) {
                        decoder.conceal(MS_20, &mut out);
                    }
                }
                lost = 0;
                decoder.decode(packet, &mut out).unwrap();
            }
            let roar = out.chunks(MS_20).map(energy).fold(0.0, f64::max);
            assert!(
                roar < 3.0 * loudest,
                "{:.0} dB louder than anybody was",
                10.0 * (roar / loudest).log10()
            );
        }
    }
}
