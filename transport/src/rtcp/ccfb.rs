//! Congestion control feedback of RFC 8888: what arrived when, by stream and sequence number.
//!
//! Why: it costs the media packets nothing, where transport-wide feedback costs each of them an extension.
//! Times are 1/1024 s, which is coarse for one packet and enough for the trend of many.

use super::Reader;
use undertone_media::Ssrc;

/// RFC 8888 §3.1: the arrival was longer ago than the field can say.
pub(crate) const AGE_OVER_RANGE: u16 = 0x1ffe;
/// RFC 8888 §3.1: the arrival time is not known.
pub(crate) const AGE_UNKNOWN: u16 = 0x1fff;

/// The feedback as it travels (RFC 8888 §3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CcfbFeedback {
    /// Who reports.
    pub sender: Ssrc,
    /// One entry for each stream reported on.
    pub streams: Vec<CcfbStream>,
    /// When the report left, in 65 536ths of a second of the receiver's clock; wraps.
    pub timestamp: u32,
}

/// The packets of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CcfbStream {
    /// Which stream.
    pub ssrc: Ssrc,
    /// Sequence number of the first report.
    pub begin_seq: u16,
    /// One for each sequence number from there on; `None` if it did not arrive.
    pub reports: Vec<Option<CcfbReport>>,
}

/// One packet's arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CcfbReport {
    /// Its ECN mark, two bits (RFC 3168 §5).
    pub ecn: u8,
    /// How long before the report's timestamp it arrived, in 1024ths of a second, 13 bits; `0x1ffe` means
    /// more than it can say and `0x1fff` unknown.
    pub age: u16,
}

impl CcfbReport {
    /// Its arrival in microseconds relative to the report's timestamp (never positive), if it says so.
    pub fn arrival_micros(&self) -> Option<i64> {
        (self.age < AGE_OVER_RANGE).then(|| -(i64::from(self.age) * 1_000_000 / 1024))
    }
}

impl CcfbFeedback {
    pub(super) fn read(mut body: Reader<'_>) -> Option<CcfbFeedback> {
        let sender = body.ssrc()?;
        let mut streams = Vec::new();
        while body.len() > 4 {
            let ssrc = body.ssrc()?;
            let begin_seq = body.u16()?;
            let count = body.u16()?;
            let mut reports = Vec::with_capacity(usize::from(count).min(body.len() / 2));
            for _ in 0..count {
                let word = body.u16()?;
                reports.push(
                    (word >> 15 == 1)
                        .then_some(CcfbReport { ecn: (word >> 13 & 3) as u8, age: word & 0x1fff }),
                );
            }
            if count % 2 == 1 {
                body.u16()?; // fills the word
            }
            streams.push(CcfbStream { ssrc, begin_seq, reports });
        }
        Some(CcfbFeedback { sender, streams, timestamp: body.u32()? })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sender.0.to_be_bytes());
        for stream in &self.streams {
            // RFC 8888 §3.1: no more than 16384 at once, or the numbers would be ambiguous.
            let reports = &stream.reports[..stream.reports.len().min(16_384)];
            out.extend_from_slice(&stream.ssrc.0.to_be_bytes());
            out.extend_from_slice(&stream.begin_seq.to_be_bytes());
            out.extend_from_slice(&(reports.len() as u16).to_be_bytes());
            for report in reports {
                let word = report.map_or(0, |r| 0x8000 | u16::from(r.ecn & 3) << 13 | r.age & AGE_UNKNOWN);
                out.extend_from_slice(&word.to_be_bytes());
            }
            if reports.len() % 2 == 1 {
                out.extend_from_slice(&[0, 0]);
            }
        }
        out.extend_from_slice(&self.timestamp.to_be_bytes());
    }
}
