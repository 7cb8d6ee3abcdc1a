//! Asks the path whether it carries more, by a few packets sent faster than the estimate.
//!
//! Why: an estimate grows no further than what is sent, and only as fast as a queue would show. Where more is wanted than is
//! sent — at the start, after a stall, or while pictures are paused — a short train of packets finds in a round trip what
//! growth finds in seconds, and costs a queue of its own length at most. What arrived is believed, and only if the packets
//! came no further apart than they were sent: a train that waits has met a queue, its own or that of others.
//!
//! Not here: the padding that makes up the train (the sender's), and when asking is out of place (the module above).

use super::{Fate, Outcome};
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// How long a train is sent.
const TRAIN: Duration = Duration::from_millis(25);
/// Packets in it at least: fewer tell no rate.
const PACKETS_LEAST: u64 = 6;
/// And so many that arrived.
const ARRIVED_LEAST: usize = 5;
/// Padding in packets of so much: RTP counts its padding in a byte (RFC 3550 §5.1), and on a thin path less is enough.
const PACKET_MOST: u64 = 300;
const PACKET_LEAST: u64 = 90;
/// How much faster than the estimate, in thousandths, first and from then on.
const FIRST_PERMILLE: u64 = 3_000;
const FASTER_PERMILLE: u64 = 2_000;
/// More than so much of what is wanted is enough, in thousandths.
const ENOUGH_PERMILLE: u64 = 850;
/// A train that the sender does not get rid of in so long is over.
const SENDING_MOST: Duration = Duration::from_millis(200);
/// Nothing was heard of a train for so long: nothing is.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// From the fastest packet of its first third to that of its last, a train may spread by so much: RFC 8888 counts in 1/1024 s.
const SPREAD_MICROS: i64 = 2_000;
/// A train loses no more than so many times what the path loses anyway, and a packet.
const LOST_TIMES: u64 = 2;
/// How long after a train that found nothing, at first and at most; it doubles.
const BACKOFF: Duration = Duration::from_millis(1_500);
const BACKOFF_MOST: Duration = Duration::from_secs(24);

/// Packets that are to leave at once, one after the other, to see whether the path carries so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// How fast, headers included.
    pub rate: Bitrate,
    /// What is still to be sent of it; media counts as well as padding.
    pub left: DataSize,
    /// How large a packet of padding is to be, headers included.
    pub packet: DataSize,
}

/// What the application would send if the path carried it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// No more than it sends.
    #[default]
    Enough,
    /// Up to so much, and whatever is found is of use: its encoder follows the estimate.
    More(Bitrate),
    /// So much, and nothing less is of use: pictures are paused.
    Whole(Bitrate),
}

impl Wanted {
    fn rate(self) -> Bitrate {
        match self {
            Wanted::Enough => Bitrate::ZERO,
            Wanted::More(rate) | Wanted::Whole(rate) => rate,
        }
    }
}

/// What came of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// So much arrived, and met no queue.
    Carries(Bitrate),
    /// They met a queue: so much is not carried.
    Full,
    /// Too few arrived to tell.
    Nothing,
}

/// A cluster on its way.
#[derive(Clone, Debug)]
struct Train {
    rate: Bitrate,
    size: DataSize,
    /// When it was due, when its first packet left, and its last so far.
    due: Timestamp,
    first: Option<Timestamp>,
    last: Timestamp,
    sent: DataSize,
    packets: u64,
    /// All has left.
    complete: bool,
    /// What arrived: when it was sent, one-way delay in µs from an unknown origin, size.
    arrived: Vec<(Timestamp, i64, DataSize)>,
    lost: u64,
}

impl Train {
    fn new(now: Timestamp, rate: Bitrate) -> Train {
        Train {
            rate,
            size: rate * TRAIN,
            due: now,
            first: None,
            last: now,
            sent: DataSize::ZERO,
            packets: 0,
            complete: false,
            arrived: Vec::new(),
            lost: 0,
        }
    }

    fn packet(&self) -> u64 {
        (self.size.as_bytes() / PACKETS_LEAST).clamp(PACKET_LEAST, PACKET_MOST)
    }

    fn left(&self) -> DataSize {
        let packets = PACKETS_LEAST.saturating_sub(self.packets) * self.packet();
        self.size.saturating_sub(self.sent).max(DataSize::from_bytes(packets))
    }

    /// Takes what is told of its packets. True once all is told.
    fn take(&mut self, outcome: &Outcome) -> bool {
        let Some(first) = self.first.filter(|first| outcome.sent >= *first) else { return false };
        if self.complete && outcome.sent > self.last {
            return true;
        }
        debug_assert!(outcome.sent >= first, "sent with it");
        match outcome.fate {
            Fate::Arrived(arrival) => {
                self.arrived.push((outcome.sent, arrival.micros_from(outcome.sent), outcome.size));
            }
            Fate::Lost => self.lost += 1,
            Fate::Untold => {}
        }
        self.complete && self.arrived.len() as u64 + self.lost >= self.packets
    }

    /// What it found, where the path loses so many of a thousand anyway.
    fn found(&self, loss_permille: u64) -> Found {
        let (Some(first), Some(last)) = (self.arrived.first(), self.arrived.last()) else {
            return Found::Nothing;
        };
        let usual = self.packets * loss_permille * LOST_TIMES / 1000 + 1;
        if self.arrived.len() < ARRIVED_LEAST || self.lost > usual {
            return Found::Nothing;
        }
        let took = last.0.since(first.0).as_micros() as i64;
        // A large packet takes longer by itself.
        let waited = |it: &(Timestamp, i64, DataSize)| it.1 - (it.2 / self.rate).as_micros() as i64;
        let fastest = |third: &[(Timestamp, i64, DataSize)]| third.iter().map(waited).min().unwrap_or(0);
        let third = self.arrived.len() / 3;
        let (begins, ends) = (&self.arrived[..third], &self.arrived[self.arrived.len() - third..]);
        if took <= 0 || fastest(ends) - fastest(begins) > SPREAD_MICROS {
            return Found::Full;
        }
        // From the first to the last: the first one's size came before.
        let came = (took + last.1 - first.1).max(took);
        let size: DataSize = self.arrived.iter().skip(1).map(|it| it.2).sum();
        Found::Carries(size.per(Duration::from_micros(came as u64)))
    }
}

/// Decides when to ask, and what the answer is.
#[derive(Debug, Default)]
pub(super) struct Prober {
    wanted: Wanted,
    /// Of that, no more than the estimate may be.
    most: Bitrate,
    train: Option<Train>,
    /// Not before.
    next: Timestamp,
    backoff: Duration,
    asked: u32,
}

impl Prober {
    pub(super) fn want(&mut self, wanted: Wanted, most: Bitrate) {
        (self.wanted, self.most) = (wanted, most);
    }

    fn wanted(&self) -> Bitrate {
        self.wanted.rate().min(self.most)
    }

    /// Whether the application would send much more than this.
    pub(super) fn wants_more(&self, estimate: Bitrate) -> bool {
        estimate < self.wanted().permille(ENOUGH_PERMILLE)
    }

    /// Whether nothing less is of use: then growth by little steps is none.
    pub(super) fn wants_whole(&self) -> bool {
        matches!(self.wanted, Wanted::Whole(_))
    }

    /// Something has changed: what was found before tells nothing.
    pub(super) fn soon(&mut self) {
        self.next = Timestamp::ZERO;
        self.backoff = Duration::ZERO;
    }

    /// Not for so long.
    pub(super) fn wait(&mut self, now: Timestamp, pause: Duration) {
        self.next = self.next.max(now + pause);
    }

    /// The cluster to send now, if there is one, or if it is `opportune` and time for one.
    pub(super) fn poll(&mut self, now: Timestamp, estimate: Bitrate, opportune: bool) -> Option<Cluster> {
        if self.train.as_ref().is_some_and(|train| now.since(train.due) > HEARD_WITHIN) {
            self.train = None;
            self.found_nothing(now);
        }
        if self.train.is_none() && opportune && now >= self.next {
            let faster = if self.asked == 0 { FIRST_PERMILLE } else { FASTER_PERMILLE };
            self.train = Some(Train::new(now, estimate.permille(faster).min(self.wanted())));
            self.asked += 1;
        }
        let train = self.train.as_mut().filter(|train| !train.complete)?;
        if now.since(train.due) > SENDING_MOST {
            train.complete = true;
            return None;
        }
        let packet = DataSize::from_bytes(train.packet());
        Some(Cluster { rate: train.rate, left: train.left(), packet })
    }

    pub(super) fn on_sent(&mut self, now: Timestamp, size: DataSize) {
        let Some(train) = self.train.as_mut().filter(|train| !train.complete) else { return };
        train.first.get_or_insert(now);
        train.last = now;
        train.sent += size;
        train.packets += 1;
        train.complete = train.left() == DataSize::ZERO;
    }

    /// Feedback came: what it tells of the cluster, once all of that is told.
    pub(super) fn on_feedback(&mut self, outcomes: &[Outcome], loss_permille: u64) -> Option<Found> {
        let train = self.train.as_mut()?;
        if !outcomes.iter().any(|outcome| train.take(outcome)) {
            return None;
        }
        let found = train.found(loss_permille);
        self.train = None;
        Some(found)
    }

    /// It raised the estimate: there may be more.
    pub(super) fn found_more(&mut self) {
        self.backoff = Duration::ZERO;
    }

    /// It did not: it is long until it would.
    pub(super) fn found_nothing(&mut self, now: Timestamp) {
        self.backoff = (self.backoff * 2).clamp(BACKOFF, BACKOFF_MOST);
        self.wait(now, self.backoff);
    }

    /// So often so far.
    pub(super) fn asked(&self) -> u32 {
        self.asked
    }
}
