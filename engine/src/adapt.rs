//! How speech is packed for the path of the moment.
//!
//! Why: on a weak link the headers cost more than the speech. IPv4, UDP, RTP and the SRTP tag are 56 bytes,
//! which at 50 packets a second is 22 kbit/s before anyone has spoken; at 60 ms a packet it is 7.
//! So the packet time is the first thing to give, the coded rate the second.
//!
//! One pure function from what is known of the path to the plan, each plan with its reason. The hysteresis
//! around it lives in [`Planner`], so that a plan never flaps between two packet times.

use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// What is known of the path when a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// What all audio packets together may cost on the wire, headers included.
    pub budget: Bitrate,
    /// Bytes that one packet costs beside its payload: IP, UDP, RTP, extensions, SRTP tag.
    pub overhead: DataSize,
    /// Share of packets that the receiver missed lately, in percent.
    pub loss_percent: u8,
}

/// How to send speech from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Speech in one packet: 20, 40 or 60 ms.
    pub packet: Duration,
    /// Rate of the codec alone.
    pub bitrate: Bitrate,
    /// Each packet also carries the speech of the one before (RFC 2198), if the listener reads that.
    pub copies: bool,
    /// Why this and nothing else.
    pub reason: Reason,
}

/// Why a plan is what it is; shown in the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The path carries full quality at the lowest delay.
    Ample,
    /// As ample, but packets get lost: a copy in the next one is there a round trip before any repair.
    Lossy,
    /// The budget does not carry 20 ms packets at a rate worth having: fewer, longer packets.
    HeadersTooDear,
    /// Even the longest packets leave little for speech: the codec takes what is left.
    Scarce,
}

impl Reason {
    /// A word for a person who reads the statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Ample => "ample",
            Reason::Lossy => "lossy",
            Reason::HeadersTooDear => "headers too dear",
            Reason::Scarce => "scarce",
        }
    }
}

/// Wideband speech gains nothing that PESQ or a listener would notice above this.
pub const FULL_RATE: Bitrate = Bitrate::from_bps(23_000);
/// Opus has no wideband mode worth hearing below this.
const LEAST_RATE: Bitrate = Bitrate::from_bps(6_000);
/// Packet times, shortest first, each with the coded rate below which the next longer one sounds better.
const LADDER: [(Duration, Bitrate); 3] = [
    (Duration::from_millis(20), Bitrate::from_bps(16_000)),
    (Duration::from_millis(40), Bitrate::from_bps(12_000)),
    (Duration::from_millis(60), LEAST_RATE),
];

/// Copies are sent from this share of packets lost on, in percent: below, asking again does as well. It is
/// counted over so few packets that a path which loses 2 % is often above.
const COPIES_ABOVE: u8 = 3;
/// The coded rate that must be left to speech beside its copy.
const COPIED_RATE: Bitrate = Bitrate::from_bps(18_000);
/// Bytes of a copy's own header (RFC 2198 §3), and that of the packet that carries it.
const COPY_HEADER: DataSize = DataSize::from_bytes(5);

impl Plan {
    /// What it takes of the path if each packet costs `overhead` beside its payload.
    pub fn cost(&self, overhead: DataSize) -> Bitrate {
        let once = self.bitrate + overhead.per(self.packet);
        if self.copies { once + self.bitrate + COPY_HEADER.per(self.packet) } else { once }
    }
}

/// Chooses packet time and coded rate for a path.
pub fn plan(path: &Path) -> Plan {
    for (packet, least) in LADDER {
        let headers = path.overhead.per(packet);
        let bitrate = path.budget.saturating_sub(headers).min(FULL_RATE);
        if bitrate >= least {
            let reason = if packet == LADDER[0].0 { Reason::Ample } else { Reason::HeadersTooDear };
            let plan = Plan { packet, bitrate, copies: false, reason };
            let headers = headers + COPY_HEADER.per(packet);
            let copied = (path.budget.saturating_sub(headers) / 2).min(FULL_RATE);
            // Copies cost no delay and next to no quality: where there is no room for them, asking again
            // has to do.
            if reason == Reason::Ample && path.loss_percent >= COPIES_ABOVE && copied >= COPIED_RATE {
                return Plan { bitrate: copied, copies: true, reason: Reason::Lossy, ..plan };
            }
            return plan;
        }
    }
    Plan { packet: LADDER[2].0, bitrate: LEAST_RATE, copies: false, reason: Reason::Scarce }
}

/// Keeps a plan until there is good reason for another.
///
/// A worse path is answered at once: every packet that is too many fills a queue. A better one must have
/// lasted, since estimates overshoot.
#[derive(Clone, Debug)]
pub struct Planner {
    current: Plan,
    better_since: Option<Timestamp>,
    /// Until when copies are sent although nothing calls for them.
    lossy_until: Timestamp,
}

/// How long a path must look better before speech is packed for it.
const BETTER_FOR: Duration = Duration::from_secs(2);
/// How long copies are sent after reports last called for them: where packets are lost, chance makes pauses.
const COPIES_FOR: Duration = Duration::from_secs(5);
/// How long after requests did: what is asked for may only be late. Long enough for a report to tell.
const SUSPECTED_FOR: Duration = Duration::from_secs(1);

impl Planner {
    /// Begins with the plan for `path`.
    pub fn new(path: &Path) -> Planner {
        Planner { current: plan(path), better_since: None, lossy_until: Timestamp::ZERO }
    }

    /// The plan in force.
    pub fn current(&self) -> Plan {
        self.current
    }

    /// Reconsiders; returns the plan now in force. `requested_percent` is the share of packets that the
    /// listener asked for again lately: more than were lost, but known sooner.
    pub fn update(&mut self, now: Timestamp, path: &Path, requested_percent: u8) -> Plan {
        if path.loss_percent >= COPIES_ABOVE {
            self.lossy_until = now + COPIES_FOR;
        } else if requested_percent >= COPIES_ABOVE {
            self.lossy_until = self.lossy_until.max(now + SUSPECTED_FOR);
        }
        let least = if now < self.lossy_until { COPIES_ABOVE } else { 0 };
        let wanted = plan(&Path { loss_percent: path.loss_percent.max(least), ..*path });
        if wanted.packet >= self.current.packet {
            // A longer packet, or the same with another rate: both are safe to take at once.
            self.current = wanted;
            self.better_since = None;
        } else {
            let since = *self.better_since.get_or_insert(now);
            if now.since(since) >= BETTER_FOR {
                self.current = wanted;
                self.better_since = None;
            } else {
                let headers = path.overhead.per(self.current.packet);
                let rate = path.budget.saturating_sub(headers).min(FULL_RATE).max(LEAST_RATE);
                self.current.bitrate = rate;
            }
        }
        self.current
    }
}

/// How many packets the listener had to ask for lately.
///
/// Why beside the reports: a request is here within a round trip of the loss, and what begins badly is to be
/// answered before it is heard.
#[derive(Clone, Debug, Default)]
pub struct RequestMeter {
    /// Packets looked back on, up to [`REQUEST_MEMORY`].
    sent: u32,
    /// Share of them asked for, in millionths.
    share: u32,
}

/// Packets over which requests fade. Two in quick succession are a lossy path, one is not; but one in the
/// first half second of a call is, since nothing speaks against it yet.
const REQUEST_MEMORY: u32 = 64;

impl RequestMeter {
    /// A packet leaves.
    pub fn on_sent(&mut self) {
        self.sent = (self.sent + 1).min(REQUEST_MEMORY);
        self.share -= self.share / self.sent;
    }

    /// One of those that left is asked for again.
    pub fn on_requested(&mut self) {
        self.share = (self.share + 1_000_000 / self.sent.max(1)).min(1_000_000);
    }

    /// Share asked for lately, in percent.
    pub fn percent(&self) -> u8 {
        (self.share / 10_000) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kbps: u64) -> Path {
        Path { budget: Bitrate::from_kbps(kbps), overhead: DataSize::from_bytes(56), loss_percent: 0 }
    }

    #[test]
    fn a_plan_never_costs_more_than_its_budget() {
        for kbps in 14..200 {
            let plan = plan(&path(kbps));
            let cost = plan.bitrate + DataSize::from_bytes(56).per(plan.packet);
            assert!(cost <= Bitrate::from_kbps(kbps), "{kbps} kbit/s: {plan:?}");
        }
    }

    #[test]
    fn headers_give_way_before_speech_does() {
        assert_eq!(plan(&path(60)).packet, Duration::from_millis(20));
        assert_eq!(plan(&path(30)).packet, Duration::from_millis(40));
        assert_eq!(plan(&path(18)).packet, Duration::from_millis(60));
        assert_eq!(plan(&path(10)).reason, Reason::Scarce);
    }

    #[test]
    fn copies_need_losses_and_room_and_outlast_the_losses() {
        let lossy = |kbps| Path { loss_percent: COPIES_ABOVE, ..path(kbps) };
        assert!(plan(&lossy(75)).copies && !plan(&path(75)).copies);
        assert_eq!(plan(&lossy(75)).bitrate, FULL_RATE);
        assert!(plan(&lossy(65)).copies, "a little less quality for a copy is a fair price");
        assert!(!plan(&lossy(55)).copies);
        for kbps in 14..200 {
            assert!(plan(&lossy(kbps)).cost(DataSize::from_bytes(56)) <= Bitrate::from_kbps(kbps));
        }
        let mut planner = Planner::new(&path(100));
        assert!(planner.update(Timestamp::from_millis(20), &lossy(100), 0).copies);
        assert!(planner.update(Timestamp::from_millis(5_000), &path(100), 0).copies);
        assert!(!planner.update(Timestamp::from_millis(5_020), &path(100), 0).copies);
        assert!(planner.update(Timestamp::from_millis(6_000), &path(100), COPIES_ABOVE).copies);
        assert!(
            !planner.update(Timestamp::from_millis(7_000), &path(100), 0).copies,
            "no report confirms it"
        );
    }

    #[test]
    fn one_request_counts_in_the_first_moments_and_two_in_quick_succession_always_do() {
        let mut meter = RequestMeter::default();
        let send = |packets: u32, meter: &mut RequestMeter| {
            (0..packets).for_each(|_| meter.on_sent());
            meter.on_requested();
            meter.percent()
        };
        assert!(send(20, &mut meter) >= COPIES_ABOVE);
        assert!(send(500, &mut meter) < COPIES_ABOVE);
        assert!(send(3, &mut meter) >= COPIES_ABOVE);
        (0..300).for_each(|_| meter.on_sent());
        assert_eq!(meter.percent(), 0);
    }

    #[test]
    fn worse_is_answered_at_once_and_better_only_when_it_lasts() {
        let mut planner = Planner::new(&path(100));
        assert_eq!(
            planner.update(Timestamp::from_millis(20), &path(20), 0).packet,
            Duration::from_millis(60)
        );
        assert_eq!(
            planner.update(Timestamp::from_millis(40), &path(100), 0).packet,
            Duration::from_millis(60)
        );
        assert_eq!(
            planner.update(Timestamp::from_millis(2_050), &path(100), 0).packet,
            Duration::from_millis(20)
        );
    }
}
