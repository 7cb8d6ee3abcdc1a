//! What a thin path carries, from what it takes to connect.
//!
//! Why: the first words of a call are spoken before any report has told how fast to send, and on 16 kbit/s half a
//! second of too much is a queue that is heard for many. But connecting takes a kilobyte each way, and on a thin path
//! that shows twice:
//!
//! - A flight of the handshake and its answer take longer than a check and its answer, by what they are larger.
//! - Datagrams that were sent together arrive apart, by what the later one takes.
//!
//! The first tells of both directions together, the second of the one towards us alone. Where they agree, both directions
//! carry so much; and where gaps grow with the size of what comes after them, again and again, they need no other witness. Datagrams that come closer than a thin path lets them, and all jitter ends in such, tell of a wide one.
//! If datagrams were lost, and what is left does not agree, nothing is known.
//!
//! Not here: what a path carries later (`bwe`).

use super::UDP_IP_BYTES;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// A check and its answer, of which the round trip was measured.
const CHECK: DataSize = DataSize::from_bytes(124);
const ANSWER: DataSize = DataSize::from_bytes(92);
/// Gaps between arrivals that are looked at: a peer that nobody vouches for yet cannot make us remember more.
const GAPS: usize = 16;
/// Above this a kilobyte takes less than jitter does.
const RATE_MAX: Bitrate = Bitrate::from_kbps(150);
/// What gaps tell of the path may exceed or fall short of what the exchange tells by so much, in thousandths.
const AGREES_PERMILLE: u64 = 250;
/// So many gaps need no other witness, if they differ by less than so much, in thousandths.
const CERTAIN_GAPS: usize = 3;
const CERTAIN_PERMILLE: u64 = 50;

/// What the path to the peer carried while we connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Width {
    /// Nobody can tell: datagrams were lost.
    #[default]
    Unknown,
    /// So much that it did not show.
    Wide,
    /// So little that it showed.
    Thin(Bitrate),
}

impl Width {
    /// What a thin path carries.
    pub fn thin(self) -> Option<Bitrate> {
        match self {
            Width::Thin(rate) => Some(rate),
            Width::Unknown | Width::Wide => None,
        }
    }
}

/// A flight of ours, and what came back.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    first_sent: Timestamp,
    last_sent: Timestamp,
    /// Of one repetition.
    sent: DataSize,
    received: DataSize,
    answered: Option<Timestamp>,
}

/// Between two arrivals.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Of the later one.
    size: DataSize,
    /// What the path would carry, were both sent together.
    rate: Bitrate,
}

/// Looks on while two ends connect.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// The shortest of a check.
    rtt: Option<Duration>,
    /// What was sent in the same instant as the flight, before it.
    beside: Option<(Timestamp, DataSize)>,
    current: Option<Exchange>,
    complete: Option<Exchange>,
    arrival: Option<Timestamp>,
    gaps: Vec<Gap>,
}

impl Gauge {
    /// A datagram left, of the handshake or a check.
    pub(super) fn on_sent(&mut self, now: Timestamp, bytes: usize, handshake: bool) {
        let size = on_wire(bytes);
        if !handshake {
            let before = self.beside.filter(|(at, _)| *at == now).map_or(DataSize::ZERO, |(_, size)| size);
            self.beside = Some((now, before + size));
            return;
        }
        match &mut self.current {
            Some(flight) if flight.answered.is_none() => {
                if flight.last_sent == now {
                    flight.sent += size;
                } else {
                    (flight.last_sent, flight.sent) = (now, size);
                }
            }
            _ => {
                self.complete = self.current.take().or(self.complete);
                let beside =
                    self.beside.filter(|(at, _)| *at == now).map_or(DataSize::ZERO, |(_, size)| size);
                self.current = Some(Exchange {
                    first_sent: now,
                    last_sent: now,
                    sent: beside + size,
                    received: DataSize::ZERO,
                    answered: None,
                });
            }
        }
    }

    /// A datagram came, of the handshake or a check.
    pub(super) fn on_received(&mut self, now: Timestamp, bytes: usize, handshake: bool) {
        let size = on_wire(bytes);
        if let Some(before) = self.arrival.replace(now)
            && self.gaps.len() < GAPS
        {
            let rate = size.per(now.since(before).max(Duration::from_micros(1)));
            self.gaps.push(Gap { size, rate });
        }
        if let Some(flight) = self.current.as_mut().filter(|_| handshake) {
            flight.received += size;
            flight.answered = Some(now);
        }
    }

    /// A check was answered.
    pub(super) fn on_round_trip(&mut self, rtt: Duration) {
        self.rtt = Some(self.rtt.map_or(rtt, |before| before.min(rtt)));
    }

    /// Of the handshake, what was sent and may still be on its way.
    pub(super) fn unanswered(&self) -> DataSize {
        self.current.filter(|flight| flight.answered.is_none()).map_or(DataSize::ZERO, |flight| flight.sent)
    }

    /// What the path towards us carries: no gap is shorter than what comes after it takes.
    fn towards_us(&self) -> Option<Bitrate> {
        self.gaps.iter().map(|gap| gap.rate).max()
    }

    /// The gaps that tell the same as `rate`, within so many thousandths.
    fn alike(&self, rate: Bitrate, permille: u64) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(move |gap| gap.rate >= rate.permille(1000 - permille))
    }

    /// Whether gaps alone tell that the path towards us carries so much: several, between datagrams large and small.
    fn is_certain(&self, rate: Bitrate) -> bool {
        let sizes = || self.alike(rate, CERTAIN_PERMILLE).map(|gap| gap.size);
        let (least, most) = (sizes().min(), sizes().max());
        sizes().count() >= CERTAIN_GAPS && least.zip(most).is_some_and(|(least, most)| most >= least + least)
    }

    /// What the path carries, as far as it shows.
    pub(super) fn width(&self) -> Width {
        let Some(gap) = self.towards_us() else { return Width::Unknown };
        if gap >= RATE_MAX {
            return Width::Wide;
        }
        if self.is_certain(gap) {
            return Width::Thin(gap);
        }
        let exchange = self.current.filter(|flight| flight.answered.is_some()).or(self.complete);
        let Some((exchange, rtt)) = exchange.zip(self.rtt) else { return Width::Unknown };
        let Some(answered) = exchange.answered else { return Width::Unknown };
        let both = exchange.sent + exchange.received;
        // Had the path no length, it would carry so much; and no more is of its length than of a check's round trip.
        let least = both.per(answered.since(exchange.first_sent));
        let longer = answered.since(exchange.last_sent).saturating_sub(rtt);
        let most = both.saturating_sub(CHECK + ANSWER).per(longer.max(Duration::from_micros(1)));
        // A check crossed the path too, in no less than its round trip.
        let least = least.max((CHECK + ANSWER).per(rtt));
        let agrees =
            gap >= least.permille(1000 - AGREES_PERMILLE) && gap <= most.permille(1000 + AGREES_PERMILLE);
        // If something was lost, it may have been one of the datagrams that gaps are between.
        let once = exchange.first_sent == exchange.last_sent;
        if agrees && (once || self.alike(gap, AGREES_PERMILLE).count() >= 2) {
            Width::Thin(gap)
        } else {
            Width::Unknown
        }
    }
}

fn on_wire(bytes: usize) -> DataSize {
    DataSize::from_bytes(bytes as u64 + UDP_IP_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    /// When a datagram of `bytes` that is sent at `at` has crossed a path of `kbps` and `delay` that is free from `free` on.
    fn crossed(at: Timestamp, free: &mut Timestamp, bytes: usize, kbps: u64, delay: u64) -> Timestamp {
        *free = at.max(*free) + on_wire(bytes) / Bitrate::from_kbps(kbps);
        *free + Duration::from_millis(delay)
    }

    /// A check and its answer, then a flight that is answered with two datagrams, over a path that is alike both ways.
    fn connect(kbps: u64, delay: u64) -> Gauge {
        let mut gauge = Gauge::default();
        let (mut there, mut back) = (Timestamp::ZERO, Timestamp::ZERO);
        gauge.on_sent(ms(0), 96, false);
        let asked = crossed(ms(0), &mut there, 96, kbps, delay);
        let answer = crossed(asked, &mut back, 64, kbps, delay);
        gauge.on_received(answer, 64, false);
        gauge.on_round_trip(answer.since(ms(0)));
        gauge.on_sent(answer, 280, true);
        let flight = crossed(answer, &mut there, 280, kbps, delay);
        for bytes in [600, 150] {
            let came = crossed(flight, &mut back, bytes, kbps, delay);
            gauge.on_received(came, bytes, true);
        }
        gauge
    }

    #[test]
    fn a_thin_path_shows_what_it_carries() {
        for (kbps, delay) in [(12, 20), (16, 150), (24, 150), (64, 20)] {
            let rate = connect(kbps, delay).width().thin().expect("it is thin");
            let off = rate.as_bps().abs_diff(kbps * 1000);
            assert!(off * 10 <= kbps * 1000, "{kbps} kbit/s, {delay} ms: {rate:?}");
        }
    }

    #[test]
    fn a_wide_path_does_not() {
        for delay in [0, 20, 150, 400] {
            assert_eq!(connect(5_000, delay).width(), Width::Wide, "{delay} ms");
        }
    }

    #[test]
    fn lost_datagrams_make_no_path_thin() {
        // The peer repeats what is lost every half second; a check crossed in 40 ms.
        let mut gauge = Gauge::default();
        gauge.on_sent(ms(0), 96, false);
        gauge.on_received(ms(40), 64, false);
        gauge.on_round_trip(Duration::from_millis(40));
        gauge.on_sent(ms(40), 280, true);
        for at in [540, 1_040, 1_540] {
            gauge.on_received(ms(at), 700, true);
        }
        assert_eq!(gauge.width(), Width::Unknown);
    }

    #[test]
    fn gaps_that_grow_with_what_comes_need_no_other_witness() {
        let arrive = |sizes: [usize; 4]| {
            let (mut gauge, mut free) = (Gauge::default(), Timestamp::ZERO);
            for bytes in sizes {
                let came = crossed(ms(0), &mut free, bytes, 24, 20);
                gauge.on_received(came, bytes, true);
            }
            gauge.width().thin().map(|rate| rate.as_bps() / 100)
        };
        assert_eq!(arrive([280, 64, 600, 150]).map(|rate| rate.abs_diff(240) <= 1), Some(true));
        assert_eq!(arrive([96; 4]), None, "checks that were sent at such a pace look alike");
    }

    #[test]
    fn nothing_received_tells_nothing() {
        assert_eq!(Gauge::default().width(), Width::Unknown);
        let mut gauge = Gauge::default();
        gauge.on_sent(ms(0), 280, true);
        assert_eq!((gauge.width(), gauge.unanswered()), (Width::Unknown, on_wire(280)));
    }
}
