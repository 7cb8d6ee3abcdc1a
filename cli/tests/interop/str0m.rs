//! A peer made of str0m: sans-IO like our own machines, so that it has a loop and a thread here.

use super::ledger::{Event, Ledger};
use super::material::Material;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use str0m::bwe::{Bitrate, BweKind};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
pub use str0m::config::DtlsVersion;
use str0m::format::Codec;
pub use str0m::media::Direction;
use str0m::media::{Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Input, Output, Rtc};

/// Before it runs: signalling.
pub struct Setup {
    rtc: Rtc,
    socket: UdpSocket,
    pending: Option<SdpPendingOffer>,
    /// Lines that an offer of ours sends on: sound, pictures.
    sends: [Option<Mid>; 2],
}

/// While it runs. Hangs up when dropped: RTCP BYE and DTLS close_notify, and nothing by signalling.
pub struct Str0m {
    /// What it has received.
    pub ledger: Ledger,
    events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Setup {
    /// A peer with a socket on loopback that speaks Opus and H.264.
    pub fn new(dtls: DtlsVersion) -> Setup {
        Setup::with(dtls, false)
    }

    /// The same, as an ICE-lite agent, which answers checks and makes none.
    pub fn lite(dtls: DtlsVersion) -> Setup {
        Setup::with(dtls, true)
    }

    fn with(dtls: DtlsVersion, lite: bool) -> Setup {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut rtc = Rtc::builder()
            .clear_codecs()
            .enable_opus(true, false)
            .enable_h264(true)
            .set_dtls_version(dtls)
            .set_stats_interval(Some(Duration::from_millis(500)))
            .enable_bwe(Some(Bitrate::kbps(300)))
            .set_ice_lite(lite)
            .build(Instant::now());
        let address = socket.local_addr().expect("the socket has an address");
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        Setup { rtc, socket, pending: None, sends: [None; 2] }
    }

    /// Its address as a candidate for later.
    pub fn candidate(&self) -> String {
        let address = self.socket.local_addr().expect("the socket has an address");
        Candidate::host(address, "udp").expect("a candidate").to_sdp_string()
    }

    /// Offers one line for each of these.
    pub fn offer(&mut self, lines: &[(undertone_media::Kind, Direction)]) -> String {
        let mut api = self.rtc.sdp_api();
        for &(kind, direction) in lines {
            let theirs = match kind {
                undertone_media::Kind::Audio => MediaKind::Audio,
                undertone_media::Kind::Video => MediaKind::Video,
            };
            let mid = api.add_media(theirs, direction, None, None, None);
            if direction.is_sending() {
                self.sends[kind as usize].get_or_insert(mid);
            }
        }
        let (offer, pending) = api.apply().expect("there is something to offer");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    /// Takes the answer to its offer.
    pub fn accept_answer(&mut self, answer: &str) {
        let answer =
            SdpAnswer::from_sdp_string(answer).unwrap_or_else(|e| panic!("str0m reads {answer}: {e}"));
        let pending = self.pending.take().expect("an offer was made");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("str0m takes the answer");
    }

    /// Answers an offer.
    pub fn answer(&mut self, offer: &str) -> String {
        let offer = SdpOffer::from_sdp_string(offer).unwrap_or_else(|e| panic!("str0m reads {offer}: {e}"));
        self.rtc.sdp_api().accept_offer(offer).expect("str0m takes the offer").to_sdp_string()
    }

    /// Connects, and then sends `material` on the first line of each kind that it may send on.
    pub fn run(self, material: Arc<Material>) -> Str0m {
        let (events, received) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let sender = Publisher::new(material, self.sends);
            if let Err(why) = drive(self.rtc, &self.socket, sender, &events, &stopped) {
                let _ = events.send(Event::Over(why));
            }
        });
        Str0m { ledger: Ledger::default(), events: received, stop, thread: Some(thread) }
    }
}

impl Str0m {
    /// Writes down what has happened since.
    pub fn look(&mut self) -> &Ledger {
        while let Ok(event) = self.events.try_recv() {
            self.ledger.note(event);
        }
        &self.ledger
    }
}

impl Drop for Str0m {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends material at its pace, from when it is connected.
struct Publisher {
    material: Arc<Material>,
    /// Where sound goes, and where pictures go.
    lines: [Option<Mid>; 2],
    started: Option<Instant>,
    /// Packets and pictures sent.
    sent: (u64, u64),
    /// The next picture's place in the material.
    picture: usize,
}

impl Publisher {
    fn new(material: Arc<Material>, lines: [Option<Mid>; 2]) -> Publisher {
        Publisher { material, lines, started: None, sent: (0, 0), picture: 0 }
    }

    fn due(&self) -> Option<Instant> {
        let audio = self.started? + Duration::from_millis(20 * self.sent.0);
        let video = self.started? + Duration::from_micros(self.sent.1 * 1_000_000 / 30);
        Some(audio.min(video))
    }

    /// Writes at most one packet or picture: str0m wants its output taken after each.
    fn write(&mut self, rtc: &mut Rtc, now: Instant) -> Result<bool, String> {
        let Some(started) = self.started else { return Ok(false) };
        let (packets, pictures) = self.sent;
        let (mid, codec, time, data) = if started + Duration::from_millis(20 * packets) <= now {
            self.sent.0 += 1;
            let packet = &self.material.audio[packets as usize % self.material.audio.len()];
            (self.lines[0], Codec::Opus, MediaTime::new(packets * 960, Frequency::FORTY_EIGHT_KHZ), packet)
        } else if started + Duration::from_micros(pictures * 1_000_000 / 30) <= now {
            self.sent.1 += 1;
            let picture = &self.material.video[self.picture];
            self.picture = (self.picture + 1) % self.material.video.len();
            (self.lines[1], Codec::H264, MediaTime::from_90khz(pictures * 3_000), picture)
        } else {
            return Ok(false);
        };
        let Some(writer) = mid.and_then(|mid| rtc.writer(mid)) else { return Ok(true) };
        let suits = |it: &&str0m::format::PayloadParams| {
            it.spec().codec == codec
                && (codec == Codec::Opus || it.spec().format.packetization_mode == Some(1))
        };
        let pt = writer.payload_params().find(suits).ok_or(format!("{codec:?} was not agreed"))?.pt();
        writer.write(pt, now, time, data.clone()).map_err(|e| e.to_string())?;
        Ok(true)
    }
}

fn drive(
    mut rtc: Rtc,
    socket: &UdpSocket,
    mut sender: Publisher,
    events: &Sender<Event>,
    stop: &AtomicBool,
) -> Result<(), String> {
    let local = socket.local_addr().map_err(|e| e.to_string())?;
    let mut buffer = vec![0; 2_000];
    let mut hung_up = None;
    loop {
        if hung_up.is_none() && stop.load(Ordering::Relaxed) {
            hung_up = Some(Instant::now());
            rtc.close().map_err(|e| e.to_string())?;
        }
        let timeout = loop {
            match rtc.poll_output().map_err(|e| e.to_string())? {
                Output::Timeout(at) => break at,
                Output::Transmit(it) => drop(socket.send_to(&it.contents, it.destination)),
                Output::Event(event) => on_event(&rtc, event, &mut sender, events),
            }
        };
        match hung_up {
            Some(since) if !rtc.is_alive() || since.elapsed() > Duration::from_millis(500) => return Ok(()),
            None if !rtc.is_alive() => return Err("str0m is no longer alive".into()),
            _ => {}
        }
        let now = Instant::now();
        if hung_up.is_none() && sender.write(&mut rtc, now)? {
            continue;
        }
        let wake = sender.due().map_or(timeout, |due| due.min(timeout)).min(now + Duration::from_millis(100));
        let nap = wake.saturating_duration_since(now).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(nap)).map_err(|e| e.to_string())?;
        let input = match socket.recv_from(&mut buffer) {
            Ok((len, source)) => match buffer[..len].try_into() {
                Ok(contents) => Input::Receive(
                    Instant::now(),
                    Receive { proto: Protocol::Udp, source, destination: local, contents },
                ),
                Err(e) => return Err(format!("str0m cannot tell what a datagram is: {e}")),
            },
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Input::Timeout(Instant::now())
            }
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => continue,
            Err(e) => return Err(e.to_string()),
        };
        rtc.handle_input(input).map_err(|e| e.to_string())?;
    }
}

fn on_event(rtc: &Rtc, event: str0m::Event, sender: &mut Publisher, events: &Sender<Event>) {
    let told = match event {
        str0m::Event::Connected => {
            sender.started = Some(Instant::now());
            Event::Connected
        }
        str0m::Event::MediaAdded(media) => {
            // Of somebody else's offer: the first line of each kind on which we may send.
            let line = &mut sender.lines[usize::from(media.kind == MediaKind::Video)];
            if media.direction.is_sending() {
                line.get_or_insert(media.mid);
            }
            return;
        }
        str0m::Event::MediaData(data) => {
            let kind = rtc.media(data.mid).map(|media| media.kind());
            let line = data.mid.to_string();
            match kind {
                Some(MediaKind::Audio) => Event::Audio(line, data.data.to_vec()),
                _ => Event::Video(line, data.data.to_vec()),
            }
        }
        str0m::Event::KeyframeRequest(_) => {
            sender.picture = sender.material.next_key(sender.picture);
            Event::KeyFrameAsked
        }
        // What our feedback and reports are good for: its estimate of the path, and its round trips.
        str0m::Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
            Event::Estimate(estimate.as_u64())
        }
        str0m::Event::MediaIngressStats(stats) => Event::Counted(format!("{} {stats:?}", stats.mid)),
        str0m::Event::MediaEgressStats(stats) => match (stats.rtt, stats.loss) {
            (Some(rtt), Some(loss)) => Event::Reported { round_trip: rtt, loss: loss.into() },
            _ => return,
        },
        _ => return,
    };
    let _ = events.send(told);
}
