//! RTCP: what receivers tell senders, and senders receivers.
//!
//! Wire: RFC 3550 §6 (SR, RR, BYE), RFC 4585 (generic NACK, PLI), RFC 5104 (FIR), REMB
//! (draft-alvestrand-rmcat-remb), transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01),
//! RFC 8888, and how a stream plays out ([`PlayoutReport`]). Reduced-size packets (RFC 5506) are read and written: a datagram may hold any of these, in
//! any order.
//!
//! Reading is total: what is malformed or unknown is left out, and what stands before it still counts.
//!
//! Not here: when to send what (`stream`, `feedback`). SDES is neither read nor written, since names travel
//! in signalling.

mod ccfb;
mod playout;
mod twcc;

pub(crate) use ccfb::AGE_OVER_RANGE;
pub use ccfb::{CcfbFeedback, CcfbReport, CcfbStream};
pub use playout::{PlayoutReport, Shares};
pub use twcc::TwccFeedback;
pub(crate) use twcc::{REFERENCE_MICROS, TICK_MICROS};

use std::time::Duration;
use undertone_media::{Bitrate, Ssrc, Timestamp};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

const FMT_NACK: u8 = 1;
const FMT_CCFB: u8 = 11;
const FMT_TWCC: u8 = 15;
const FMT_PLI: u8 = 1;
const FMT_FIR: u8 = 4;
const FMT_AFB: u8 = 15;

/// What one receiver saw of one stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// Which stream.
    pub ssrc: Ssrc,
    /// Share lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Lost since the beginning; 24 bits, negative when duplicates outnumber losses.
    pub cumulative_lost: i32,
    /// Highest sequence number, with the count of wraps above it.
    pub highest_seq: u32,
    /// Interarrival jitter in ticks of the stream's clock.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of the last sender report; 0 if there was none.
    pub last_sr: u32,
    /// Time from that report's arrival to this one's departure, in 65 536ths of a second.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// The round-trip time that a block shows when it arrives at `ntp` (RFC 3550 §6.4.1, A − LSR − DLSR);
    /// `None` if it answers no report, or none of ours: a peer that cannot hold our NTP time gives another back.
    pub fn round_trip(&self, ntp: u64) -> Option<Duration> {
        if self.last_sr == 0 {
            return None;
        }
        let ticks = ((ntp >> 16) as u32).wrapping_sub(self.last_sr).wrapping_sub(self.delay_since_last_sr);
        // A negative difference, by rounding, appears as nearly the whole circle of 18 hours.
        (ticks < LONGEST_ROUND_TRIP << 16)
            .then(|| Duration::from_micros(u64::from(ticks) * 1_000_000 / 65_536))
    }
}

/// Seconds. No path is longer; a block that shows more has nothing to do with our reports.
const LONGEST_ROUND_TRIP: u32 = 60;

/// Seconds from 1900, where NTP begins, to 1970, where Unix time does (RFC 5905 §6).
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// `now` as a 32.32 fixed-point NTP timestamp, [`Timestamp::ZERO`] being 1970. Only differences matter to a
/// receiver, so a session may count from its own beginning; but there are receivers that keep the time of a
/// report as Unix time and cannot give one from before 1970 back.
pub fn ntp(now: Timestamp) -> u64 {
    let micros = u128::from(NTP_TO_UNIX) * 1_000_000 + u128::from(now.as_micros());
    ((micros << 32) / 1_000_000) as u64
}

/// One RTCP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rtcp {
    /// What a sender sent, and how its media clock maps to NTP time.
    SenderReport {
        /// Who.
        ssrc: Ssrc,
        /// When the report left, NTP 32.32.
        ntp: u64,
        /// The same instant on the stream's clock.
        rtp_time: u32,
        /// Packets sent.
        packets: u32,
        /// Payload bytes sent.
        octets: u32,
        /// What this end received; at most 31.
        blocks: Vec<ReportBlock>,
    },
    /// What an end received.
    ReceiverReport {
        /// Who reports.
        ssrc: Ssrc,
        /// At most 31.
        blocks: Vec<ReportBlock>,
    },
    /// Send these again.
    Nack {
        /// Who asks.
        sender: Ssrc,
        /// Of which stream.
        media: Ssrc,
        /// Sequence numbers in rising order (modulo 2^16).
        seqs: Vec<u16>,
    },
    /// The picture is broken: send a key frame.
    Pli {
        /// Who asks.
        sender: Ssrc,
        /// Of which stream.
        media: Ssrc,
    },
    /// Send a key frame, counted, so that a repeated request is known as such.
    Fir {
        /// Who asks.
        sender: Ssrc,
        /// Stream and command number.
        requests: Vec<(Ssrc, u8)>,
    },
    /// What arrived when, by transport-wide number.
    Twcc(TwccFeedback),
    /// What arrived when, by stream and sequence number.
    Ccfb(CcfbFeedback),
    /// The receiver's estimate of what the path carries.
    Remb {
        /// Who estimates.
        sender: Ssrc,
        /// The estimate.
        bitrate: Bitrate,
        /// For which streams together.
        ssrcs: Vec<Ssrc>,
    },
    /// How a stream plays out at the listener's end.
    Playout(PlayoutReport),
    /// These streams end.
    Bye {
        /// Which.
        ssrcs: Vec<Ssrc>,
    },
    /// Something else, skipped.
    Other {
        /// Its packet type.
        packet_type: u8,
        /// Its count or format field.
        count: u8,
    },
}

/// A position in bytes that came from the network: every read may find the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[b]: [u8; 1]| b)
    }
    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }
    fn u24(&mut self) -> Option<u32> {
        self.take().map(|[a, b, c]: [u8; 3]| u32::from_be_bytes([0, a, b, c]))
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
    fn ssrc(&mut self) -> Option<Ssrc> {
        self.u32().map(Ssrc)
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Reads all RTCP packets of a datagram, in order. The rest after a broken length is dropped.
pub fn parse(datagram: &[u8]) -> Vec<Rtcp> {
    let mut packets = Vec::new();
    let mut reader = Reader(datagram);
    while let Some([first, packet_type, hi, lo]) = reader.take() {
        let len = 4 * usize::from(u16::from_be_bytes([hi, lo]));
        let Some((mut body, rest)) = reader.0.split_at_checked(len) else { break };
        reader.0 = rest;
        if first >> 6 != 2 {
            break;
        }
        if first & 0x20 != 0 {
            let padding = body.last().map_or(0, |&n| usize::from(n));
            let Some(end) = body.len().checked_sub(padding) else { continue };
            body = &body[..end];
        }
        packets.extend(parse_one(first & 0x1f, packet_type, Reader(body)));
    }
    packets
}

fn parse_one(count: u8, packet_type: u8, mut body: Reader<'_>) -> Option<Rtcp> {
    match (packet_type, count) {
        (SENDER_REPORT, count) => Some(Rtcp::SenderReport {
            ssrc: body.ssrc()?,
            ntp: body.u64()?,
            rtp_time: body.u32()?,
            packets: body.u32()?,
            octets: body.u32()?,
            blocks: read_blocks(count, &mut body)?,
        }),
        (RECEIVER_REPORT, count) => {
            Some(Rtcp::ReceiverReport { ssrc: body.ssrc()?, blocks: read_blocks(count, &mut body)? })
        }
        (GOODBYE, count) => Some(Rtcp::Bye { ssrcs: (0..count).map_while(|_| body.ssrc()).collect() }),
        (TRANSPORT_FEEDBACK, FMT_NACK) => {
            let (sender, media) = (body.ssrc()?, body.ssrc()?);
            let mut seqs = Vec::new();
            while let (Some(pid), Some(mask)) = (body.u16(), body.u16()) {
                seqs.push(pid);
                seqs.extend((0..16).filter(|bit| mask >> bit & 1 == 1).map(|bit| pid.wrapping_add(bit + 1)));
            }
            Some(Rtcp::Nack { sender, media, seqs })
        }
        (TRANSPORT_FEEDBACK, FMT_CCFB) => CcfbFeedback::read(body).map(Rtcp::Ccfb),
        (TRANSPORT_FEEDBACK, FMT_TWCC) => TwccFeedback::read(body).map(Rtcp::Twcc),
        (PAYLOAD_FEEDBACK, FMT_PLI) => Some(Rtcp::Pli { sender: body.ssrc()?, media: body.ssrc()? }),
        (PAYLOAD_FEEDBACK, FMT_FIR) => {
            let sender = body.ssrc()?;
            body.ssrc()?; // RFC 5104 §4.3.1.1: unused
            let mut requests = Vec::new();
            while let (Some(ssrc), Some([number, ..])) = (body.ssrc(), body.take::<4>()) {
                requests.push((ssrc, number));
            }
            Some(Rtcp::Fir { sender, requests })
        }
        (PAYLOAD_FEEDBACK, FMT_AFB) => {
            let sender = body.ssrc()?;
            let media = body.ssrc()?;
            match &body.take()? {
                b"REMB" => {}
                &playout::NAME => return PlayoutReport::read(sender, media, &mut body).map(Rtcp::Playout),
                _ => return Some(Rtcp::Other { packet_type, count }),
            }
            let streams = body.u8()?;
            let coded = body.u24()?;
            let bps = u64::from(coded & 0x3_ffff).checked_shl(coded >> 18)?;
            let ssrcs = (0..streams).map_while(|_| body.ssrc()).collect();
            Some(Rtcp::Remb { sender, bitrate: Bitrate::from_bps(bps), ssrcs })
        }
        _ => Some(Rtcp::Other { packet_type, count }),
    }
}

fn read_blocks(count: u8, body: &mut Reader<'_>) -> Option<Vec<ReportBlock>> {
    (0..count)
        .map(|_| {
            Some(ReportBlock {
                ssrc: body.ssrc()?,
                fraction_lost: body.u8()?,
                // Sign-extended from 24 bits.
                cumulative_lost: (body.u24()? << 8) as i32 >> 8,
                highest_seq: body.u32()?,
                jitter: body.u32()?,
                last_sr: body.u32()?,
                delay_since_last_sr: body.u32()?,
            })
        })
        .collect()
}

/// A datagram of several packets.
pub fn write(packets: &[Rtcp]) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in packets {
        packet.write(&mut out);
    }
    out
}

impl Rtcp {
    /// Appends the packet as it travels. [`Rtcp::Other`] writes nothing.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0x80, 0, 0, 0]);
        let (count, packet_type) = self.write_body(out);
        if packet_type == 0 {
            out.truncate(start);
            return;
        }
        // RFC 3550 §6.4.1: padding fills the last word and its last byte counts it.
        let padding = (out.len() - start).next_multiple_of(4) - (out.len() - start);
        if padding > 0 {
            out.resize(out.len() + padding - 1, 0);
            out.push(padding as u8);
        }
        let words = ((out.len() - start) / 4 - 1) as u16;
        out[start] |= count & 0x1f | if padding > 0 { 0x20 } else { 0 };
        out[start + 1] = packet_type;
        out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
    }

    fn write_body(&self, out: &mut Vec<u8>) -> (u8, u8) {
        let mut word = |value: u32| out.extend_from_slice(&value.to_be_bytes());
        match self {
            Rtcp::SenderReport { ssrc, ntp, rtp_time, packets, octets, blocks } => {
                for value in [ssrc.0, (ntp >> 32) as u32, *ntp as u32, *rtp_time, *packets, *octets] {
                    word(value);
                }
                (write_blocks(blocks, out), SENDER_REPORT)
            }
            Rtcp::ReceiverReport { ssrc, blocks } => {
                word(ssrc.0);
                (write_blocks(blocks, out), RECEIVER_REPORT)
            }
            Rtcp::Nack { sender, media, seqs } => {
                word(sender.0);
                word(media.0);
                for (pid, mask) in pack_nacks(seqs) {
                    word(u32::from(pid) << 16 | u32::from(mask));
                }
                (FMT_NACK, TRANSPORT_FEEDBACK)
            }
            Rtcp::Pli { sender, media } => {
                word(sender.0);
                word(media.0);
                (FMT_PLI, PAYLOAD_FEEDBACK)
            }
            Rtcp::Fir { sender, requests } => {
                word(sender.0);
                word(0);
                for (ssrc, number) in requests {
                    word(ssrc.0);
                    word(u32::from(*number) << 24);
                }
                (FMT_FIR, PAYLOAD_FEEDBACK)
            }
            Rtcp::Twcc(feedback) => {
                feedback.write(out);
                (FMT_TWCC, TRANSPORT_FEEDBACK)
            }
            Rtcp::Ccfb(feedback) => {
                feedback.write(out);
                (FMT_CCFB, TRANSPORT_FEEDBACK)
            }
            Rtcp::Remb { sender, bitrate, ssrcs } => {
                word(sender.0);
                word(0);
                word(u32::from_be_bytes(*b"REMB"));
                let bps = bitrate.as_bps();
                let exponent = (64 - bps.leading_zeros()).saturating_sub(18);
                let ssrcs = &ssrcs[..ssrcs.len().min(255)];
                word((ssrcs.len() as u32) << 24 | exponent << 18 | (bps >> exponent) as u32);
                for ssrc in ssrcs {
                    word(ssrc.0);
                }
                (FMT_AFB, PAYLOAD_FEEDBACK)
            }
            Rtcp::Playout(report) => {
                report.write(out);
                (FMT_AFB, PAYLOAD_FEEDBACK)
            }
            Rtcp::Bye { ssrcs } => {
                let ssrcs = &ssrcs[..ssrcs.len().min(31)];
                for ssrc in ssrcs {
                    word(ssrc.0);
                }
                (ssrcs.len() as u8, GOODBYE)
            }
            Rtcp::Other { .. } => (0, 0),
        }
    }
}

fn write_blocks(blocks: &[ReportBlock], out: &mut Vec<u8>) -> u8 {
    let blocks = &blocks[..blocks.len().min(31)];
    for block in blocks {
        let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        for value in [
            block.ssrc.0,
            u32::from(block.fraction_lost) << 24 | lost,
            block.highest_seq,
            block.jitter,
            block.last_sr,
            block.delay_since_last_sr,
        ] {
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    blocks.len() as u8
}

/// Packs numbers into pairs of a first number and a mask of the sixteen after it (RFC 4585 §6.2.1).
fn pack_nacks(seqs: &[u16]) -> Vec<(u16, u16)> {
    let mut pairs: Vec<(u16, u16)> = Vec::new();
    for &seq in seqs {
        match pairs.last_mut() {
            Some((pid, _)) if seq == *pid => {}
            Some((pid, mask)) if seq.wrapping_sub(*pid) <= 16 => *mask |= 1 << (seq.wrapping_sub(*pid) - 1),
            _ => pairs.push((seq, 0)),
        }
    }
    pairs
}
