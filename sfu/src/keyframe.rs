//! Asks a publisher for key frames, and not too often.
//!
//! Why: every subscriber of a source may lose its place at once, and each key frame costs the publisher's
//! uplink as much as half a second of video. Requests are gathered: the first goes at once, the rest within
//! [`INTERVAL`] share the next one, unless a key frame came meanwhile.
//!
//! Wire: PLI, RFC 4585 §6.3.1. A FIR from a subscriber (RFC 5104 §4.3.1) counts as a request too.

use std::time::Duration;
use undertone_media::Timestamp;

/// The shortest time between two requests to one publisher.
pub(crate) const INTERVAL: Duration = Duration::from_millis(400);

/// The requests for one source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    wanted: bool,
    sent: Option<Timestamp>,
    came: Option<Timestamp>,
}

impl Requests {
    /// Somebody needs a key frame.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// One came: nobody waits any more.
    pub(crate) fn satisfied(&mut self, now: Timestamp) {
        self.wanted = false;
        self.came = Some(now);
    }

    /// The last key frame went by so lately that who asks a round trip away cannot have seen it yet. If it
    /// should get lost, it will be asked for again.
    pub(crate) fn crossed(&self, now: Timestamp, rtt: Duration) -> bool {
        self.came.is_some_and(|came| now.since(came) < rtt)
    }

    /// True if a PLI must go out now.
    pub(crate) fn poll(&mut self, now: Timestamp) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.wanted = false;
            self.sent = Some(now);
        }
        due
    }

    /// When [`Requests::poll`] will say yes.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.wanted.then(|| self.sent.map_or(Timestamp::ZERO, |sent| sent + INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_goes_at_once_and_the_rest_share_one() {
        let mut requests = Requests::default();
        let mut sent = vec![];
        for ms in 0..1000 {
            let now = Timestamp::from_millis(ms);
            requests.want();
            if requests.poll(now) {
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 400, 800]);
    }

    #[test]
    fn a_key_frame_answers_all() {
        let mut requests = Requests::default();
        requests.want();
        assert!(requests.poll(Timestamp::ZERO));
        requests.want();
        requests.satisfied(Timestamp::from_millis(800));
        assert!(requests.crossed(Timestamp::from_millis(850), Duration::from_millis(80)));
        assert!(!requests.crossed(Timestamp::from_millis(900), Duration::from_millis(80)));
        assert_eq!(requests.deadline(), None);
        assert!(!requests.poll(Timestamp::from_millis(900)));
    }
}
