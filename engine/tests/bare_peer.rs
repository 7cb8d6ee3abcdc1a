//! What a listener gets that reads no protection but the codec's own: any Opus decoder.

mod speech;

use std::time::Duration;
use undertone_engine::adapt::{Loss, Path, Peer, Protection};
use undertone_engine::receiver::{AudioReceiver, Formats, Listening};
use undertone_engine::sender::{AudioSender, Speaking};
use undertone_engine::{FRAME_SAMPLES, Origin, Plain, Timing};
use undertone_media::{Bitrate, DataSize, Ssrc, Timestamp};
use undertone_transport::rtp::Extensions;
use undertone_transport::stream::{RecvConfig, RecvStream, SendConfig, SendStream};

const STEP: Duration = Duration::from_millis(10);
const BARE: Formats = Formats { red: None, rlc: None };

/// Steps of what was lost that were made up, and that came back from the packet after. Each seventh packet is lost.
fn listen(loss_permille: u16) -> (Protection, u64, u64) {
    let path = Path {
        budget: Bitrate::from_kbps(60),
        overhead: DataSize::from_bytes(56),
        loss: Loss { permille: loss_permille, ..Loss::default() },
        delay: Some(Duration::from_millis(40)),
        slack: Duration::from_millis(400),
        peer: Peer::default(),
    };
    let ssrc = Ssrc(1);
    let stream = SendStream::new(SendConfig::new(ssrc, 111, 48_000, 1));
    let mut sender = AudioSender::new(stream, BARE, Speaking::default(), &path).expect("a sender");
    let (payload_type, clock_rate) = (111, 48_000);
    let stream =
        RecvStream::new(RecvConfig { ssrc, payload_type, clock_rate, rtx_payload_type: None, nack: None });
    let wait = Duration::from_millis(60);
    let playout = undertone_jitter::Config { min_delay: wait, start_delay: wait, ..Default::default() };
    let mut receiver = AudioReceiver::new(stream, BARE, playout, Listening::default()).expect("a receiver");
    let mut sent = 0u32;
    for (step, said) in (1..).zip(speech::reading().chunks_exact(FRAME_SAMPLES)) {
        let now = Timestamp::ZERO + STEP * step;
        if let Some(frame) = sender.push(now, said).expect("coded") {
            let header = sender.stream.next(frame.time, sent == 0, Extensions::default());
            let payload = sender.enrich(&frame.data);
            let (header, payload) = sender.protect(header, payload, false);
            sent += 1;
            if !sent.is_multiple_of(7) {
                receiver.receive(now, &header, &payload, &mut Plain);
            }
        }
        receiver.pull(now, None, Timing::default(), &mut [0; FRAME_SAMPLES]);
    }
    (sender.plan().protection, receiver.frames(Origin::Plc), receiver.frames(Origin::Lbrr))
}

#[test]
fn the_codec_repeats_itself_to_who_reads_nothing_else() {
    let (protection, made_up, brought_back) = listen(143);
    assert_eq!(protection, Protection::InBand);
    assert!(brought_back > 3 * made_up, "{brought_back} steps came back, {made_up} were made up");
    // Where nothing is expected to get lost nothing is repeated.
    let (protection, made_up, brought_back) = listen(0);
    assert_eq!((protection, brought_back), (Protection::None, 0));
    assert!(made_up > 80, "{made_up} steps were made up");
}
