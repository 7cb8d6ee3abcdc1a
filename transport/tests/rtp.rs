//! The header parser against the `rtp` crate as an oracle, and against nonsense.

use proptest::prelude::*;
use rtp::packet::Packet;
use undertone_media::Ssrc;
use undertone_transport::rtp::{AudioLevel, Descriptor, Extension, ExtensionMap, Extensions, Header, Mid};
use webrtc_util::marshal::{Marshal, Unmarshal};

fn map() -> ExtensionMap {
    ExtensionMap::new(&[
        (1, Extension::Mid),
        (2, Extension::AudioLevel),
        (3, Extension::AbsSendTime),
        (4, Extension::TransportCc),
        (5, Extension::CaptureTime),
        (6, Extension::Dependency),
        (20, Extension::Rid),
    ])
}

prop_compose! {
    fn extensions()(
        mid in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..=16)),
        rid in proptest::option::weighted(0.2, proptest::collection::vec(any::<u8>(), 1..=16)),
        level in proptest::option::of((any::<bool>(), 0u8..128)),
        abs_send_time in proptest::option::of(0u32..1 << 24),
        twcc in proptest::option::of(any::<u16>()),
        capture_time in proptest::option::of(any::<u64>()),
        dd in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40)),
    ) -> Extensions {
        Extensions {
            mid: mid.and_then(|bytes| Mid::new(&bytes)),
            rid: rid.and_then(|bytes| Mid::new(&bytes)),
            audio_level: level.map(|(voice, level)| AudioLevel { voice, level }),
            abs_send_time,
            twcc,
            capture_time,
            dd: dd.and_then(|bytes| Descriptor::new(&bytes)),
        }
    }
}

prop_compose! {
    fn header()(
        payload_type in 0u8..128,
        marker: bool,
        seq: u16,
        timestamp: u32,
        ssrc: u32,
        ext in extensions(),
    ) -> Header {
        Header { payload_type, marker, seq, timestamp, ssrc: Ssrc(ssrc), ext }
    }
}

fn same_as_oracle(ours: &Header, theirs: &rtp::header::Header) {
    assert_eq!(ours.payload_type, theirs.payload_type);
    assert_eq!(ours.marker, theirs.marker);
    assert_eq!(ours.seq, theirs.sequence_number);
    assert_eq!(ours.timestamp, theirs.timestamp);
    assert_eq!(ours.ssrc.0, theirs.ssrc);
}

proptest! {
    #[test]
    fn what_we_write_we_read_and_the_oracle_reads(
        header in header(),
        payload in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut bytes = Vec::new();
        header.write(&map(), &mut bytes);
        bytes.extend_from_slice(&payload);
        let (read, range) = Header::parse(&bytes, &map()).expect("our own header");
        prop_assert_eq!(read, header);
        prop_assert_eq!(&bytes[range], &payload[..]);

        let packet = Packet::unmarshal(&mut &bytes[..]).expect("the oracle reads it");
        same_as_oracle(&header, &packet.header);
        prop_assert_eq!(&packet.payload[..], &payload[..]);
        let by_id = |id| packet.header.get_extension(id).map(|value| value.to_vec());
        prop_assert_eq!(by_id(1), header.ext.mid.map(|mid| mid.as_bytes().to_vec()));
        prop_assert_eq!(by_id(20), header.ext.rid.map(|rid| rid.as_bytes().to_vec()));
        prop_assert_eq!(by_id(4), header.ext.twcc.map(|twcc| twcc.to_be_bytes().to_vec()));
        prop_assert_eq!(by_id(6), header.ext.dd.map(|dd| dd.as_bytes().to_vec()));
    }

    #[test]
    fn what_the_oracle_writes_we_read(
        seq: u16,
        timestamp: u32,
        ssrc: u32,
        marker: bool,
        csrc in proptest::collection::vec(any::<u32>(), 0..4),
        two_byte: bool,
        twcc: u16,
        mid in proptest::collection::vec(any::<u8>(), 1..=16),
        payload in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let extension = |id, payload: Vec<u8>| rtp::header::Extension { id, payload: payload.into() };
        let header = rtp::header::Header {
            version: 2,
            marker,
            payload_type: 96,
            sequence_number: seq,
            timestamp,
            ssrc,
            csrc,
            extension: true,
            extension_profile: if two_byte { 0x1000 } else { 0xbede },
            extensions: vec![
                extension(9, vec![1, 2, 3]), // unknown here
                extension(4, twcc.to_be_bytes().to_vec()),
                extension(1, mid.clone()),
            ],
            ..Default::default()
        };
        let packet = Packet { header, payload: payload.clone().into() };
        let bytes = packet.marshal().expect("the oracle writes");
        let (read, range) = Header::parse(&bytes, &map()).expect("we read it");
        same_as_oracle(&read, &packet.header);
        prop_assert_eq!(read.ext.twcc, Some(twcc));
        prop_assert_eq!(read.ext.mid, Mid::new(&mid));
        prop_assert_eq!(&bytes[range], &payload[..]);
    }

    #[test]
    fn nonsense_never_panics_and_payloads_stay_inside(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..80),
        plausible: bool,
    ) {
        if plausible && bytes.len() > 16 {
            bytes[0] = 0x90 | bytes[0] & 0x2f;
            let profile = if bytes[1] & 1 == 0 { [0xbe, 0xde] } else { [0x10, 0] };
            bytes[12..14].copy_from_slice(&profile);
            bytes[14] = 0;
        }
        if let Some((_, range)) = Header::parse(&bytes, &map()) {
            prop_assert!(range.end <= bytes.len() && range.start <= range.end);
        }
    }
}

#[test]
fn padding_is_cut_off_and_impossible_padding_refused() {
    let mut bytes = Vec::new();
    Header { payload_type: 111, ..Header::default() }.write(&map(), &mut bytes);
    bytes[0] |= 0x20;
    bytes.extend_from_slice(&[1, 2, 3, 0, 0, 3]);
    let (_, range) = Header::parse(&bytes, &map()).expect("padded");
    assert_eq!(&bytes[range], [1, 2, 3]);
    for wrong in [0, 7, 255] {
        *bytes.last_mut().expect("not empty") = wrong;
        assert_eq!(Header::parse(&bytes, &map()), None, "{wrong}");
    }
}

#[test]
fn an_extension_not_negotiated_is_neither_written_nor_read() {
    let ext = Extensions { twcc: Some(7), mid: Mid::new(b"0"), ..Extensions::default() };
    let header = Header { ext, ..Header::default() };
    let only_mid = ExtensionMap::new(&[(3, Extension::Mid)]);
    let mut bytes = Vec::new();
    header.write(&only_mid, &mut bytes);
    let (read, _) = Header::parse(&bytes, &only_mid).expect("read");
    assert_eq!(read.ext, Extensions { mid: Mid::new(b"0"), ..Extensions::default() });
    let mut bare = Vec::new();
    header.write(&ExtensionMap::default(), &mut bare);
    assert_eq!(bare.len(), 12);
}
