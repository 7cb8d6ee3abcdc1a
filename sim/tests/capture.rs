//! A capture can be read back, block by block, and says what became of each datagram.

use undertone_media::{Fate, Input, Machine, Output, Timestamp, Transmit};
use undertone_sim::path::{LinkConfig, LinkModel};
use undertone_sim::pcapng::Writer;
use undertone_sim::world::{Sent, World, address};

/// Has one datagram to send.
struct Once(Option<Output>);

impl Machine for Once {
    fn handle(&mut self, _: Timestamp, _: Input<'_>) {}
    fn poll(&mut self) -> Option<Output> {
        self.0.take()
    }
    fn deadline(&self) -> Option<Timestamp> {
        None
    }
}

fn sent() -> Sent {
    let mut world = World::new();
    let transmit = Transmit { to: address(2), from: None, bytes: b"datagram!".to_vec() };
    let a = world.add(Once(None), address(1));
    let b = world.add(Once(None), address(2));
    world.link(a, b, LinkModel::new(1, 0, &LinkConfig::default()));
    world.record(true);
    world.run_until(Timestamp::from_micros(4_294_967_296 + 123_456));
    world.node_mut(a).0 = Some(Output::Transmit(transmit));
    world.run_until(world.now());
    world.take_sent().remove(0)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Type and body of each block, whose two lengths must agree.
fn blocks(mut capture: &[u8]) -> Vec<(u32, &[u8])> {
    let mut blocks = Vec::new();
    while !capture.is_empty() {
        let length = u32_at(capture, 4) as usize;
        assert_eq!(length % 4, 0);
        assert_eq!(u32_at(capture, length - 4) as usize, length);
        blocks.push((u32_at(capture, 0), &capture[8..length - 4]));
        capture = &capture[length..];
    }
    blocks
}

#[test]
fn a_capture_is_a_section_an_interface_and_packets() {
    let sent = sent();
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.write(&sent).unwrap();
    writer.write(&Sent { fate: Some(Fate::Lost), ..sent.clone() }).unwrap();
    let capture = writer.finish().unwrap();
    let blocks = blocks(&capture);
    assert_eq!(blocks.iter().map(|&(kind, _)| kind).collect::<Vec<_>>(), [0x0A0D_0D0A, 1, 6, 6]);
    assert_eq!(u32_at(blocks[0].1, 0), 0x1A2B_3C4D);
    assert_eq!(u16_at(blocks[1].1, 0), 101, "LINKTYPE_RAW");

    let packet = blocks[2].1;
    let micros = u64::from(u32_at(packet, 4)) << 32 | u64::from(u32_at(packet, 8));
    assert_eq!(micros, sent.at.as_micros());
    assert_eq!((u32_at(packet, 12), u32_at(packet, 16)), (37, 37));
    let ip = &packet[20..57];
    assert_eq!(ip[0], 0x45);
    assert_eq!(u16::from_be_bytes([ip[2], ip[3]]), 37);
    assert_eq!((&ip[12..16], &ip[16..20]), (&[10, 0, 0, 1][..], &[10, 0, 0, 2][..]));
    assert_eq!(u16::from_be_bytes([ip[20], ip[21]]), 5000);
    assert_eq!(&ip[28..], b"datagram!");
    assert!(String::from_utf8_lossy(&packet[60..]).contains("arrives 4295.090752"));
    assert!(String::from_utf8_lossy(blocks[3].1).contains("lost by the link"));
}

#[test]
fn what_ipv4_cannot_carry_is_refused() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    assert!(writer.write(&Sent { bytes: vec![0; 65_508], ..sent() }).is_err());
    assert!(writer.write(&Sent { from: "[::1]:5000".parse().unwrap(), ..sent() }).is_err());
    assert!(writer.write(&Sent { bytes: vec![0; 65_507], ..sent() }).is_ok());
    assert_eq!(blocks(&writer.finish().unwrap()).len(), 3, "what was refused left nothing behind");
}
