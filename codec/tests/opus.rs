//! Speech through Opus: quality, rate, losses, bad packets.

mod speech;

use proptest::prelude::*;
use speech::{alike, clip, energy, reading, snr_db};
use std::ops::RangeInclusive;
use std::time::Duration;
use undertone_codec::opus::{
    Decoder, DecoderConfig, Encoder, EncoderConfig, Level, has_lbrr, packet_duration, strip,
};
use undertone_codec::{CodecError, SAMPLE_RATE};
use undertone_media::Bitrate;

const MS_20: usize = 320;

/// A packet's first five bits if it is SILK at narrowband, and at wideband (RFC 6716, table 2).
const NARROWBAND: RangeInclusive<u8> = 0..=3;
const WIDEBAND: RangeInclusive<u8> = 8..=11;

fn encode(config: &EncoderConfig, pcm: &[i16], packet_samples: usize) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(config).unwrap();
    pcm.chunks_exact(packet_samples)
        .map(|chunk| {
            let mut packet = Vec::new();
            encoder.encode(chunk, &mut packet).unwrap();
            packet
        })
        .collect()
}

fn decode(level: Level, packets: &[Vec<u8>]) -> Vec<i16> {
    let mut decoder = Decoder::new(DecoderConfig { level, ..Default::default() }).unwrap();
    let mut pcm = Vec::new();
    for packet in packets {
        decoder.decode(packet, &mut pcm).unwrap();
    }
    pcm
}

fn kbps(packets: &[Vec<u8>], pcm: &[i16]) -> f64 {
    let bits: usize = packets.iter().map(|packet| 8 * packet.len()).sum();
    bits as f64 / (pcm.len() as f64 / f64::from(SAMPLE_RATE)) / 1000.0
}

#[test]
fn speech_survives_at_the_default_rate() {
    for name in ["librivox_austen_0870.wav", "librivox_austen_0890.wav", "codec2_speech_orig_16k.wav"] {
        let pcm = clip(name);
        let config = EncoderConfig::default();
        let packets = encode(&config, &pcm, MS_20);
        let rate = kbps(&packets, &pcm);
        assert!((19.5..22.5).contains(&rate), "{name}: {rate} kbit/s");
        // The lookahead that the encoder names is the delay that is heard.
        let lookahead = Encoder::new(&config).unwrap().lookahead();
        assert_eq!(lookahead, Duration::from_micros(6500));
        let delay = (lookahead.as_micros() * u128::from(SAMPLE_RATE) / 1_000_000) as usize;
        for level in [Level::Plain, Level::Lace, Level::NoLace] {
            let heard = decode(level, &packets);
            let at = |delay: usize| alike(&pcm[..pcm.len() - 2 * MS_20], &heard[delay..]);
            assert!(at(delay) > 0.95, "{name} {level:?}: {}", at(delay));
            assert!((delay - 20..delay + 20).all(|other| at(other) <= at(delay) + 0.01), "{name} {level:?}");
        }
    }
}

#[test]
fn enhancement_changes_low_rates() {
    let pcm = reading();
    let packets =
        encode(&EncoderConfig { bitrate: Bitrate::from_kbps(9), ..Default::default() }, &pcm, MS_20);
    let [plain, lace, nolace] =
        [Level::Plain, Level::Lace, Level::NoLace].map(|level| decode(level, &packets));
    for enhanced in [&lace, &nolace] {
        assert!((5.0..30.0).contains(&snr_db(&plain, enhanced)), "{}", snr_db(&plain, enhanced));
    }
    assert_ne!(lace, nolace);
}

#[test]
fn packets_hold_twenty_to_a_hundred_and_twenty_milliseconds() {
    let pcm = reading();
    for ms in [20, 40, 60, 80, 100, 120] {
        let packets = encode(&EncoderConfig::default(), &pcm, ms * 16);
        assert!(packets.iter().all(|p| packet_duration(p) == Some(Duration::from_millis(ms as u64))));
        let heard = decode(Level::Lace, &packets);
        assert_eq!(heard.len(), packets.len() * ms * 16);
        let likeness = alike(&pcm[16_000..80_000], &heard[16_104..80_104]);
        assert!(likeness > 0.95, "{ms} ms: {likeness}");
    }
    let mut encoder = Encoder::new(&EncoderConfig::default()).unwrap();
    for samples in [0, 1, 160, 319, 321, 480, 2240] {
        let refused = encoder.encode(&vec![0; samples], &mut Vec::new());
        assert!(matches!(refused, Err(CodecError::ApiMisuse(_))), "{samples}");
    }
}

#[test]
fn a_long_packet_is_as_good_as_the_frames_in_it() {
    let pcm = &reading()[16_000..80_000];
    for (kbps, lbrr) in [(9, false), (24, false), (24, true)] {
        let config = EncoderConfig {
            bitrate: Bitrate::from_kbps(kbps),
            lbrr: lbrr.then_some(20),
            ..Default::default()
        };
        let quality = |ms: usize| {
            let packets = encode(&config, pcm, ms * 16);
            let rate = self::kbps(&packets, pcm);
            assert!((rate - kbps as f64).abs() < 0.06 * kbps as f64, "{ms} ms: {rate} kbit/s");
            let heard = decode(Level::Plain, &packets);
            alike(&pcm[..heard.len() - 104], &heard[104..])
        };
        for (long, frame) in [(80, 40), (100, 20), (120, 60)] {
            let (long, frame) = (quality(long), quality(frame));
            assert!((long - frame).abs() < 0.002, "{kbps} kbit/s, LBRR {lbrr}: {long} against {frame}");
        }
    }
}

#[test]
fn speech_stays_in_the_speech_codec_at_any_effort_and_rate() {
    let pcm = &reading()[..48_000];
    for complexity in 0..=10 {
        for kbps in [6, 22, 48, 128] {
            let config =
                EncoderConfig { complexity, bitrate: Bitrate::from_kbps(kbps), ..Default::default() };
            let wanted = if kbps == 6 { NARROWBAND } else { WIDEBAND };
            for packet in encode(&config, pcm, MS_20) {
                assert!(
                    wanted.contains(&(packet[0] >> 3)),
                    "{complexity}, {kbps} kbit/s: {}",
                    packet[0] >> 3
                );
            }
        }
    }
}

#[test]
fn a_thin_rate_is_used_up_and_not_exceeded() {
    let pcm = reading();
    for (frames, rates) in
        [(1, [6_000, 7_000, 8_000, 9_000, 12_000]), (3, [6_000, 6_500, 7_500, 8_000, 11_000])]
    {
        for bps in rates {
            let config = EncoderConfig { bitrate: Bitrate::from_bps(bps), ..Default::default() };
            let took = kbps(&encode(&config, &pcm, frames * MS_20), &pcm) * 1000.0 / bps as f64;
            assert!((0.97..1.01).contains(&took), "{bps} bit/s in {frames} frames: {took:.3} of it");
        }
    }
}

#[test]
fn the_bandwidth_follows_the_rate_and_is_heard_of_only_in_the_sound() {
    let pcm = reading();
    let mut encoder =
        Encoder::new(&EncoderConfig { bitrate: Bitrate::from_kbps(6), ..Default::default() }).unwrap();
    let mut packets = Vec::new();
    let chunks = || pcm.iter().copied().cycle().take(60 * 16_000).collect::<Vec<_>>();
    for (number, chunk) in chunks().chunks_exact(MS_20).enumerate() {
        encoder.set_bitrate(Bitrate::from_kbps(if (1_000..2_000).contains(&number) { 16 } else { 6 }));
        let mut packet = Vec::new();
        encoder.encode(chunk, &mut packet).unwrap();
        packets.push(packet);
    }
    // libopus moves over in seconds, and in pauses, so that no step is heard.
    let bandwidth = |number: usize| packets[number][0] >> 3;
    assert!(NARROWBAND.contains(&bandwidth(999)) && WIDEBAND.contains(&bandwidth(1_999)));
    assert!(NARROWBAND.contains(&bandwidth(2_999)), "{}", bandwidth(2_999));
    let (said, heard) = (chunks(), decode(Level::Lace, &packets));
    let steepest = |pcm: &[i16]| pcm.windows(2).map(|two| two[1].abs_diff(two[0])).max().unwrap();
    let changes = (1..packets.len()).filter(|&number| bandwidth(number) != bandwidth(number - 1));
    for at in changes.map(|number| number * MS_20) {
        let around = at - 2 * MS_20..at + 2 * MS_20;
        let (said, heard) = (steepest(&said[around.clone()]), steepest(&heard[around]));
        assert!(heard < 2 * said + 100, "{heard} after {said} at {at}");
    }
}

#[test]
fn the_rate_changes_while_it_runs() {
    let pcm = reading();
    let mut encoder = Encoder::new(&EncoderConfig::default()).unwrap();
    let mut sizes = Vec::new();
    for bitrate in [8, 40, 12] {
        encoder.set_bitrate(Bitrate::from_kbps(bitrate));
        let mut packet = Vec::new();
        let mut bytes = 0;
        for chunk in pcm[..32_000].chunks_exact(MS_20) {
            encoder.encode(chunk, &mut packet).unwrap();
            bytes += packet.len();
        }
        sizes.push(bytes as f64 * 8.0 / 2.0 / 1000.0);
    }
    for (got, wanted) in sizes.iter().zip([8.0, 40.0, 12.0]) {
        assert!((got - wanted).abs() < 0.2 * wanted, "{sizes:?}");
    }
}

#[test]
fn silence_costs_next_to_nothing_with_dtx() {
    let mut pcm = reading()[..32_000].to_vec();
    pcm.resize(32_000 + 5 * 16_000, 0);
    let packets = encode(&EncoderConfig { dtx: true, ..Default::default() }, &pcm, MS_20);
    let sent_in_silence = packets[150..].iter().filter(|packet| packet.len() > 2).count();
    assert!(sent_in_silence <= 15, "{sent_in_silence} of {}", packets.len() - 150);
    let heard = decode(Level::Lace, &packets);
    assert_eq!(heard.len(), pcm.len(), "what was not sent still lasts its time");
    assert!(energy(&heard[64_000..]) < 100.0);
}

/// What comes out in place of packet `lost` and ten after, by some way to fill the gap, as likeness to what
/// would have come out had nothing been lost.
fn fill_one(packets: &[Vec<u8>], lost: usize, fill: impl Fn(&mut Decoder, &mut Vec<i16>)) -> f64 {
    let whole = decode(Level::Lace, &packets[..=lost]);
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let mut pcm = Vec::new();
    for packet in &packets[..lost] {
        decoder.decode(packet, &mut pcm).unwrap();
    }
    fill(&mut decoder, &mut pcm);
    assert_eq!(pcm.len(), whole.len());
    let from = lost * MS_20;
    alike(&whole[from..], &pcm[from..])
}

#[test]
fn the_low_rate_copy_fills_a_gap_better_than_concealment() {
    let pcm = reading();
    let config = EncoderConfig { bitrate: Bitrate::from_kbps(28), lbrr: Some(20), ..Default::default() };
    let packets = encode(&config, &pcm, MS_20);
    let (mut copied, mut concealed, mut count) = (0.0, 0.0, 0.0);
    for lost in (20..packets.len() - 1).step_by(7).filter(|&lost| has_lbrr(&packets[lost + 1])) {
        copied += fill_one(&packets, lost, |decoder, out| {
            assert!(decoder.recover_lbrr(&packets[lost + 1], MS_20, out));
        });
        concealed += fill_one(&packets, lost, |decoder, out| {
            assert_eq!(decoder.conceal(MS_20, out), MS_20);
        });
        count += 1.0;
    }
    let (copied, concealed) = (copied / count, concealed / count);
    assert!(count > 20.0, "{count} packets carry a copy");
    assert!(copied > 0.85 && copied > concealed + 0.1, "{copied} against {concealed}");
}

#[test]
fn no_copy_is_recovered_from_a_packet_without_one() {
    let packets = encode(&EncoderConfig::default(), &reading(), MS_20);
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let mut pcm = Vec::new();
    assert!(!has_lbrr(&packets[50]));
    assert!(!decoder.recover_lbrr(&packets[50], MS_20, &mut pcm));
    assert!(!decoder.recover_lbrr(&[], MS_20, &mut pcm));
    assert!(pcm.is_empty());
}

#[test]
fn concealment_lasts_as_long_as_asked_and_fades() {
    let packets = encode(&EncoderConfig::default(), &reading(), MS_20);
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let mut pcm = Vec::new();
    assert_eq!(decoder.conceal(160, &mut pcm), 160, "even before anything was heard");
    assert!(pcm.iter().all(|&s| s == 0));
    for packet in &packets[..60] {
        decoder.decode(packet, &mut pcm).unwrap();
    }
    pcm.clear();
    assert_eq!(decoder.conceal(150, &mut pcm), 160);
    for _ in 0..100 {
        decoder.conceal(160, &mut pcm);
    }
    assert_eq!(pcm.len(), 101 * 160);
    assert!(energy(&pcm[..320]) > 10_000.0, "it continues");
    assert!(energy(&pcm[15_000..]) < 0.05 * energy(&pcm[..320]), "it does not drone on");
    pcm.clear();
    assert_eq!(decoder.conceal(10 * 16_000, &mut pcm), 10 * 16_000, "however long");
    assert_eq!(pcm.len(), 10 * 16_000);
}

#[test]
fn a_bad_packet_changes_nothing() {
    let packets = encode(&EncoderConfig::default(), &reading(), MS_20);
    let clean = decode(Level::Lace, &packets);
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let mut pcm = Vec::new();
    for packet in &packets {
        for bad in [&[][..], &[0xff], &[0x4b, 0xff, 0xff], &[0x03, 0x3f]] {
            let before = pcm.len();
            let refused = decoder.decode(bad, &mut pcm);
            assert!(matches!(refused, Err(CodecError::PeerMisbehaved { .. })), "{bad:?}: {refused:?}");
            assert_eq!(pcm.len(), before);
        }
        decoder.decode(packet, &mut pcm).unwrap();
    }
    assert_eq!(pcm, clean);
}

#[test]
fn the_same_speech_gives_the_same_bytes() {
    let pcm = reading();
    let config = EncoderConfig { lbrr: Some(10), ..Default::default() };
    let (once, twice) = (encode(&config, &pcm, MS_20), encode(&config, &pcm, MS_20));
    assert_eq!(once, twice);
    assert_eq!(decode(Level::Lace, &once), decode(Level::Lace, &twice));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn garbage_is_refused_or_decodes_to_its_duration(packet in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
        let mut pcm = Vec::new();
        match decoder.decode(&packet, &mut pcm) {
            Ok(samples) => {
                prop_assert_eq!(samples, pcm.len());
                prop_assert_eq!(packet_duration(&packet), Some(Duration::from_micros(samples as u64 * 125 / 2)));
            }
            Err(_) => prop_assert!(pcm.is_empty()),
        }
        if let Some(bare) = strip(&packet) {
            prop_assert_eq!(packet_duration(&bare), packet_duration(&packet), "the padding holds no speech");
            prop_assert!(bare.len() <= packet.len());
            prop_assert_eq!(strip(&bare), Some(bare));
        }
        let _ = has_lbrr(&packet);
        decoder.recover_lbrr(&packet, MS_20, &mut pcm);
        if let Some(span) = decoder.parse_dred(&packet) {
            for offset in (40..=span.reach).step_by(360) {
                decoder.recover_dred(offset, 40, &mut pcm);
            }
        }
    }
}

#[test]
fn what_was_only_late_decodes_as_if_nothing_had_been_made_up() {
    let packets = encode(&EncoderConfig::default(), &reading(), MS_20);
    let whole = decode(Level::Lace, &packets);
    let mut decoder = Decoder::new(DecoderConfig { level: Level::Lace, ..Default::default() }).unwrap();
    let (mut pcm, mut made_up) = (Vec::new(), Vec::new());
    for (number, packet) in packets.iter().enumerate() {
        if number % 7 == 3 {
            decoder.remember();
            decoder.conceal(5 * MS_20 / 2, &mut made_up);
            decoder.rewind();
        }
        decoder.decode(packet, &mut pcm).unwrap();
    }
    assert!(pcm == whole, "rewinding leaves no trace");
    // Never remembered: a new decoder's state.
    let mut fresh = Decoder::new(DecoderConfig { level: Level::Lace, ..Default::default() }).unwrap();
    fresh.decode(&packets[5], &mut Vec::new()).unwrap();
    fresh.rewind();
    let mut first = Vec::new();
    fresh.decode(&packets[0], &mut first).unwrap();
    assert!(first == whole[..MS_20]);
}

#[test]
fn wideband_comes_at_once_where_losses_want_it() {
    let pcm = reading();
    let mut encoder =
        Encoder::new(&EncoderConfig { bitrate: Bitrate::from_kbps(6), ..Default::default() }).unwrap();
    let mut packet = Vec::new();
    let mut bandwidths = pcm.chunks_exact(MS_20).take(100).enumerate().map(|(number, chunk)| {
        encoder.set_narrowband(number < 50);
        encoder.encode(chunk, &mut packet).unwrap();
        packet[0] >> 3
    });
    assert!(bandwidths.by_ref().take(50).all(|it| NARROWBAND.contains(&it)));
    assert!(bandwidths.all(|it| WIDEBAND.contains(&it)));
}
