//! A client's media, which is only numbers: what it sends, and what it makes of what comes.

use super::super::{WALL_CLOCK, ms};
use super::{Client, Heard, Like};
use undertone_media::{DataSize, MediaTime, Ssrc, Timestamp};
use undertone_transport::feedback::{PacketId, Recorder};
use undertone_transport::payload::dd;
use undertone_transport::recovery::{red, rlc};
use undertone_transport::rtcp::{self, Rtcp};
use undertone_transport::rtp::{AudioLevel, Extensions, Header, Mid};

impl Client {
    pub(crate) fn on_rtp(&mut self, now: Timestamp, packet: &[u8]) {
        let ssrc = Ssrc(u32::from_be_bytes(packet[8..12].try_into().unwrap()));
        for line in &self.lines {
            let Some(receive) = &line.receive else { continue };
            if receive.ssrc != Some(ssrc) && receive.rtx_ssrc != Some(ssrc) {
                continue;
            }
            let (stream, map) = self.receivers.get_mut(&line.mid).unwrap();
            let (header, payload) = Header::parse(packet, map).expect("the SFU writes RTP");
            if let Some(recorder) = &mut self.recorder {
                let size = DataSize::from_bytes(packet.len() as u64 + 44);
                let id = match header.ext.twcc {
                    Some(number) if self.numbered => PacketId::Twcc(number),
                    _ => PacketId::Rtp(header.ssrc, header.seq),
                };
                recorder.on_packet(now, id, size);
            }
            let again = receive.rtx_ssrc == Some(ssrc);
            let payload = &packet[payload];
            let mut came = Vec::new();
            if receive.red_payload_type == Some(header.payload_type) {
                let mut parts = red::split(&header, payload).into_iter();
                let (newest, payload) = parts.next().expect("the SFU writes RED");
                came.push((header, stream.receive(now, &newest, payload)));
                came.extend(parts.map(|(it, payload)| (it, stream.receive_copy(now, &it, payload))));
            } else if receive.rlc_payload_type == Some(header.payload_type) {
                let opus = receive.payload_types[0].0;
                let decoder =
                    self.decoders.entry(line.mid.clone()).or_insert_with(|| rlc::Decoder::new(opus));
                let carrier = decoder.open(payload).expect("the SFU writes RLC");
                let plain = Header { payload_type: opus, ..header };
                came.push((header, stream.receive(now, &plain, carrier.payload)));
                for (it, payload) in decoder.receive(&plain, &carrier, carrier.payload) {
                    came.push((it, stream.receive_copy(now, &it, &payload)));
                }
            } else {
                came.push((header, stream.receive(now, &header, payload)));
            }
            if self.forgetful {
                return;
            }
            let heard = came.into_iter().map(|(header, packet)| Heard { at: now, header, packet, again });
            self.heard.entry(line.mid.clone()).or_default().extend(heard);
            return;
        }
        panic!("a packet of no announced stream: {ssrc:?}");
    }

    pub(crate) fn on_rtcp(&mut self, now: Timestamp, datagram: &[u8]) {
        for packet in rtcp::parse(datagram) {
            match &packet {
                Rtcp::Pli { .. } => {
                    self.plis.push(now);
                    self.key_wanted |= self.obliging;
                }
                Rtcp::Nack { media, seqs, .. } if self.obliging => {
                    for stream in [&mut self.audio, &mut self.video] {
                        let Some((stream, map)) = stream.as_mut().filter(|(s, _)| s.config().ssrc == *media)
                        else {
                            continue;
                        };
                        for &seq in seqs {
                            if let Some(resend) = stream.copy(now, seq) {
                                let mut bytes = Vec::new();
                                resend.header.write(map, &mut bytes);
                                bytes.extend_from_slice(&resend.payload);
                                self.session.send_rtp(now, bytes);
                            }
                        }
                    }
                }
                Rtcp::SenderReport { ssrc, .. } => {
                    for (stream, _) in self.receivers.values_mut().filter(|(s, _)| s.config().ssrc == *ssrc) {
                        stream.on_sender_report(now, &packet);
                    }
                }
                _ => {}
            }
            self.rtcp.push((now, packet));
        }
    }

    pub(crate) fn media_deadline(&self) -> Option<Timestamp> {
        if self.connected.is_none() || self.silent {
            return None;
        }
        let audio = self.sending.audio.then_some(self.audio_at);
        let video = self.sending.video.map(|_| self.video_at);
        let feedback = self.recorder.as_ref().and_then(Recorder::deadline);
        [audio, video, feedback, Some(self.report_at)].into_iter().flatten().min()
    }

    pub(crate) fn media(&mut self, now: Timestamp) {
        if self.media_deadline().is_none_or(|due| due > now) {
            return;
        }
        if let Some(report) = self.recorder.as_mut().and_then(|recorder| recorder.poll(now)) {
            self.session.send_rtcp(now, rtcp::write(&[report]));
        }
        let mut packets = Vec::new();
        if self.sending.audio && self.audio_at <= now {
            self.audio_at = now + ms(20);
            let (stream, map) = self.audio.as_mut().unwrap();
            let ext = Extensions {
                audio_level: Some(AudioLevel { voice: self.sending.level < 127, level: self.sending.level }),
                mid: Mid::new(b"0"),
                twcc: number(self.numbered, &mut self.twcc_seq),
                ..Extensions::default()
            };
            let header = stream.next(MediaTime(now.as_micros() * 48 / 1000), false, ext);
            let payload = stamp(vec![0x48; 40], self.id, header.seq);
            stream.store(now, &header, &payload);
            let send = self.lines[0].send.as_ref();
            let red = send.and_then(|send| send.red_payload_type);
            let rlc = send.and_then(|send| send.rlc_payload_type);
            let before = self.before.replace((header.timestamp, payload.clone()));
            let plan = rlc::Plan { window: 6, rate: 2000, ..rlc::Plan::default() };
            let (header, payload) = match (rlc, red, &before) {
                (Some(rlc), ..) => self.encoder.dress(&header, &payload, &payload, &plan, rlc),
                (None, Some(red), Some((at, copy))) => {
                    red::join(&header, &payload, &[(*at, copy)], red).expect("a copy fits")
                }
                _ => (header, payload),
            };
            let mut bytes = Vec::new();
            header.write(map, &mut bytes);
            bytes.extend_from_slice(&payload);
            packets.push(bytes);
        }
        if let Some(count) = self.sending.video.filter(|_| self.video_at <= now) {
            self.video_at = now + ms(40);
            let key = std::mem::take(&mut self.key_wanted);
            if key {
                self.key_frames.push(now);
            }
            let (stream, map) = self.video.as_mut().unwrap();
            let writer = dd::Writer::new(1);
            for at in 0..count {
                let (start, end) = (at == 0, at + 1 == count);
                let facts = dd::Facts { start, end, key, frame_number: self.frame, spatial: 0, temporal: 0 };
                let ext = Extensions {
                    dd: (!self.sending.bare_h264).then(|| writer.write(&facts)),
                    mid: (self.sending.like == Like::Anonymous).then(|| Mid::new(b"1").unwrap()),
                    twcc: number(self.numbered, &mut self.twcc_seq),
                    ..Extensions::default()
                };
                let header = stream.next(MediaTime(now.as_micros() * 90 / 1000), end, ext);
                // A single NAL unit: SPS (7) where a key frame starts, else a slice (1).
                let first = if self.sending.bare_h264 && key && start { 0x67 } else { 0x61 };
                let mut payload = vec![first; self.sending.size];
                payload[1] = u8::from(key && start);
                let payload = stamp(payload, self.id, header.seq);
                stream.store(now, &header, &payload);
                let mut bytes = Vec::new();
                header.write(map, &mut bytes);
                bytes.extend_from_slice(&payload);
                packets.push(bytes);
            }
            self.frame = self.frame.wrapping_add(1);
            self.frames_sent += 1;
        }
        if self.report_at <= now {
            self.report_at = now + ms(1000);
            // The client's clock is its own: it began an hour earlier.
            let ntp = rtcp::ntp(now + WALL_CLOCK);
            for (stream, rate) in [(&self.audio, 48), (&self.video, 90)] {
                if let Some((stream, _)) = stream {
                    let report = stream.sender_report(ntp, MediaTime(now.as_micros() * rate / 1000));
                    self.session.send_rtcp(now, rtcp::write(&[report]));
                }
            }
            let heard = &self.heard;
            let blocks: Vec<_> = self
                .receivers
                .iter_mut()
                .filter(|(mid, _)| heard.contains_key(*mid))
                .map(|(_, (stream, _))| stream.report_block(now))
                .collect();
            if !blocks.is_empty() {
                let ssrc = Ssrc(self.channel as u32);
                self.session.send_rtcp(now, rtcp::write(&[Rtcp::ReceiverReport { ssrc, blocks }]));
            }
        }
        for packet in packets {
            self.session.send_rtp(now, packet);
        }
    }
}

/// The next transport-wide number, if packets carry them.
fn number(numbered: bool, next: &mut u16) -> Option<u16> {
    let number = *next;
    *next = next.wrapping_add(1);
    numbered.then_some(number)
}

/// Ends a payload with who sent it and under which number, to check what arrives.
fn stamp(mut payload: Vec<u8>, id: u32, seq: u16) -> Vec<u8> {
    payload.push(id as u8);
    payload.extend_from_slice(&[0; 6]);
    payload.extend_from_slice(&seq.to_be_bytes());
    payload
}
