//! What sealing and opening one packet of 1000 bytes costs.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use undertone_transport::srtp::{Opener, Profile, Sealer};

fn packet(seq: u16) -> Vec<u8> {
    let mut packet = Vec::with_capacity(1100);
    packet.extend([0x80, 102]);
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 5]);
    packet.resize(1000, 0x5a);
    packet
}

fn srtp(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp 1000 B");
    group.throughput(Throughput::Bytes(1000));
    for profile in [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
        let (key, salt) = (vec![1; profile.key_bytes()], vec![2; profile.salt_bytes()]);
        let mut sealer = Sealer::new(profile, &key, &salt).expect("lengths fit");
        let mut seq = 0u16;
        let mut next = || {
            seq = seq.wrapping_add(1);
            packet(seq)
        };
        group.bench_function(format!("protect {profile:?}"), |b| {
            b.iter_batched_ref(&mut next, |packet| sealer.protect_rtp(packet), BatchSize::SmallInput);
        });
        let mut sealer = Sealer::new(profile, &key, &salt).expect("lengths fit");
        let mut opener = Opener::new(profile, &key, &salt).expect("lengths fit");
        let mut seq = 0u16;
        let mut sealed = || {
            seq = seq.wrapping_add(1);
            let mut packet = packet(seq);
            sealer.protect_rtp(&mut packet).expect("fresh index");
            packet
        };
        group.bench_function(format!("unprotect {profile:?}"), |b| {
            b.iter_batched_ref(&mut sealed, |packet| opener.unprotect_rtp(packet), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, srtp);
criterion_main!(benches);
