//! The camera's side: pictures in, H.264 frames out.

use super::ladder::Ladder;
use crate::{VideoCoding, VideoConfig};
use std::time::Duration;
use undertone_codec::CodecError;
use undertone_codec::h264::{Coded, Encoder, EncoderConfig};
use undertone_codec::scale::Scaler;
use undertone_media::{Bitrate, DataSize, EncodedFrame, Kind, MediaTime, Timestamp, VideoFrame};
use undertone_transport::payload::dd;
use undertone_transport::rtcp::Rtcp;
use undertone_transport::stream::SendStream;

/// RTP counts video at 90 kHz (RFC 6184 §5.1).
const CLOCK_RATE: u64 = 90_000;

/// Below this a picture is not worth its bits: the camera pauses and leaves the path to speech.
const LEAST_RATE: Bitrate = Bitrate::from_kbps(60);

/// The encoder is told of a new rate only if it differs by more than this share.
const RATE_STEP_PERMILLE: u64 = 50;

/// A receiver's limit holds for so long after it was told last.
const LIMIT_HOLDS: Duration = Duration::from_secs(4);

/// Share of a receiver's limit that is coded; the rest is headers and overshoot.
const LIMIT_PERMILLE: u64 = 900;

/// Between two key frames at least: each costs as much as many pictures, and who asks twice, or at the same
/// time as another, is helped by one.
const KEY_PAUSE: Duration = Duration::from_millis(400);

/// The first picture of an encoder is to take no longer to send, and is blurred for that by this much at most.
const FIRST_TAKES: Duration = Duration::from_millis(150);
const BLUR_MOST: usize = 4;

/// What takes longer to send is not worth repairing if a key frame is smaller: when a path becomes thin, more is lost at
/// once than it carries in a second.
const BACKLOG_MOST: Duration = Duration::from_millis(500);
/// A key frame has so long to come before another takes its place for that.
const KEY_SHOWS: Duration = Duration::from_secs(1);

/// Where more of a thousand get lost, pictures come in so many layers: half of them then need no repair to go on, which is
/// worth more than the bits that it costs. Once they do, they keep to it until they change their size.
const LAYERS_ABOVE: u32 = 280;
const LAYERS: u8 = 3;

/// A coded picture on its way.
#[derive(Debug)]
pub struct Filmed {
    /// The picture.
    pub frame: EncodedFrame,
    /// Counts those of the stream; wraps.
    pub number: u16,
    /// Its temporal layer.
    pub temporal: u8,
}

/// Codes the camera's pictures at the rate that is left for them.
pub struct VideoSender {
    /// The stream's numbers, memory and reports.
    pub stream: SendStream,
    /// Writes what a picture depends on, for an SFU that cannot read it.
    pub descriptor: dd::Writer,
    config: VideoConfig,
    encoder: Encoder,
    /// How the encoder was made.
    coded: EncoderConfig,
    ladder: Ladder,
    scaler: Scaler,
    /// The size of the camera's pictures, and how many it has taken.
    filmed: (usize, usize),
    taken: u32,
    quantiser: u32,
    /// Of a thousand packets.
    lost: u32,
    rate: Bitrate,
    paused: bool,
    key_wanted: bool,
    frames: u64,
    keys: u64,
    frame_number: u16,
    last: Option<(MediaTime, Timestamp)>,
    /// When the last key frame was taken, and its size.
    last_key: Option<Timestamp>,
    key_size: DataSize,
    limit: Option<(Timestamp, Bitrate)>,
}

impl VideoSender {
    /// A sender for one stream.
    ///
    /// # Errors
    /// `CodecError` if the encoder cannot be made for this size.
    pub fn new(stream: SendStream, config: VideoConfig, rate: Bitrate) -> Result<VideoSender, CodecError> {
        let rate = rate.min(config.max_bitrate).max(LEAST_RATE);
        let filmed = (config.width, config.height);
        let ladder = Ladder::new(config.prefer, rate, filmed.0 * filmed.1, config.fps);
        let coded = coded(&ladder, filmed, config.fps, rate);
        let encoder = Encoder::new(coded.clone())?;
        Ok(VideoSender {
            stream,
            descriptor: dd::Writer::new(1),
            config,
            encoder,
            coded,
            ladder,
            scaler: Scaler::new(),
            filmed,
            taken: 0,
            quantiser: 0,
            lost: 0,
            rate,
            paused: false,
            key_wanted: true,
            frames: 0,
            keys: 0,
            frame_number: 0,
            last: None,
            last_key: None,
            key_size: DataSize::ZERO,
            limit: None,
        })
    }

    /// Codes a picture; `None` if it was left out to keep the rate, or the path carries none.
    ///
    /// # Errors
    /// `CodecError` if the picture has a size that cannot be coded: the caller's fault.
    pub fn push(&mut self, frame: &VideoFrame) -> Result<Option<Filmed>, CodecError> {
        let (width, height) = (frame.width, frame.height);
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) || frame.data.len() != width * height * 3 / 2
        {
            return Err(CodecError::ApiMisuse("a picture is I420 with even sides"));
        }
        if self.paused {
            return Ok(None);
        }
        let left_out = !self.taken.is_multiple_of(self.ladder.rung().every);
        self.taken = self.taken.wrapping_add(1);
        if left_out {
            return Ok(None);
        }
        self.filmed = (width, height);
        let key_due = self.last_key.is_none_or(|last| frame.captured.since(last) >= KEY_PAUSE);
        let Some(coded) = self.encode(frame, self.key_wanted && key_due)? else { return Ok(None) };
        self.quantiser = self.encoder.quantiser();
        let size = DataSize::from_bytes(coded.data.len() as u64);
        if coded.key {
            self.key_wanted = false;
            self.last_key = Some(frame.captured);
            self.key_size = size;
        } else {
            self.ladder.on_picture(self.quantiser, size, self.coded.width * self.coded.height);
        }
        self.frames += 1;
        self.keys += u64::from(coded.key);
        let time = MediaTime(ticks(frame.captured.since(Timestamp::ZERO)));
        self.last = Some((time, frame.captured));
        let number = self.frame_number;
        self.frame_number = number.wrapping_add(1);
        let captured = frame.captured;
        let frame = EncodedFrame { kind: Kind::Video, time, captured, key: coded.key, data: coded.data };
        Ok(Some(Filmed { frame, number, temporal: coded.temporal }))
    }

    /// Codes a picture in the size of the ladder's rung: in a new one with another encoder, which begins with a key frame.
    fn encode(&mut self, frame: &VideoFrame, key: bool) -> Result<Option<Coded>, CodecError> {
        let mut wanted = coded(&self.ladder, self.filmed, self.config.fps, self.rate);
        wanted.temporal_layers = if self.lost > LAYERS_ABOVE { LAYERS } else { 1 };
        let fits = |coded: &EncoderConfig| (coded.width, coded.height, coded.fps);
        let enough = wanted.temporal_layers <= self.coded.temporal_layers;
        if self.frames > 0 && fits(&wanted) == fits(&self.coded) && enough {
            let picture = self.scaler.fit(frame, wanted.width, wanted.height);
            return self.encoder.encode(&picture, key);
        }
        self.descriptor = dd::Writer::new(wanted.temporal_layers);
        self.coded = wanted;
        let (width, height) = (self.coded.width, self.coded.height);
        let mut blur = 1;
        loop {
            // An encoder knows its first picture least. What turns out to take long to send is blurred, and comes into focus
            // with the pictures after it, which are on time then.
            self.encoder = Encoder::new(self.coded.clone())?;
            let picture = self.scaler.fit(frame, width / blur / 2 * 2, height / blur / 2 * 2);
            let picture = self.scaler.fit(&picture, width, height);
            let first = self.encoder.encode(&picture, key)?;
            let size = first.as_ref().map_or(0, |coded| coded.data.len() as u64);
            if blur == BLUR_MOST || DataSize::from_bytes(size) / self.rate <= FIRST_TAKES {
                return Ok(first);
            }
            blur *= 2;
        }
    }

    /// Whether so much of pictures and their repair, which takes so long to send, is worth less than a key frame. Then
    /// that is what comes next, and what was sent before is forgotten.
    pub fn begins_anew(&mut self, now: Timestamp, waiting: DataSize, needs: Duration) -> bool {
        let recent = self.last_key.is_some_and(|last| now.since(last) < KEY_SHOWS);
        let anew = needs > BACKLOG_MOST && waiting > self.key_size && !recent;
        if anew {
            self.stream.forget();
            self.key_wanted = true;
        }
        anew
    }

    /// The next picture shall be a key frame: somebody is new.
    pub fn want_key(&mut self) {
        self.key_wanted = true;
    }

    /// A receiver lost track and asks for a key frame. If the last one left less than a round trip ago, the
    /// request crossed it; should it get lost, the receiver will ask again.
    pub fn on_key_request(&mut self, now: Timestamp, rtt: Option<Duration>) {
        let rtt = rtt.unwrap_or_default();
        if self.last_key.is_none_or(|last| now.since(last) >= rtt) {
            self.key_wanted = true;
        }
    }

    /// A receiver told what it, or those behind it, can take (REMB).
    pub fn limit(&mut self, now: Timestamp, rate: Bitrate) {
        self.limit = Some((now, rate.permille(LIMIT_PERMILLE)));
    }

    /// Sets the rate that is left for pictures, each of which is sent so often on average, in thousandths, on a path that
    /// loses so many packets of a thousand.
    pub fn adapt(&mut self, now: Timestamp, left: Bitrate, sends: u64, lost: u32) {
        self.lost = lost;
        self.limit = self.limit.filter(|(told, _)| now.since(*told) < LIMIT_HOLDS);
        let limited = |rate: Bitrate| self.limit.map_or(rate, |(_, limit)| rate.min(limit));
        // Copies alone are no reason to pause: with nothing but speech on it, a path never shows that it carries more.
        let paused = limited(left) < LEAST_RATE;
        let rate = limited(left.permille(1_000_000 / sends.max(1)));
        if self.paused && !paused {
            self.key_wanted = true;
        }
        self.paused = paused;
        let rate = rate.min(self.config.max_bitrate).max(LEAST_RATE);
        let step = self.rate.permille(RATE_STEP_PERMILLE);
        let near = rate.saturating_sub(self.rate) < step && self.rate.saturating_sub(rate) < step;
        // A refused rate leaves the old one in force, which the next change corrects.
        if !near && self.encoder.set_bitrate(rate).is_ok() {
            self.rate = rate;
        }
        self.ladder.adapt(now, self.rate, self.filmed.0 * self.filmed.1, self.config.fps);
    }

    /// The rate that pictures would take if the path carried it.
    pub fn wanted(&self) -> Bitrate {
        self.limit.map_or(self.config.max_bitrate, |(_, limit)| limit.min(self.config.max_bitrate))
    }

    /// The rate in force; zero while the path carries no pictures.
    pub fn rate(&self) -> Bitrate {
        if self.paused { Bitrate::ZERO } else { self.rate }
    }

    /// Pictures coded, and of them key frames.
    pub fn frames(&self) -> (u64, u64) {
        (self.frames, self.keys)
    }

    /// How they are coded.
    pub fn coding(&self) -> VideoCoding {
        let EncoderConfig { width, height, fps, .. } = self.coded;
        VideoCoding { width, height, fps, quantiser: self.quantiser }
    }

    /// A sender report: what ties the pictures to the sound.
    pub fn report(&self, now: Timestamp, ntp: u64) -> Option<Rtcp> {
        let (time, captured) = self.last?;
        Some(self.stream.sender_report(ntp, time + ticks(now.since(captured))))
    }
}

fn coded(ladder: &Ladder, filmed: (usize, usize), fps: u32, bitrate: Bitrate) -> EncoderConfig {
    let rung = ladder.rung();
    let (width, height) = rung.size(filmed.0, filmed.1);
    EncoderConfig { width, height, fps: (fps / rung.every).max(1), bitrate, ..EncoderConfig::default() }
}

fn ticks(span: Duration) -> u64 {
    span.as_micros() as u64 * CLOCK_RATE / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use undertone_media::Ssrc;
    use undertone_transport::stream::SendConfig;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn camera() -> VideoSender {
        let stream = SendStream::new(SendConfig::new(Ssrc(1), 102, 90_000, 1));
        let max_bitrate = Bitrate::from_kbps(1_000);
        let config = VideoConfig { width: 64, height: 64, max_bitrate, ..VideoConfig::default() };
        VideoSender::new(stream, config, Bitrate::from_kbps(500)).unwrap()
    }

    fn key(camera: &mut VideoSender, ms: u64) -> bool {
        let picture = VideoFrame::black(64, 64, at(ms));
        camera.push(&picture).unwrap().is_some_and(|filmed| filmed.frame.key)
    }

    #[test]
    fn a_request_that_a_key_frame_crossed_asks_for_none() {
        let mut camera = camera();
        let rtt = Some(Duration::from_millis(200));
        assert!(key(&mut camera, 1_000));
        camera.on_key_request(at(1_150), rtt);
        assert!(!key(&mut camera, 1_500), "it cannot have been seen yet");
        camera.on_key_request(at(1_600), rtt);
        assert!(key(&mut camera, 1_633));
    }

    #[test]
    fn key_frames_keep_a_distance() {
        let mut camera = camera();
        let keys: Vec<u64> = (0..60)
            .map(|n| 1_000 + n * 33)
            .filter(|&ms| {
                camera.on_key_request(at(ms), None);
                key(&mut camera, ms)
            })
            .collect();
        assert!(keys.len() >= 4 && keys.windows(2).all(|pair| pair[1] - pair[0] >= 400), "{keys:?}");
    }

    #[test]
    fn what_takes_longer_than_a_key_frame_is_forgotten() {
        let mut camera = camera();
        assert!(key(&mut camera, 1_000));
        let (much, long) = (DataSize::from_bytes(40_000), Duration::from_millis(800));
        assert!(!camera.begins_anew(at(1_900), much, long), "the last key frame may still be on its way");
        assert!(!camera.begins_anew(at(2_100), much, Duration::from_millis(400)), "it is soon sent");
        assert!(!camera.begins_anew(at(2_100), DataSize::from_bytes(10), long), "it is smaller");
        assert!(!key(&mut camera, 2_100));
        assert!(camera.begins_anew(at(2_133), much, long));
        assert!(key(&mut camera, 2_133));
    }

    #[test]
    fn copies_alone_pause_nothing() {
        let mut camera = camera();
        camera.adapt(at(1_000), Bitrate::from_kbps(120), 3_000, 0);
        assert_eq!(camera.rate(), LEAST_RATE);
        camera.adapt(at(1_000), Bitrate::from_kbps(50), 1_000, 0);
        assert_eq!(camera.rate(), Bitrate::ZERO);
    }

    #[test]
    fn a_limit_holds_until_it_is_not_renewed() {
        let mut camera = camera();
        let free = Bitrate::from_kbps(800);
        camera.limit(at(1_000), Bitrate::from_kbps(300));
        camera.adapt(at(2_000), free, 1_000, 0);
        assert_eq!(camera.rate(), Bitrate::from_kbps(270));
        camera.limit(at(4_000), Bitrate::from_kbps(200));
        camera.adapt(at(7_900), free, 1_000, 0);
        assert_eq!(camera.rate(), Bitrate::from_kbps(180));
        camera.adapt(at(8_000), free, 1_000, 0);
        assert_eq!(camera.rate(), free);
    }

    fn coded(camera: &mut VideoSender, from: u64, pictures: u64) -> Vec<Filmed> {
        let pattern = undertone_codec::pattern::Pattern::new(640, 360);
        let taken = (from..from + pictures).map(|n| pattern.frame(n as u32, at(1_000 + n * 33)));
        taken.filter_map(|picture| camera.push(&picture).unwrap()).collect()
    }

    fn large(rate: u64) -> VideoSender {
        let stream = SendStream::new(SendConfig::new(Ssrc(1), 102, 90_000, 1));
        VideoSender::new(stream, VideoConfig::default(), Bitrate::from_kbps(rate)).unwrap()
    }

    #[test]
    fn the_size_follows_the_rate_with_a_key_frame() {
        let mut camera = large(100);
        coded(&mut camera, 0, 30);
        let small = camera.coding();
        assert!(small.height < 360, "{small:?}");
        let mut keys = 0;
        for n in 30..150 {
            camera.adapt(at(1_000 + n * 33), Bitrate::from_kbps(1_500), 1_000, 0);
            keys += coded(&mut camera, n, 1).iter().filter(|filmed| filmed.frame.key).count();
        }
        assert_eq!((camera.coding().height, keys), (360, 1), "in one step");
    }

    #[test]
    fn a_picture_that_is_none_is_refused_and_forgotten() {
        let mut camera = large(500);
        let mut picture = VideoFrame::black(640, 360, at(1_000));
        picture.data.pop();
        assert!(camera.push(&picture).is_err());
        assert!(camera.push(&VideoFrame::black(8, 8, at(1_010))).is_err(), "too small for any encoder");
        assert!(camera.push(&VideoFrame::black(640, 360, at(1_033))).unwrap().is_some());
        assert!(
            camera.push(&VideoFrame::black(320, 180, at(1_066))).unwrap().is_some(),
            "another size is none"
        );
    }

    #[test]
    fn losses_bring_layers_and_their_end_no_key_frame() {
        let mut camera = large(500);
        let layers = |filmed: &[Filmed]| filmed.iter().map(|it| it.temporal).max();
        assert_eq!(layers(&coded(&mut camera, 0, 10)), Some(0));
        camera.adapt(at(1_400), Bitrate::from_kbps(500), 1_000, 400);
        let lossy = coded(&mut camera, 10, 10);
        assert!(lossy[0].frame.key && layers(&lossy) == Some(2));
        camera.adapt(at(1_800), Bitrate::from_kbps(500), 1_000, 0);
        let after = coded(&mut camera, 20, 10);
        assert!(layers(&after) == Some(2) && after.iter().all(|filmed| !filmed.frame.key));
    }

    #[test]
    fn a_first_picture_that_would_take_long_is_blurred() {
        // Grain is the worst there is; blurred, little is left of it.
        let mut state = 1u32;
        let mut picture = VideoFrame::black(640, 360, at(1_000));
        for sample in &mut picture.data {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = 100 + (state >> 27) as u8;
        }
        let mut camera = large(500);
        let first = camera.push(&picture).unwrap().unwrap();
        let coded = camera.coded.clone();
        let picture = Scaler::new().scale(&picture, coded.width, coded.height);
        let sharp = Encoder::new(coded).unwrap().encode(&picture, true).unwrap().unwrap();
        let (first, sharp) = (first.frame.data.len(), sharp.data.len());
        assert!(first * 2 < sharp, "{first} {sharp}");
    }
}
