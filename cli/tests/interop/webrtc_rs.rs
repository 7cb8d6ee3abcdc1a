//! A peer made of webrtc-rs: asynchronous, with tasks of its own on a tokio runtime.

use super::interop::ledger::{Event, Ledger};
use super::interop::material::Material;
use rtc::media::Sample;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS};
use rtc::rtp::codec::h264::H264Packet;
use rtc::rtp::packetizer::Depacketizer;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use undertone_media::{Kind, SeqUnwrapper};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_sample::TrackLocalStaticSample;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCPeerConnectionState, RTCSessionDescription, Registry, register_default_interceptors,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit, RtpSender};

/// A peer connection and what came of it.
pub struct WebrtcRs {
    /// What it has received.
    pub ledger: Ledger,
    events: Receiver<Event>,
    gathered: tokio::sync::watch::Receiver<bool>,
    connection: Arc<dyn PeerConnection>,
    outgoing: Vec<(Kind, Arc<TrackLocalStaticSample>, Arc<dyn RtpSender>)>,
    runtime: tokio::runtime::Runtime,
}

impl WebrtcRs {
    /// A peer with a socket on loopback, and with the codecs and interceptors that webrtc-rs has by default.
    pub fn new() -> WebrtcRs {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (events, received) = channel();
        let (gathering, gathered) = tokio::sync::watch::channel(false);
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().expect("its codecs");
        let registry = register_default_interceptors(Registry::new(), &mut engine).expect("its interceptors");
        let connection = runtime.block_on(async {
            PeerConnectionBuilder::new()
                .with_media_engine(engine)
                .with_interceptor_registry(registry)
                .with_handler(Arc::new(Handler { events, gathering }))
                .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
                .build()
                .await
                .expect("a peer connection")
        });
        WebrtcRs {
            ledger: Ledger::default(),
            events: received,
            gathered,
            connection: Arc::new(connection),
            outgoing: Vec::new(),
            runtime,
        }
    }

    /// Will send this kind, on a line that serves both ways or, in an offer, on one of its own.
    pub fn send(&mut self, kind: Kind, alone: bool) {
        let track = track(kind);
        let local: Arc<dyn TrackLocal> = track.clone();
        let sender = self.runtime.block_on(async {
            if !alone {
                return self.connection.add_track(local).await.expect("a track");
            }
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Sendonly,
                streams: Vec::new(),
                send_encodings: Vec::new(),
            };
            let line = self.connection.add_transceiver_from_track(local, Some(init)).await.expect("a line");
            line.sender().await.expect("a connection").expect("a line that sends")
        });
        self.outgoing.push((kind, track, sender));
    }

    /// Will offer a line on which it receives this kind.
    pub fn receive(&mut self, kind: Kind) {
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            streams: Vec::new(),
            send_encodings: Vec::new(),
        };
        let line = self.connection.add_transceiver_from_kind(theirs(kind), Some(init));
        self.runtime.block_on(line).expect("a line");
    }

    /// Its offer, with all candidates.
    pub fn offer(&mut self) -> String {
        let connection = self.connection.clone();
        self.describe(async move { connection.create_offer(None).await })
    }

    /// Its answer to an offer, with all candidates.
    pub fn answer(&mut self, offer: String) -> String {
        let offer = RTCSessionDescription::offer(offer).expect("webrtc-rs reads the offer");
        let connection = self.connection.clone();
        self.describe(async move {
            connection.set_remote_description(offer).await.expect("webrtc-rs takes the offer");
            connection.create_answer(None).await
        })
    }

    fn describe(
        &mut self,
        make: impl Future<Output = webrtc::error::Result<RTCSessionDescription>>,
    ) -> String {
        let (connection, mut gathered) = (self.connection.clone(), self.gathered.clone());
        self.runtime.block_on(async {
            let description = make.await.expect("a description");
            connection.set_local_description(description).await.expect("its own description");
            let all = tokio::time::timeout(super::interop::PATIENCE, gathered.wait_for(|&done| done));
            all.await.expect("candidates in time").expect("candidates");
            connection.local_description().await.expect("a description").sdp
        })
    }

    /// Takes the answer to its offer.
    pub fn accept_answer(&mut self, answer: String) {
        let answer = RTCSessionDescription::answer(answer).expect("webrtc-rs reads the answer");
        self.runtime
            .block_on(self.connection.set_remote_description(answer))
            .expect("webrtc-rs takes the answer");
    }

    /// Sends material at its pace from now on.
    pub fn publish(&mut self, material: &Arc<Material>) {
        for (kind, track, sender) in self.outgoing.drain(..) {
            self.runtime.spawn(publish(kind, track, sender, material.clone()));
        }
    }

    /// Writes down what has happened since.
    pub fn look(&mut self) -> &Ledger {
        while let Ok(event) = self.events.try_recv() {
            self.ledger.note(event);
        }
        &self.ledger
    }
}

impl Drop for WebrtcRs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.look();
        }
        let _ = self.runtime.block_on(self.connection.close());
    }
}

fn theirs(kind: Kind) -> RtpCodecKind {
    match kind {
        Kind::Audio => RtpCodecKind::Audio,
        Kind::Video => RtpCodecKind::Video,
    }
}

fn track(kind: Kind) -> Arc<TrackLocalStaticSample> {
    let (mime_type, clock_rate, channels, fmtp) = match kind {
        Kind::Audio => (MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1"),
        Kind::Video => (
            MIME_TYPE_H264,
            90_000,
            0,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
    };
    let codec = RTCRtpCodec {
        mime_type: mime_type.into(),
        clock_rate,
        channels,
        sdp_fmtp_line: fmtp.into(),
        rtcp_feedback: Vec::new(),
    };
    // SSRCs are the caller's here.
    let ssrc = u32::from_be_bytes(undertone_io::random_seed()[..4].try_into().expect("four bytes"));
    let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() };
    let encoding = RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..Default::default() };
    let name = format!("{kind:?}");
    let track = MediaStreamTrack::new("stream".into(), name.clone(), name, theirs(kind), vec![encoding]);
    Arc::new(TrackLocalStaticSample::new(Instant::now(), track).expect("a codec that it can packetise"))
}

async fn publish(
    kind: Kind,
    track: Arc<TrackLocalStaticSample>,
    sender: Arc<dyn RtpSender>,
    material: Arc<Material>,
) {
    use webrtc::media_stream::Track;
    let ssrc = *track.ssrcs().await.first().expect("an SSRC");
    let codecs = sender.get_parameters().await.expect("a connection").rtp_parameters.codecs;
    let payload_type = codecs.first().expect("a codec was agreed").payload_type;
    let (units, duration) = match kind {
        Kind::Audio => (&material.audio, Duration::from_millis(20)),
        Kind::Video => (&material.video, Duration::from_micros(33_333)),
    };
    let mut ticks = tokio::time::interval(duration);
    for unit in units.iter().cycle() {
        ticks.tick().await;
        let sample = Sample { data: unit.clone().into(), duration, ..Sample::new(Instant::now()) };
        if track.sample_writer(ssrc, payload_type).write_sample(&sample).await.is_err() {
            return;
        }
    }
}

struct Handler {
    events: Sender<Event>,
    gathering: tokio::sync::watch::Sender<bool>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathering.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let told = match state {
            RTCPeerConnectionState::Connected => Event::Connected,
            RTCPeerConnectionState::Failed => Event::Over("webrtc-rs cannot connect".into()),
            _ => return,
        };
        let _ = self.events.send(told);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        tokio::spawn(read(track, self.events.clone()));
    }
}

/// Puts packets together with webrtc-rs' depacketiser, a picture at a time. webrtc-rs hands packets out as they
/// come, so that those sent again must find their place: others wait for them, up to 200 packets long.
async fn read(track: Arc<dyn TrackRemote>, events: Sender<Event>) {
    let (line, kind) = (track.track_id().await, track.kind().await);
    let (mut h264, mut unit) = (H264Packet::default(), Vec::new());
    let (mut seqs, mut waiting, mut next) = (SeqUnwrapper::default(), BTreeMap::new(), None);
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        if kind == RtpCodecKind::Audio {
            let _ = events.send(Event::Audio(line.clone(), packet.payload.to_vec()));
            continue;
        }
        let seq = seqs.unwrap(packet.header.sequence_number);
        if next.is_some_and(|next| seq < next) {
            continue;
        }
        waiting.insert(seq, packet);
        while let Some(first) = waiting.first_entry() {
            let seq = *first.key();
            let packet = first.get().clone();
            if next.is_some_and(|next| seq > next) && waiting.len() < 200 {
                break;
            }
            waiting.remove(&seq);
            next = Some(seq.next());
            if !packet.payload.is_empty() {
                match h264.depacketize(&packet.payload) {
                    Ok(nals) => unit.extend_from_slice(&nals),
                    Err(e) => {
                        drop(events.send(Event::Over(format!("webrtc-rs cannot read a video packet: {e}"))))
                    }
                }
            }
            if packet.header.marker {
                let _ = events.send(Event::Video(line.clone(), std::mem::take(&mut unit)));
            }
        }
    }
}
