//! H.264 payloads and dependency descriptors, both ways, with loss and reordering.

use proptest::prelude::*;
use undertone_transport::payload::dd::{self, Facts};
use undertone_transport::payload::h264;

/// An access unit as an encoder writes it: bodies have emulation prevention, so no start code and no
/// trailing zero occurs in them.
fn annexb(units: &[Vec<u8>]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 0, 1][..], unit].concat()).collect()
}

fn unit() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![Just(0x67), Just(0x68), Just(0x06), Just(0x65), Just(0x41), Just(0x01)];
    (header, proptest::collection::vec(1u8.., 1..3000))
        .prop_map(|(header, body)| [vec![header], body].concat())
}

proptest! {
    #[test]
    fn access_units_survive_packets(
        units in proptest::collection::vec(unit(), 1..6),
        max_payload in 20usize..1300,
    ) {
        let frame = annexb(&units);
        let payloads = h264::packetize(&frame, max_payload);
        prop_assert!(payloads.iter().all(|payload| payload.len() <= max_payload));
        prop_assert_eq!(h264::assemble(payloads.iter().map(Vec::as_slice)), Some(frame));
    }

    #[test]
    fn a_lost_or_swapped_fragment_is_noticed(
        body in proptest::collection::vec(1u8.., 500..3000),
        lost in any::<prop::sample::Index>(),
    ) {
        let frame = annexb(&[[vec![0x65], body].concat()]);
        let mut payloads = h264::packetize(&frame, 100);
        let at = lost.index(payloads.len() - 1);
        let mut swapped = payloads.clone();
        swapped.swap(at, at + 1);
        // Inner fragments have no number of their own: their order is the sequence numbers' to keep. Those
        // that begin and end a unit do.
        if at == 0 || at + 2 == payloads.len() {
            prop_assert_eq!(h264::assemble(swapped.iter().map(Vec::as_slice)), None);
        }
        let first = payloads.remove(0);
        prop_assert_eq!(h264::assemble(payloads.iter().map(Vec::as_slice)), None);
        payloads.insert(0, first);
        payloads.pop();
        prop_assert_eq!(h264::assemble(payloads.iter().map(Vec::as_slice)), None);
    }

    #[test]
    fn nonsense_payloads_never_panic(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..6),
    ) {
        h264::assemble(payloads.iter().map(Vec::as_slice));
        for payload in &payloads {
            h264::is_key(payload);
            h264::is_start(payload);
            let _ = h264::nal_units(payload).count();
        }
    }

    #[test]
    fn descriptors_survive_the_wire(layers in 1u8..=3, frames in 1u16.., keys in 1u16..30) {
        let writer = dd::Writer::new(layers);
        let mut parser = dd::Parser::default();
        for i in 0..60u16 {
            let number = frames.wrapping_add(i);
            let key = i % keys == 0;
            let temporal = if key { 0 } else { (i % 3) as u8 % layers };
            for (start, end) in [(true, false), (false, false), (false, true)] {
                let facts = Facts { start, end, key, frame_number: number, spatial: 0, temporal };
                let bytes = writer.write(&facts);
                prop_assert_eq!(parser.parse(bytes.as_bytes()), Some(facts));
            }
        }
    }

    #[test]
    fn nonsense_descriptors_never_panic(
        descriptors in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..8),
    ) {
        let mut parser = dd::Parser::default();
        for descriptor in &descriptors {
            parser.parse(descriptor);
            parser.is_discardable(descriptor);
        }
    }
}

#[test]
fn small_units_travel_together_and_keys_are_known() {
    let sps = vec![0x67, 0x42, 0xc0, 0x1f];
    let pps = vec![0x68, 0xce, 0x3c, 0x80 | 1];
    let idr = [vec![0x65, 0x88], vec![7; 3000]].concat();
    let payloads = h264::packetize(&annexb(&[sps, pps, idr]), 1200);
    assert_eq!(payloads.len(), 4, "one STAP-A, three fragments");
    assert_eq!(payloads[0][0], 0x60 | 24);
    let keys: Vec<bool> = payloads.iter().map(|p| h264::is_key(p)).collect();
    assert_eq!(keys, [true, false, false, false], "who starts at the slice has no parameters");
    assert_eq!(payloads.iter().map(|p| h264::is_start(p)).collect::<Vec<_>>(), [true, true, false, false]);
    let sizes: Vec<usize> = payloads[1..].iter().map(Vec::len).collect();
    assert!(sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0) <= 3, "{sizes:?}");
}

#[test]
fn slices_other_than_the_first_do_not_start_a_picture() {
    assert!(h264::is_start(&[0x41, 0x9a]), "first_mb_in_slice 0 is a single 1 bit");
    assert!(!h264::is_start(&[0x41, 0x4a]), "first_mb_in_slice 1 is 010");
    assert!(!h264::is_key(&[0x41, 0x9a]));
}

#[test]
fn both_start_codes_and_stuffing_are_understood() {
    let stream = [0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 0, 1, 0x65, 3, 0, 0];
    let units: Vec<&[u8]> = h264::nal_units(&stream).collect();
    assert_eq!(units, [&[0x67, 1][..], &[0x68, 2], &[0x65, 3]]);
    assert_eq!(h264::nal_units(&[9, 9, 9]).count(), 0);
}

#[test]
fn a_descriptor_is_small_and_fits_the_one_byte_form_of_extensions() {
    let key = Facts { start: true, key: true, ..Facts::default() };
    let sizes = [1, 2, 3].map(|layers| dd::Writer::new(layers).write(&key).as_bytes().len());
    assert_eq!(sizes, [8, 10, 12]);
    let delta = Facts { start: true, end: true, ..Facts::default() };
    assert_eq!(dd::Writer::new(3).write(&delta).as_bytes().len(), 3);
}

#[test]
fn only_the_highest_of_several_layers_is_discardable() {
    for (layers, expected) in [(1, &[false][..]), (2, &[false, true]), (3, &[false, false, true])] {
        let writer = dd::Writer::new(layers);
        let mut parser = dd::Parser::default();
        let facts = |temporal| Facts { start: true, temporal, ..Facts::default() };
        let early = writer.write(&facts(layers - 1));
        assert!(!parser.is_discardable(early.as_bytes()), "before the structure is known");
        parser.parse(writer.write(&Facts { key: true, ..facts(0) }).as_bytes());
        let told: Vec<bool> =
            (0..layers).map(|layer| parser.is_discardable(writer.write(&facts(layer)).as_bytes())).collect();
        assert_eq!(told, expected, "{layers} layers");
    }
}

#[test]
fn descriptors_wait_for_their_structure() {
    let delta = dd::Writer::new(1).write(&Facts { start: true, ..Facts::default() });
    assert_eq!(dd::Parser::default().parse(delta.as_bytes()), None);
}

#[test]
fn a_structure_of_two_spatial_layers_with_chains_is_read() {
    // L2T1 by the specification's syntax, with template id offset 62 so that ids wrap, chains and
    // resolutions: assembled here bit by bit.
    let mut bits = String::new();
    let mut put = |value: u32, count: usize| bits.push_str(&format!("{value:0count$b}"));
    put(1, 1); // start
    put(0, 1);
    put(62, 6); // template id
    put(700, 16); // frame number
    put(0b10000, 5); // structure
    put(62, 6); // template id offset
    put(1, 5); // two decode targets
    [0, 2, 0, 3].iter().for_each(|idc| put(*idc, 2)); // s0 s0 s1 s1
    (0..8).for_each(|_| put(2, 2)); // switch indications
    put(0b0, 1); // first template: no frame difference
    put(0b100010, 6); // second: one, of 2
    put(0b00, 2); // third and fourth: none
    put(0b10, 2); // one chain, in ns(3); which chain protects which target, in ns(1), takes no bits
    (0..4).for_each(|_| put(1, 4)); // chain fdiffs
    put(1, 1); // resolutions
    [640, 360, 1280, 720].iter().for_each(|n| put(*n - 1, 16));
    while !bits.len().is_multiple_of(8) {
        bits.push('0');
    }
    let byte = |i: usize| u8::from_str_radix(&bits[8 * i..8 * i + 8], 2).expect("bits");
    let bytes: Vec<u8> = (0..bits.len() / 8).map(byte).collect();

    let mut parser = dd::Parser::default();
    let _ = parser.parse(&bytes);
    // Template 0 of the upper layer has id (62 + 2) % 64 = 0.
    let facts = parser.parse(&[0x40, 0x02, 0xbc]);
    let upper = Facts { end: true, key: true, frame_number: 700, spatial: 1, ..Facts::default() };
    assert_eq!(facts, Some(upper));
}
