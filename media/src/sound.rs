//! What is sent of sound, and how finely.

use std::time::Duration;

/// What sound is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sound {
    /// A voice: to be understood on any network.
    #[default]
    Speech,
    /// An instrument, a song, anything else: to be heard as it is.
    Music,
}

/// How many samples a second there are. Only those that Opus, its networks and all sound devices agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleRate {
    /// 16 kHz: all that a voice needs (wideband).
    #[default]
    Wide,
    /// 48 kHz: all that ears hear (full band).
    Full,
}

impl SampleRate {
    /// The rate of so many samples a second; `None` if it is none of these.
    pub const fn from_hz(hz: u32) -> Option<SampleRate> {
        match hz {
            16_000 => Some(SampleRate::Wide),
            48_000 => Some(SampleRate::Full),
            _ => None,
        }
    }

    /// Samples a second.
    pub const fn hz(self) -> u32 {
        match self {
            SampleRate::Wide => 16_000,
            SampleRate::Full => 48_000,
        }
    }

    /// Samples for each one at 16 kHz.
    pub const fn per_wide(self) -> usize {
        (self.hz() / SampleRate::Wide.hz()) as usize
    }

    /// Samples of 10 ms: one step of the microphone and of the speaker.
    pub const fn frame(self) -> usize {
        self.hz() as usize / 100
    }

    /// Samples in a duration.
    pub const fn samples(self, duration: Duration) -> usize {
        (duration.as_micros() as u64 * self.hz() as u64 / 1_000_000) as usize
    }

    /// How long so many samples last.
    pub const fn duration(self, samples: usize) -> Duration {
        Duration::from_micros(samples as u64 * 1_000_000 / self.hz() as u64)
    }

    /// RTP's clock counts sound at 48 kHz whatever the codec does (RFC 7587 §4.1): its ticks in so many samples.
    pub const fn ticks(self, samples: usize) -> u64 {
        samples as u64 * (SampleRate::Full.hz() / self.hz()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_ten_milliseconds_at_any_rate() {
        for rate in [SampleRate::Wide, SampleRate::Full] {
            assert_eq!(rate.duration(rate.frame()), Duration::from_millis(10));
            assert_eq!(rate.samples(Duration::from_millis(10)), rate.frame());
            assert_eq!(rate.ticks(rate.frame()), 480);
            assert_eq!(rate.frame(), 160 * rate.per_wide());
            assert_eq!(SampleRate::from_hz(rate.hz()), Some(rate));
        }
        assert_eq!(SampleRate::from_hz(44_100), None);
    }
}
