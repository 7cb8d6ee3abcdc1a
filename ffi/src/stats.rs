//! The account of a call, flat enough for C.

use crate::result::ut_result::{self, *};
use std::time::Duration;
use undertone_engine::Stats;

/// The account of a call so far. Set size to sizeof(ut_stats) before asking; of what a newer library knows,
/// so many bytes are written. Counters run from the beginning and sum over everybody heard or seen; a delay
/// is that of the worst; 0 also means that it is not known yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ut_stats {
    /// In: sizeof(ut_stats). Out: how many bytes were written.
    pub size: usize,
    /// Every byte that left, IP and UDP headers counted.
    pub wire_sent_bytes: u64,
    /// Every byte that came, likewise.
    pub wire_received_bytes: u64,
    /// What the path is thought to carry, in bit/s.
    pub estimate_bps: u64,
    /// Coded rate of our speech, without headers, in bit/s.
    pub speech_bps: u64,
    /// Packets of speech that came, each counted once.
    pub audio_received: u64,
    /// Of those sent to us, packets that did not come the first time.
    pub audio_lost: u64,
    /// Of them, those that came when asked for again.
    pub audio_repaired: u64,
    /// Speech played as it was sent or repaired in full, in milliseconds.
    pub played_ms: u64,
    /// Speech made up because nothing came, in milliseconds.
    pub concealed_ms: u64,
    /// Pictures sent.
    pub video_sent: u64,
    /// Pictures received and decoded.
    pub video_decoded: u64,
    /// How often a picture froze.
    pub video_freezes: u64,
    /// Samples that ut_call_pull asked for and had to be silence, since they were asked for too early.
    pub speaker_missing: u64,
    /// Samples that ut_call_push brought faster than the call could take them.
    pub microphone_dropped: u64,
    /// From the first word to the server until media could flow.
    pub setup_ms: u32,
    /// Round trip to the server.
    pub rtt_ms: u32,
    /// Speech in one of our packets.
    pub packet_ms: u32,
    /// Jitter of what comes (RFC 3550).
    pub jitter_ms: u32,
    /// Delay that the jitter buffer aims at.
    pub target_ms: u32,
    /// From their microphone to our speaker, sound devices left out.
    pub mouth_to_ear_ms: u32,
}

/// Fields of the first version: nobody has less.
const FIRST: usize = std::mem::offset_of!(ut_stats, mouth_to_ear_ms) + size_of::<u32>();

impl ut_stats {
    /// The engine's account; what is counted at this door is added by its owner.
    pub(crate) fn from_engine(stats: &Stats) -> ut_stats {
        let ms = |span: Option<Duration>| span.unwrap_or_default().as_millis() as u32;
        let (audio, video) = (&stats.audio, &stats.video);
        ut_stats {
            size: size_of::<ut_stats>(),
            wire_sent_bytes: stats.wire_sent.as_bytes(),
            wire_received_bytes: stats.wire_received.as_bytes(),
            estimate_bps: stats.estimate.as_bps(),
            speech_bps: stats.plan.map_or(0, |plan| plan.bitrate.as_bps()),
            audio_received: audio.iter().map(|slot| slot.received).sum(),
            audio_lost: audio.iter().map(|slot| slot.lost).sum(),
            audio_repaired: audio.iter().map(|slot| slot.repaired).sum(),
            played_ms: 10 * audio.iter().map(|slot| slot.voiced() - slot.concealed).sum::<u64>(),
            concealed_ms: 10 * audio.iter().map(|slot| slot.concealed).sum::<u64>(),
            video_sent: stats.video_frames.0,
            video_decoded: video.iter().map(|slot| slot.decoded).sum(),
            video_freezes: video.iter().map(|slot| slot.freezes).sum(),
            speaker_missing: 0,
            microphone_dropped: 0,
            setup_ms: ms(stats.setup),
            rtt_ms: ms(stats.rtt),
            packet_ms: ms(stats.plan.map(|plan| plan.packet)),
            jitter_ms: ms(audio.iter().map(|slot| slot.jitter).max()),
            target_ms: ms(audio.iter().map(|slot| slot.target).max()),
            mouth_to_ear_ms: ms(audio.iter().filter_map(|slot| slot.mouth_to_ear).max()),
        }
    }

    /// Writes as much as the caller knows of.
    ///
    /// # Safety
    /// `out` points at as many writable bytes as its `size` field says.
    #[allow(unsafe_code)] // Pointers from C.
    pub(crate) unsafe fn write(mut self, out: *mut ut_stats) -> Result<(), ut_result> {
        if out.is_null() {
            return Err(UT_NULL);
        }
        // SAFETY: not NULL, and the first field is there whatever the version.
        let size = unsafe { out.cast::<usize>().read() };
        if size < FIRST {
            return Err(UT_BAD_ARGUMENT);
        }
        self.size = size.min(size_of::<ut_stats>());
        // SAFETY: both sides hold so many bytes, and `self` is no memory of the caller's.
        unsafe { std::ptr::copy_nonoverlapping((&raw const self).cast::<u8>(), out.cast::<u8>(), self.size) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)] // What C does.
    fn no_byte_is_written_beyond_what_the_caller_knows() {
        let stats = ut_stats { wire_sent_bytes: 7, mouth_to_ear_ms: 9, ..ut_stats::default() };
        let mut out = [ut_stats { size: FIRST, ..ut_stats::default() }, ut_stats::default()];
        // SAFETY: the struct is as large as it says, and larger.
        unsafe { stats.write(&raw mut out[0]) }.unwrap();
        assert_eq!((out[0].size, out[0].wire_sent_bytes, out[0].mouth_to_ear_ms), (FIRST, 7, 9));
        assert_eq!(out[1], ut_stats::default());

        let mut small = ut_stats { size: 8, ..ut_stats::default() };
        // SAFETY: refused before anything is written.
        assert_eq!(unsafe { stats.write(&raw mut small) }, Err(UT_BAD_ARGUMENT));
        assert_eq!(small, ut_stats { size: 8, ..ut_stats::default() });
    }
}
