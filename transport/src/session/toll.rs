//! What the path took of what was sent to connect.
//!
//! Why: the first words of a call are heard like any other, and a path that loses every third datagram loses them before any
//! report has told. But to connect, checks and flights of the handshake were sent that ask for an answer, and sent again
//! where none came: how many of them it took tells how much gets lost.
//!
//! Not here: how fast the path is (`gauge`), what is lost later (`feedback`).

use super::Width;
use std::time::Duration;
use undertone_media::{DataSize, Timestamp};

/// What was asked while connecting, and what was answered: each is a datagram there and one back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    /// Checks and flights of the handshake which were answered.
    pub answered: u32,
    /// Those whose answer should have come by now and did not.
    pub unanswered: u32,
}

/// A flight of the handshake and its answer are larger than a check and its answer by about so much.
const FLIGHT: DataSize = DataSize::from_bytes(900);
/// An answer may take so much longer than the fastest did.
const LATE: Duration = Duration::from_millis(40);

/// How old a question is that has no answer by now, on a path that carries as little as `width` says.
pub(super) fn patience(rtt: Duration, width: Width) -> Duration {
    rtt + rtt / 2 + LATE + width.thin().map_or(Duration::ZERO, |rate| FLIGHT / rate)
}

/// Looks on while two ends shake hands.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    flights: Vec<Flight>,
}

/// A flight of ours.
#[derive(Debug, Default)]
struct Flight {
    /// Of its first datagram: a flight that is sent again is as large, what follows on its answer is not.
    bytes: usize,
    /// When it was sent, and when again.
    sent: Vec<Timestamp>,
    answered: Option<Timestamp>,
}

impl Handshake {
    /// A datagram of the handshake left; those of one instant are one flight.
    pub(super) fn on_sent(&mut self, now: Timestamp, bytes: usize) {
        match self.flights.last_mut() {
            Some(flight) if flight.sent.last() == Some(&now) => {}
            // Sent again, perhaps since what came was the peer's question again: so ours was not answered.
            Some(flight) if flight.bytes == bytes => {
                flight.answered = None;
                flight.sent.push(now);
            }
            _ => self.flights.push(Flight { bytes, sent: vec![now], answered: None }),
        }
    }

    /// One came.
    pub(super) fn on_received(&mut self, now: Timestamp) {
        if let Some(flight) = self.flights.last_mut() {
            flight.answered.get_or_insert(now);
        }
    }

    /// For each answer, how long ago its flight had been sent, the newest last.
    fn ages(&self) -> impl Iterator<Item = Vec<Duration>> {
        let answered = self.flights.iter().filter_map(|flight| flight.answered.zip(Some(&flight.sent)));
        answered.map(|(now, sent)| sent.iter().map(|sent| now.since(*sent)).collect())
    }

    /// The shortest time in which a flight was answered.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.ages().filter_map(|ages| ages.last().copied()).min()
    }

    /// Of a flight that was sent again and again one was answered; those were lost that had waited for as long as `rtt`, too.
    pub(super) fn toll(&self, rtt: Duration) -> Toll {
        self.ages().fold(Toll::default(), |toll, ages| {
            let in_time = ages.iter().filter(|age| **age >= rtt).count() as u32;
            Toll { answered: toll.answered + 1, unanswered: toll.unanswered + in_time.saturating_sub(1) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn repeats_that_had_their_time_were_lost() {
        let mut handshake = Handshake::default();
        for ms in [0, 150, 300, 450] {
            handshake.on_sent(at(ms), 280);
            handshake.on_sent(at(ms), 90);
        }
        handshake.on_received(at(490));
        handshake.on_received(at(490));
        assert_eq!(handshake.round_trip(), Some(Duration::from_millis(40)));
        let toll = |rtt| handshake.toll(Duration::from_millis(rtt));
        assert_eq!(toll(40), Toll { answered: 1, unanswered: 3 });
        assert_eq!(toll(200), Toll { answered: 1, unanswered: 1 }, "the others were still on their way");
        assert_eq!(toll(500), Toll { answered: 1, unanswered: 0 });
    }

    #[test]
    fn the_same_question_again_is_no_answer() {
        let mut handshake = Handshake::default();
        for ms in [0, 300, 600] {
            handshake.on_received(at(ms));
            handshake.on_sent(at(ms), 700);
        }
        handshake.on_received(at(640));
        assert_eq!(handshake.toll(Duration::from_millis(40)), Toll { answered: 1, unanswered: 2 });
    }

    #[test]
    fn what_is_answered_at_once_lost_nothing() {
        let mut handshake = Handshake::default();
        for ms in [0, 100, 200] {
            handshake.on_sent(at(ms), 280 + ms as usize);
            handshake.on_received(at(ms + 40));
        }
        assert_eq!(handshake.toll(Duration::from_millis(40)), Toll { answered: 3, unanswered: 0 });
    }
}
