//! SRTP as a peer sees it: wraps, reordering, replays, forgeries.

use proptest::prelude::*;
use undertone_transport::srtp::{Opener, Profile, Refused, Sealer};

const PROFILES: [Profile; 3] = [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];

fn pair(profile: Profile) -> (Sealer, Opener) {
    let key: Vec<u8> = (0..profile.key_bytes() as u8).collect();
    let salt: Vec<u8> = (100..100 + profile.salt_bytes() as u8).collect();
    (Sealer::new(profile, &key, &salt).unwrap(), Opener::new(profile, &key, &salt).unwrap())
}

fn rtp(seq: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 9]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn rtcp(ssrc: u32, words: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, words + 1];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(vec![7; usize::from(words) * 4]);
    packet
}

#[test]
fn every_packet_of_three_cycles_opens() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        for i in 0..200_000u64 {
            let plain = rtp(i as u16, 5, &i.to_be_bytes());
            let mut packet = plain.clone();
            sealer.protect_rtp(&mut packet).unwrap();
            assert_eq!(packet.len(), plain.len() + profile.rtp_overhead());
            let opened = opener.unprotect_rtp(&mut packet).unwrap();
            assert_eq!(packet[..opened.len], plain);
            assert!(opened.newest);
        }
    }
}

#[test]
fn a_stream_opens_although_all_before_its_first_wrap_was_lost() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        for i in 65_500..65_600u32 {
            let mut packet = rtp(i as u16, 5, b"speech");
            sealer.protect_rtp(&mut packet).unwrap();
            if i >= 65_536 + 7 {
                opener.unprotect_rtp(&mut packet).unwrap();
            }
        }
    }
}

#[test]
fn an_index_is_never_sealed_twice() {
    let (mut sealer, _) = pair(Profile::AeadAes256Gcm);
    sealer.protect_rtp(&mut rtp(9, 5, b"one")).unwrap();
    assert_eq!(sealer.protect_rtp(&mut rtp(9, 5, b"two")), Err(Refused::Replayed));
    sealer.protect_rtp(&mut rtp(9, 6, b"another stream")).unwrap();
    sealer.protect_rtp(&mut rtp(5000, 5, b"a jump")).unwrap();
    assert_eq!(sealer.protect_rtp(&mut rtp(10, 5, b"too old to tell")), Err(Refused::Replayed));
}

#[test]
fn copies_are_refused_and_forgeries_move_nothing() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let mut first = rtp(1, 5, b"speech");
        sealer.protect_rtp(&mut first).unwrap();
        // A forger can write any number into the header; the window must not follow it.
        let mut forged = first.clone();
        forged[2..4].copy_from_slice(&30_000u16.to_be_bytes());
        assert_eq!(opener.unprotect_rtp(&mut forged), Err(Refused::Unauthentic));
        opener.unprotect_rtp(&mut first.clone()).unwrap();
        assert_eq!(opener.unprotect_rtp(&mut forged), Err(Refused::Unauthentic));
        assert_eq!(opener.unprotect_rtp(&mut first.clone()), Err(Refused::Replayed));

        let mut report = rtcp(5, 6);
        sealer.protect_rtcp(&mut report).unwrap();
        assert_eq!(report.len(), 32 + 4 + profile.rtp_overhead());
        let mut forged = report.clone();
        forged[9] ^= 1;
        assert_eq!(opener.unprotect_rtcp(&mut forged), Err(Refused::Unauthentic));
        let len = opener.unprotect_rtcp(&mut report.clone()).unwrap();
        assert_eq!(len, 32);
        assert_eq!(opener.unprotect_rtcp(&mut report), Err(Refused::Replayed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Packets of a wrapping stream, shuffled within the window and some of them doubled: each opens once.
    #[test]
    fn reordered_packets_open_once(
        start in any::<u16>(),
        which in 0..3usize,
        order in proptest::collection::vec((0..200usize, any::<u32>()), 1..200),
    ) {
        let (mut sealer, mut opener) = pair(PROFILES[which]);
        let sealed: Vec<_> = (0..200u16).map(|i| {
            let mut packet = rtp(start.wrapping_add(i), 5, &[i as u8; 20]);
            sealer.protect_rtp(&mut packet).unwrap();
            packet
        }).collect();
        // The first packet fixes the cycle, as it would on a path that loses only some.
        opener.unprotect_rtp(&mut sealed[0].clone()).unwrap();
        let mut seen = std::collections::BTreeSet::from([0]);
        for (i, _) in order {
            let opened = opener.unprotect_rtp(&mut sealed[i].clone());
            prop_assert_eq!(opened.is_ok(), seen.insert(i));
        }
    }

    /// Any single changed bit is noticed, and no bytes at all can make an opener panic.
    #[test]
    fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), bit in 0..400usize) {
        for profile in PROFILES {
            let (mut sealer, mut opener) = pair(profile);
            prop_assert!(opener.unprotect_rtp(&mut bytes.clone()).is_err());
            prop_assert!(opener.unprotect_rtcp(&mut bytes.clone()).is_err());
            let mut packet = rtp(7, 5, &[1; 30]);
            sealer.protect_rtp(&mut packet).unwrap();
            let bit = bit % (packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(opener.unprotect_rtp(&mut packet).is_err());
        }
    }
}
