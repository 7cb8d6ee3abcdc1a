//! One video slot: packets in, pictures out.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_codec::CodecError;
use undertone_codec::h264::Decoder;
use undertone_jitter::frames::{Config, Facts, FrameBuffer, Layer};
use undertone_media::{EncodedFrame, Kind, Timestamp, VideoFrame};
use undertone_transport::payload::{dd, h264};
use undertone_transport::rtp;
use undertone_transport::stream::RecvStream;

use crate::{FrameTransform, Timing};

/// A lost picture is asked for again no sooner than this: a key frame takes its time to come.
const KEY_INTERVAL: Duration = Duration::from_millis(150);

/// Within so long the stream has asked again for a packet that an answer is overdue for, or given it up.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// Decoded pictures wait for at most so many calls of `pull`; an owner that never pulls loses old ones.
const WAITING: usize = 8;

/// One video slot.
pub struct VideoReceiver {
    /// The stream's numbers, repairs and reports.
    pub stream: RecvStream,
    buffer: FrameBuffer,
    descriptors: dd::Parser,
    decoder: Decoder,
    shown: VecDeque<VideoFrame>,
    decoded: u64,
    undecodable: u64,
    asked: Option<Timestamp>,
    delays: Vec<Duration>,
}

impl VideoReceiver {
    /// A slot for one stream.
    pub fn new(stream: RecvStream, clock_rate: u32) -> VideoReceiver {
        VideoReceiver {
            stream,
            buffer: FrameBuffer::new(Config { clock_rate, ..Config::default() }),
            descriptors: dd::Parser::default(),
            decoder: Decoder::new(),
            shown: VecDeque::new(),
            decoded: 0,
            undecodable: 0,
            asked: None,
            delays: Vec::new(),
        }
    }

    /// Takes an RTP packet of this stream or of its retransmissions.
    pub fn receive(&mut self, now: Timestamp, header: &rtp::Header, payload: &[u8]) {
        let Some(packet) = self.stream.receive(now, header, payload) else { return };
        let described = header.ext.dd.as_ref().and_then(|bytes| self.descriptors.parse(bytes.as_bytes()));
        let facts = match described {
            Some(facts) => {
                let bytes = header.ext.dd.as_ref().map_or(&[][..], |bytes| bytes.as_bytes());
                let discardable = self.descriptors.is_discardable(bytes);
                let layer = Layer { number: facts.frame_number, temporal: facts.temporal, discardable };
                Facts { start: facts.start, end: facts.end, key: facts.key, layer: Some(layer) }
            }
            None => Facts {
                start: h264::is_start(&packet.payload),
                end: packet.marker,
                key: h264::is_key(&packet.payload),
                layer: None,
            },
        };
        self.buffer.insert(now, packet, facts);
    }

    /// Decodes what is due.
    ///
    /// # Errors
    /// `CodecError` if a decoder cannot be made. A picture that cannot be decoded is no error: it is
    /// counted, and a key frame is asked for.
    pub fn service(
        &mut self,
        now: Timestamp,
        rtt: Option<Duration>,
        timing: Timing,
        transform: &mut dyn FrameTransform,
    ) -> Result<(), CodecError> {
        let stream = &self.stream;
        // As long as the stream goes on asking for a packet, it may come: a late repair costs a short stop, a
        // key frame costs as much of a weak path as a second of pictures.
        let repairable = |seq| stream.repairable_until(seq, rtt).map(|until| until.max(now + ASK_AGAIN));
        while let Some(frame) = self.buffer.poll(now, repairable) {
            let payloads = frame.packets.iter().map(|packet| packet.payload.as_slice());
            let Some(data) = h264::assemble(payloads) else {
                self.undecodable += 1;
                continue;
            };
            let captured = stream.capture_ntp(frame.time).and_then(|ntp| timing.since(now, ntp));
            let mut coded = EncodedFrame {
                kind: Kind::Video,
                time: frame.time,
                captured: captured.map_or(now, |ago| now - ago),
                key: frame.key,
                data,
            };
            if !transform.inbound(&mut coded) {
                self.undecodable += 1;
                continue;
            }
            match self.decoder.decode(&coded.data, coded.captured) {
                Ok(Some(picture)) => {
                    self.decoded += 1;
                    self.delays.extend(captured);
                    if self.shown.len() == WAITING {
                        self.shown.pop_front();
                    }
                    self.shown.push_back(picture);
                }
                Ok(None) => {}
                Err(error @ CodecError::Library { .. }) => return Err(error),
                Err(_) => self.undecodable += 1,
            }
        }
        if let Some(from) = self.buffer.wanted_from() {
            self.stream.abandon_before(from);
        }
        Ok(())
    }

    /// The next picture to show.
    pub fn pull(&mut self) -> Option<VideoFrame> {
        self.shown.pop_front()
    }

    /// True if a key frame is to be asked for now; it counts as asked for.
    pub fn ask_key(&mut self, now: Timestamp) -> bool {
        let lost = self.decoder.needs_key() && !self.buffer.has_key();
        let wanted = self.stream.stats().received > 0 && (self.buffer.wants_key() || lost);
        let due = self.asked.is_none_or(|asked| now.since(asked) >= KEY_INTERVAL);
        if wanted && due {
            self.asked = Some(now);
        }
        wanted && due
    }

    /// When to call [`VideoReceiver::service`] if nothing comes before.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.buffer.deadline()
    }

    /// Pictures decoded.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    /// Pictures that came whole and could not be decoded: the sender's fault.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Camera to screen, for each picture shown, in order; emptied by the call.
    pub fn take_delays(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.delays)
    }

    /// The frame buffer's own account.
    pub fn buffer(&self) -> &FrameBuffer {
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use undertone_codec::h264::{Encoder, EncoderConfig};
    use undertone_media::Ssrc;
    use undertone_transport::rtp::{Extensions, Header};
    use undertone_transport::stream::{NackConfig, RecvConfig};

    /// Pictures of one packet each; the third is lost, and comes `answered` ms after it was sent.
    fn decoded(answered: u64) -> (u64, bool) {
        let stream = RecvStream::new(RecvConfig {
            ssrc: Ssrc(1),
            payload_type: 102,
            clock_rate: 90_000,
            rtx_payload_type: Some(103),
            nack: Some(NackConfig::video()),
        });
        let mut receiver = VideoReceiver::new(stream, 90_000);
        let config = EncoderConfig { width: 64, height: 64, ..EncoderConfig::default() };
        let mut encoder = Encoder::new(config).unwrap();
        let rtt = Some(Duration::from_millis(60));
        let mut packets = Vec::new();
        let mut seq = 100;
        for n in 0..60u64 {
            let captured = Timestamp::from_millis(1_000 + n * 33);
            let coded = encoder.encode(&VideoFrame::black(64, 64, captured), false).unwrap().unwrap();
            let payloads = h264::packetize(&coded.data, 1_000);
            let last = payloads.len() - 1;
            for (index, payload) in payloads.into_iter().enumerate() {
                let header = Header {
                    payload_type: 102,
                    marker: index == last,
                    seq,
                    timestamp: (n * 2_970) as u32,
                    ssrc: Ssrc(1),
                    ext: Extensions::default(),
                };
                if n == 2 && index == 0 {
                    let again = [seq.to_be_bytes().to_vec(), payload].concat();
                    let at = captured + Duration::from_millis(answered);
                    packets.push((at, Header { payload_type: 103, ssrc: Ssrc(2), ..header }, again));
                } else {
                    packets.push((captured, header, payload));
                }
                seq += 1;
            }
        }
        packets.sort_by_key(|(at, ..)| *at);
        let mut packets = packets.into_iter().peekable();
        let mut asked_key = false;
        for ms in 1_000..3_500 {
            let now = Timestamp::from_millis(ms);
            while let Some((_, header, payload)) = packets.next_if(|(at, ..)| *at <= now) {
                receiver.receive(now, &header, &payload);
            }
            let timing = Timing { epoch: Duration::ZERO };
            receiver.service(now, rtt, timing, &mut crate::Plain).unwrap();
            receiver.stream.nack(now, rtt);
            asked_key |= receiver.ask_key(now);
        }
        (receiver.decoded(), asked_key)
    }

    #[test]
    fn a_picture_waits_for_the_answer_to_a_later_request() {
        for answered in [50, 120, 300, 700] {
            assert_eq!(decoded(answered), (60, false), "{answered} ms");
        }
    }

    #[test]
    fn what_is_given_up_asks_for_a_key_frame() {
        assert_eq!(decoded(1_500), (2, true));
    }
}
