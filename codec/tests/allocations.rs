//! After its first packets the speech path asks for no memory, so that no frame waits for the allocator.
//!
//! This counts what Rust allocates. libopus itself works on the stack once it is made (`VAR_ARRAYS`); its own
//! `malloc` calls, which sit in the `create` functions alone, are not seen from here.
#![allow(unsafe_code)] // a global allocator cannot be written without it

mod speech;

use speech::reading;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;
use undertone_codec::level::Vad;
use undertone_codec::noise::ComfortNoise;
use undertone_codec::opus::{Decoder, DecoderConfig, Encoder, EncoderConfig, Level, Redundancy, strip_into};
use undertone_media::{SampleRate, Sound};

const MS_20: usize = 320;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` allocates on this thread.
fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))), 1);
}

#[test]
fn coding_and_dressing_allocate_nothing() {
    let pcm = reading();
    let wanted = Redundancy { span: Duration::from_millis(1040), quantiser: 0, slope: 0 };
    for ms in [20, 60, 80, 100, 120] {
        let config = EncoderConfig { redundancy: true, lbrr: Some(20), dtx: true, ..Default::default() };
        let mut encoder = Encoder::new(&config).unwrap();
        let (mut packet, mut dressed) = (Vec::with_capacity(4000), Vec::with_capacity(4000));
        let mut bare = Vec::with_capacity(4000);
        for (index, chunk) in pcm.chunks_exact(ms * 16).enumerate() {
            let count = allocations(|| {
                encoder.encode(chunk, &mut packet).unwrap();
                if encoder.dress(wanted, &packet, &mut dressed) {
                    assert!(strip_into(&dressed, &mut bare));
                }
            });
            assert!(count == 0 || index == 0, "{ms} ms, packet {index}: {count}");
        }
    }
}

#[test]
fn music_allocates_nothing() {
    let pcm = reading();
    let (rate, packet_samples) = (SampleRate::Full, 960);
    let mut encoder =
        Encoder::new(&EncoderConfig { rate, sound: Sound::Music, ..Default::default() }).unwrap();
    let mut decoder = Decoder::new(DecoderConfig { rate, ..Default::default() }).unwrap();
    let (mut packet, mut out) = (Vec::with_capacity(1500), Vec::with_capacity(2 * packet_samples));
    for (index, chunk) in pcm.chunks_exact(packet_samples).enumerate() {
        let count = allocations(|| {
            out.clear();
            // A voice for a while, so that going over is counted too.
            encoder.set_sound(if index % 10 < 3 { Sound::Speech } else { Sound::Music });
            encoder.encode(chunk, &mut packet).unwrap();
            decoder.decode(&packet, &mut out).unwrap();
            decoder.conceal(packet_samples, &mut out);
        });
        assert!(count == 0 || index == 0, "packet {index}: {count}");
    }
}

#[test]
fn decoding_recovering_and_concealing_allocate_nothing() {
    let pcm = reading();
    let config = EncoderConfig { redundancy: true, ..Default::default() };
    let mut encoder = Encoder::new(&config).unwrap();
    let wanted = Redundancy { span: Duration::from_millis(480), quantiser: 4, slope: 2 };
    let packets: Vec<Vec<u8>> = pcm
        .chunks_exact(MS_20)
        .map(|chunk| {
            let (mut bare, mut dressed) = (Vec::new(), Vec::new());
            encoder.encode(chunk, &mut bare).unwrap();
            if encoder.dress(wanted, &bare, &mut dressed) { dressed } else { bare }
        })
        .collect();
    for level in [Level::Plain, Level::Lace, Level::NoLace] {
        let mut decoder = Decoder::new(DecoderConfig { level, ..Default::default() }).unwrap();
        let (mut vad, mut comfort) = (Vad::new(SampleRate::Wide), ComfortNoise::new(SampleRate::Wide, 1));
        let mut out = Vec::with_capacity(4 * MS_20);
        let mut recovered = 0;
        for (index, packet) in packets.iter().enumerate() {
            let count = allocations(|| {
                out.clear();
                if let Some(span) = decoder.parse_dred(packet).filter(|_| index % 5 == 0) {
                    // As if two packets before this one had been lost.
                    for offset in [2 * MS_20, MS_20] {
                        if offset <= span.reach && decoder.recover_dred(offset, MS_20, &mut out) {
                            recovered += 1;
                        }
                    }
                } else if index % 5 == 1 {
                    decoder.conceal(MS_20, &mut out);
                }
                decoder.decode(packet, &mut out).unwrap();
                let speech = vad.is_speech(&out);
                comfort.hear(&out, speech);
                out.clear();
                comfort.fill(MS_20, &mut out);
            });
            assert!(count == 0 || index == 0, "{level:?}, packet {index}: {count}");
        }
        assert!(recovered > 40, "{recovered}");
    }
}
