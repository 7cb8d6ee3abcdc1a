//! A browser on a link that loses a fifth, or carries little: its requests are answered until the packet is there, and its
//! pictures go on as slow as the link needs.

mod party;

use party::{Like, Party, Sending, at, ms};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use undertone_media::{Kind, Ssrc, Timestamp, Transmit};
use undertone_transport::rtcp::Rtcp;
use undertone_transport::session::{Class, classify};

/// A browser looks for what it must ask for again so often (libwebrtc, `NackRequester`).
const LOOK: Duration = Duration::from_millis(20);

fn is_media(transmit: &Transmit) -> bool {
    matches!(classify(&transmit.bytes), Class::Rtp | Class::Rtcp)
}

/// Loses two media packets in ten, of either kind and way, of one client.
fn loses_a_fifth(client: SocketAddr) -> party::Filter {
    let mut state = 7u32;
    Box::new(move |_, transmit| {
        if !is_media(transmit) || (transmit.to != client && transmit.from != Some(client)) {
            return true;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 24 >= 51
    })
}

/// Lets so many bytes a second through to an address, and no more.
fn carries(bytes_per_second: u64, to: SocketAddr) -> party::Filter {
    let mut allowance = bytes_per_second / 4;
    let mut last = Timestamp::ZERO;
    Box::new(move |now, transmit| {
        if transmit.to != to {
            return true;
        }
        allowance += now.since(last).as_micros() as u64 * bytes_per_second / 1_000_000;
        allowance = allowance.min(bytes_per_second / 4);
        last = now;
        let size = transmit.bytes.len() as u64 + 28;
        let fits = size <= allowance;
        allowance -= if fits { size } else { 0 };
        fits
    })
}

/// Asks as a browser does: for each gap at once, and once more each round trip.
#[derive(Default)]
struct Browser {
    /// When each missing packet was noticed, and when it was asked for last.
    missing: BTreeMap<u64, (Timestamp, Timestamp)>,
    /// How long packets were missing.
    took: Vec<Duration>,
    read: usize,
    newest: Option<u64>,
}

impl Browser {
    fn look(&mut self, party: &mut Party, client: usize, mid: &str, media: Ssrc, rtt: Duration) {
        let now = party.now;
        let heard = party.clients[client].heard.get(mid).map_or(&[][..], Vec::as_slice);
        for heard in &heard[self.read..] {
            let Some(packet) = &heard.packet else { continue };
            let seq = packet.seq.0;
            if let Some((noticed, _)) = self.missing.remove(&seq) {
                self.took.push(heard.at.since(noticed));
            }
            let first = self.newest.map_or(seq, |newest| newest + 1);
            self.missing.extend((first..seq).map(|seq| (seq, (heard.at, Timestamp::ZERO))));
            self.newest = self.newest.max(Some(seq));
        }
        self.read = heard.len();
        let due = self
            .missing
            .iter_mut()
            .filter(|(_, (_, asked))| *asked == Timestamp::ZERO || now.since(*asked) >= rtt);
        let seqs: Vec<u16> = due
            .map(|(seq, (_, asked))| {
                *asked = now;
                *seq as u16
            })
            .collect();
        if !seqs.is_empty() {
            party.clients[client].send_rtcp(now, Rtcp::Nack { sender: Ssrc(1), media, seqs });
        }
    }
}

#[test]
fn a_browser_that_loses_a_fifth_waits_for_few_pictures() {
    let mut party = Party::new((1, 1));
    party.latency = ms(20);
    party.join("kitchen", "Anna", Sending { video: Some(3), ..Sending::default() });
    party.join("kitchen", "Bert", Sending { like: Like::Browser, ..Sending::default() });
    party.run_until(at(1_000));
    let (mid, media) = party.clients[1].slot_of(1, Kind::Video).unwrap();
    party.filter = loses_a_fifth(party.clients[1].addr);
    let mut browser = Browser::default();
    while party.now < at(41_000) {
        party.run(LOOK);
        browser.look(&mut party, 1, &mid, media, ms(45));
        // Until the losses are known.
        if party.now < at(4_000) {
            browser.took.clear();
        }
    }
    let lost = browser.took.len();
    let late = browser.took.iter().filter(|took| **took > ms(180)).count();
    // Three requests and their answers: with one answer each, 4.7 % would take longer.
    assert!(lost > 400 && late * 1000 <= lost * 20, "{late} of {lost} took longer than 180 ms");
    // What it costs: little more than one answer, of two packets, for each that was lost.
    let resent = party.sfu.stats().resent as usize;
    assert!(resent < lost * 3 / 2, "{resent} answers for {lost} lost");
}

/// What a client was told of its pictures, in kbit/s, since a moment.
fn told(party: &Party, since: u64) -> Vec<u64> {
    let rates = party.clients[0].rtcp.iter().filter(|(when, _)| *when >= at(since));
    rates
        .filter_map(|(_, packet)| match packet {
            Rtcp::Remb { bitrate, .. } => Some(bitrate.as_bps() / 1000),
            _ => None,
        })
        .collect()
}

fn plays(party: &Party, client: usize) -> bool {
    let mid = party.clients[client].slot_of(1, Kind::Video).unwrap().0;
    party.clients[client].slots.iter().any(|slot| slot.mid == mid && slot.active)
}

/// A picture of 550 kbit/s.
fn large() -> Sending {
    Sending { video: Some(3), size: 900, ..Sending::default() }
}

#[test]
fn a_picture_that_nobody_can_get_waits_slow_and_comes_back_soon() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", large());
    party.join("kitchen", "Bert", Sending { like: Like::Browser, ..Sending::default() });
    party.run_until(at(3_000));
    let bert = party.clients[1].addr;
    let (mut thin, mut lossy) = (carries(250_000 / 8, bert), loses_a_fifth(bert));
    party.filter = Box::new(move |now, transmit| lossy(now, transmit) && thin(now, transmit));
    while plays(&party, 1) && party.now < at(15_000) {
        party.run(ms(50));
    }
    let paused = party.now;
    party.run(ms(1_000));
    assert!(!plays(&party, 1), "Anna has not been slower yet");
    let limit = told(&party, 0).last().copied();
    assert_eq!(limit, Some(200), "the slowest that is of use");
    // Anna obeys: 100 kbit/s.
    party.clients[0].sending.size = 100;
    while !plays(&party, 1) && party.now < paused + ms(10_000) {
        party.run(ms(50));
    }
    assert!(party.now < paused + ms(4_500), "paused at {paused:?}, plays at {:?}", party.now);
    party.run(ms(5_000));
    assert!(plays(&party, 1), "and goes on");
}

#[test]
fn a_limit_that_a_link_has_shown_is_not_forgotten_at_once() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", large());
    party.join("kitchen", "Bert", Sending { like: Like::Browser, ..Sending::default() });
    party.run_until(at(3_000));
    party.filter = carries(500_000 / 8, party.clients[1].addr);
    party.run_until(at(6_000));
    // Anna obeys, and all is well for half a minute.
    party.clients[0].sending.size = 450;
    party.run_until(at(36_000));
    let limits = told(&party, 10_000);
    assert!(limits.len() > 20, "renewed: {limits:?}");
    // 275 kbit/s and half as much again, as far as anybody can tell from outside.
    assert!(limits.iter().all(|kbps| (200..=500).contains(kbps)), "{limits:?}");
}
