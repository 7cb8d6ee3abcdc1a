//! How speech is packed and protected for the path of the moment.
//!
//! Why: on a weak link the headers cost more than the speech. IPv4, UDP, RTP and the SRTP tag are 56 bytes, which at 50
//! packets a second is 22 kbit/s before anyone has spoken; at 60 ms a packet it is 7. What is left is divided between
//! speech and protection, and which protection does most for its bytes depends on how much gets lost, how much of it in a
//! row, and how long the listener can wait.
//!
//! [`plan`] is one pure function. It tries every packet time, coded rate, amount of repair, quantiser of deep redundancy
//! and patience, works out what would stay lost (`survival`), what a listener would hear of it (`quality`), takes off
//! what the delay and the bytes are worth, and takes the best. The hysteresis around it lives in [`Planner`].
//!
//! ```text
//! budget, overhead ─┐                     ┌─ packet time, coded rate
//! loss, its runs ───┤ plan: the best of   ├─ sliding-window code | copies, deep redundancy
//! delay, patience ──┤ some 10 000         ├─ patience: how long to wait for repairs
//! peer, effort ─────┘                     └─ reason
//! ```

mod loss;
pub mod music;
mod planner;
mod quality;
mod survival;

pub use loss::LossMeter;
pub(crate) use planner::HELD_FOR;
pub use planner::Planner;

use quality::{LENGTHS, Length, QUANTISERS, RATES};
use std::time::Duration;
use survival::{Channel, ONE};
use undertone_codec::opus::Redundancy;
use undertone_media::{Bitrate, DataSize};

/// How packets get lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Of a thousand.
    pub permille: u16,
    /// How long losses last that come in runs, on average; zero where each packet has its own luck.
    pub run: Duration,
    /// Hardly any packet's fate is known yet: what it took to connect stands in for it.
    pub guessed: bool,
}

/// What the listener's end can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// It reads the sliding-window code.
    pub code: bool,
    /// It reads copies (RFC 2198).
    pub copies: bool,
    /// It plays deep redundancy.
    pub redundancy: bool,
}

/// What is known of the path when a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// What all audio packets together may cost on the wire, headers included.
    pub budget: Bitrate,
    /// Bytes that one packet costs beside its payload: IP, UDP, RTP, extensions, SRTP tag.
    pub overhead: DataSize,
    /// What gets lost.
    pub loss: Loss,
    /// From mouth to ear on this path, apart from the packet's own length and the wait for repairs. `None`: delay is of no
    /// matter.
    pub delay: Option<Duration>,
    /// The longest that the listener will wait for repairs.
    pub slack: Duration,
    /// What the listener's end can do.
    pub peer: Peer,
}

/// How lost packets come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// Not at all, unless they are asked for again.
    #[default]
    None,
    /// Each packet also carries so many before it (RFC 2198).
    Copies(u8),
    /// Each packet carries combinations of those before it (RFC 8681).
    Code {
        /// How many packets back.
        window: u8,
        /// Repair for a thousand bytes of speech.
        permille: u32,
    },
    /// The codec repeats each packet in the next, coarsely: the one kind that every Opus decoder reads (LBRR, RFC 6716
    /// §2.1.7).
    InBand,
}

impl Protection {
    /// How much is sent beside each thousand bytes of speech.
    fn permille(self) -> u64 {
        match self {
            Protection::None => 0,
            Protection::Copies(count) => 1000 * u64::from(count),
            // A symbol is half a packet; the last one of a packet is on average half empty.
            Protection::Code { permille, .. } => u64::from(permille) * 1250 / 1000,
            Protection::InBand => 500,
        }
    }

    /// Bytes of its own headers.
    fn header(self) -> u64 {
        match self {
            Protection::None | Protection::InBand => 0,
            Protection::Copies(count) => 1 + 4 * u64::from(count),
            Protection::Code { .. } => 5,
        }
    }
}

/// How to send speech from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Speech in one packet: 20 to 120 ms.
    pub packet: Duration,
    /// Rate of the codec alone.
    pub bitrate: Bitrate,
    /// How lost packets come back.
    pub protection: Protection,
    /// What packets tell of the past for when they do not.
    pub redundancy: Option<Redundancy>,
    /// Where the rate is thin, speech may be narrowband: more is understood, but what is missing of it cannot be made up as
    /// well (see [`undertone_codec::opus`]).
    pub narrowband: bool,
    /// How long after its turn a lost packet is still worth having.
    pub patience: Duration,
    /// Why this and nothing else.
    pub reason: Reason,
}

/// Why a plan is what it is; shown in the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The path carries full quality at the lowest delay.
    Ample,
    /// Packets get lost: later ones bring them back.
    Lossy,
    /// So many get lost, or so many in a row, that only the gist of them can be brought back.
    Torn,
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
            Reason::Torn => "torn",
            Reason::HeadersTooDear => "headers too dear",
            Reason::Scarce => "scarce",
        }
    }
}

/// Wideband speech gains nothing that PESQ or a listener would notice above this.
pub const FULL_RATE: Bitrate = Bitrate::from_bps(RATES[RATES.len() - 1].0);
/// Opus codes no speech worth hearing below this.
const LEAST_RATE: Bitrate = Bitrate::from_bps(RATES[0].0);
/// From here on longer packets would save what nobody misses, and cost delay.
pub(crate) const HEADERS_CHEAP: Bitrate = Bitrate::from_kbps(60);
/// Amounts of repair, in quarters of the speech.
const REPAIRS: [usize; 17] = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64];
/// So little repair brings nothing back, but says how long the listener is to wait, for deep redundancy.
const REPAIR_LEAST: u32 = 60;
/// More packets back than this the code does not reach.
const WINDOW_MAX: usize = 25;
/// Copies more than this on one packet are worth less than the code.
pub(crate) const COPIES_MAX: usize = 3;
/// Deep redundancy gets coarser with age by so much.
const SLOPE: u8 = 2;
/// Where more than this stays lost, of a million, speech is wide: concealment is poor at narrowband.
const NARROW_LOSS: u64 = ONE / 200;
/// What DRED says before its first 40 ms, in bits, and the bytes that hold it in the packet.
const REDUNDANCY_BITS: u64 = 70;
const REDUNDANCY_BYTES: u64 = 5;
/// So much better, in thousandths of PESQ, must a plan be for which packet time or patience move.
const CLEARLY: i64 = 60;
/// Fewer losses than this, of a thousand, are not guarded against on a thin path before they are seen.
const GUESS_LEAST: u16 = 100;
/// What a kbit/s on the wire is worth, in thousandths of PESQ: it is somebody's money, and somebody else's bandwidth.
const KBPS_WORTH: i64 = 2;

impl Plan {
    /// What the codec is asked for: in-band repair is its own work.
    pub(crate) fn coded(&self) -> Bitrate {
        match self.protection {
            Protection::InBand => self.bitrate.permille(1000 + self.protection.permille()),
            _ => self.bitrate,
        }
    }

    /// What it takes of the path if each packet costs `overhead` beside its payload.
    pub fn cost(&self, overhead: DataSize) -> Bitrate {
        let Spending { headers, speech, repair, deep } = self.spending(overhead);
        headers + speech + repair + deep
    }

    /// The same, part by part.
    pub fn spending(&self, overhead: DataSize) -> Spending {
        Spending {
            headers: DataSize::from_bytes(overhead.as_bytes() + self.protection.header()).per(self.packet),
            speech: self.bitrate,
            repair: self.bitrate.permille(self.protection.permille()),
            deep: self.redundancy.map_or(Bitrate::from_bps(0), |it| redundancy_cost(it).per(self.packet)),
        }
    }
}

/// What a plan spends on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending {
    /// IP, UDP, RTP and those of the protection.
    pub headers: Bitrate,
    /// The codec's own.
    pub speech: Bitrate,
    /// Copies, the code's combinations, or the codec's coarse ones.
    pub repair: Bitrate,
    /// What packets tell of the past.
    pub deep: Bitrate,
}

/// What deep redundancy adds to a packet.
fn redundancy_cost(redundancy: Redundancy) -> DataSize {
    let chunks = redundancy.span.as_millis() as u64 / 40;
    let bits = QUANTISERS.iter().find(|it| it.0 == redundancy.quantiser).map_or(73, |it| it.2);
    // Older chunks are coarser: by a quantiser in five.
    let bits = REDUNDANCY_BITS + bits * chunks - bits * chunks * chunks.min(20) / 80;
    DataSize::from_bytes(REDUNDANCY_BYTES + bits.div_ceil(8))
}

/// Chooses how to pack and protect speech on a path.
pub fn plan(path: &Path) -> Plan {
    plan_near(path, None, Duration::ZERO)
}

/// The best plan for a path, delay apart, and what a listener may hope to hear of it, as PESQ-WB. `None` if none fits its
/// budget.
pub fn expected(path: &Path) -> Option<(Plan, f64)> {
    let path = Path { delay: None, ..*path };
    let (worth, plan) = search(&path, None, Duration::ZERO).best?;
    let paid = plan.cost(path.overhead).as_bps() as i64 * KBPS_WORTH / 1000;
    Some((plan, 1.0 + (worth + paid) as f64 / 1000.0))
}

/// What a plan is made for. Where bytes are few, what is only guessed is worth none of them, unless connecting had its losses:
/// most thin paths lose nothing, and to learn that the guess was wrong would move playout.
fn believed(path: &Path) -> Path {
    let doubtful = path.loss.guessed && path.loss.permille < GUESS_LEAST && path.budget < HEADERS_CHEAP;
    Path { loss: if doubtful { Loss::default() } else { path.loss }, ..*path }
}

/// [`plan`], but keeps to the packet time and the patience of `current` unless another is clearly better: each move of
/// either is heard. The listener waits for as long as `held` whatever the plan is, so that a shorter wait saves no delay.
fn plan_near(path: &Path, current: Option<&Plan>, held: Duration) -> Plan {
    search(&believed(path), current, held).chosen().unwrap_or(Plan {
        packet: LENGTHS[LENGTHS.len() - 1].packet,
        bitrate: LEAST_RATE,
        protection: Protection::None,
        redundancy: None,
        narrowband: true,
        patience: Duration::ZERO,
        reason: Reason::Scarce,
    })
}

fn search<'a>(path: &'a Path, current: Option<&'a Plan>, held: Duration) -> Search<'a> {
    let mut search = Search { path, current, held, best: None, near: None };
    let longest = match path.budget {
        budget if budget >= HEADERS_CHEAP => LENGTHS[0].packet,
        // Long packets bear losses best, but what they cost in delay would stay if the guess proves wrong.
        _ if path.loss.guessed => plan(&Path { loss: Loss::default(), ..*path }).packet,
        _ => LENGTHS[LENGTHS.len() - 1].packet,
    };
    for length in LENGTHS.into_iter().take_while(|length| length.packet <= longest) {
        let packet = length.packet;
        let channel = Channel::new(path.loss, packet);
        let window = if channel.lost() == 0 { 0 } else { path.slack.as_micros() / packet.as_micros() };
        let window = (window as usize).min(WINDOW_MAX);
        // Without a word from the code the listener does not know how long to wait.
        let told = path.delay.is_none() || !path.peer.code;
        let waits = if told { window } else { 0 };
        search.weigh(length, &channel, |_| Protection::None, &vec![channel.lost(); waits + 1]);
        if window > 0 && path.peer.code {
            for quarters in REPAIRS {
                let permille = (quarters as u32 * 250).max(REPAIR_LEAST);
                let code = |window| Protection::Code { window, permille };
                search.weigh(length, &channel, code, &channel.unrepaired(quarters, window));
            }
        } else if window > 0 && path.peer.copies {
            for count in 1..=COPIES_MAX.min(window) {
                let left: Vec<u64> = (0..=window).map(|after| channel.dark(after.min(count))).collect();
                search.weigh(length, &channel, |_| Protection::Copies(count as u8), &left);
            }
        } else if window > 0 {
            search.weigh(length, &channel, |_| Protection::InBand, &[channel.lost(), channel.dark(1)]);
        }
    }
    search
}

/// The best plan found so far, and the best of those with the packet time and the patience of the current one.
struct Search<'a> {
    path: &'a Path,
    current: Option<&'a Plan>,
    held: Duration,
    best: Option<(i64, Plan)>,
    near: Option<(i64, Plan)>,
}

impl Search<'_> {
    /// Tries one packet time and one amount of protection with every patience, redundancy and rate. `left` is what stays
    /// lost after waiting for 0, 1, 2, … packets.
    fn weigh(
        &mut self,
        length: Length,
        channel: &Channel,
        protection: impl Fn(u8) -> Protection,
        left: &[u64],
    ) {
        let packet = length.packet;
        for (after, &left) in left.iter().enumerate() {
            // Repair of nothing is no protection.
            if matches!(protection(after as u8), Protection::Code { window: 0, .. }) {
                continue;
            }
            let wait = packet + self.held.max(packet * after as u32);
            // Until the packet comes that tells of those before it, there is nothing to tell.
            let dark = if after == 0 { left } else { channel.dark(after).min(left) };
            let none = [None].into_iter();
            let quantisers = QUANTISERS.map(Some).into_iter();
            let deep_enough = if after > 0 && self.path.peer.redundancy { QUANTISERS.len() } else { 0 };
            for quantiser in none.chain(quantisers.take(deep_enough)) {
                let (concealed, deep, flaw) = match quantiser {
                    None => (left, 0, 0),
                    Some((_, flaw, _)) => (dark, left - dark, flaw),
                };
                let plan = Plan {
                    packet,
                    bitrate: LEAST_RATE,
                    protection: protection(after as u8),
                    redundancy: quantiser.map(|(quantiser, ..)| Redundancy {
                        span: span(packet * after as u32, packet),
                        quantiser,
                        slope: SLOPE,
                    }),
                    narrowband: quantiser.is_none() && left < NARROW_LOSS,
                    patience: packet * after as u32,
                    reason: Reason::Ample,
                };
                for rate in RATES {
                    let plan = Plan { bitrate: Bitrate::from_bps(rate.0), ..plan };
                    let cost = plan.cost(self.path.overhead);
                    if cost > self.path.budget {
                        break;
                    }
                    let crossing = self.crossing(packet, cost);
                    let timely =
                        self.path.delay.map_or(1_000_000, |path| quality::timely(path + wait + crossing));
                    let coded = quality::coded(packet, rate, plan.narrowband);
                    let heard = quality::heard(length, coded, concealed, (deep, flaw));
                    let worth = heard * timely / 1_000_000 - cost.as_bps() as i64 * KBPS_WORTH / 1000;
                    let plan = Plan { reason: reason(&plan, left, deep), ..plan };
                    let near = |current: &Plan| (current.packet, current.patience) == (packet, plan.patience);
                    take(&mut self.best, worth, plan);
                    if self.current.is_some_and(near) {
                        take(&mut self.near, worth, plan);
                    }
                }
            }
        }
    }

    /// How long a packet takes to cross a thin path: where that is full, as long as it is itself.
    fn crossing(&self, packet: Duration, cost: Bitrate) -> Duration {
        if self.path.budget >= HEADERS_CHEAP {
            return Duration::ZERO;
        }
        DataSize::from_bytes(cost.as_bps() * packet.as_micros() as u64 / 8_000_000) / self.path.budget
    }

    fn chosen(self) -> Option<Plan> {
        match (self.best, self.near) {
            (Some((best, _)), Some((near, plan))) if near + CLEARLY > best => Some(plan),
            (best, _) => best.map(|(_, plan)| plan),
        }
    }
}

/// Keeps the better one.
fn take(best: &mut Option<(i64, Plan)>, worth: i64, plan: Plan) {
    if best.is_none_or(|(before, _)| worth > before) {
        *best = Some((worth, plan));
    }
}

/// Deep redundancy comes in steps of 40 ms, and begins up to 40 ms before the packet that carries it.
/// What is not reached is a whole packet, so long ones are told a little more than short ones.
fn span(back: Duration, packet: Duration) -> Duration {
    let more = (packet.as_millis() as u64 * 3 / 4).max(20);
    let ms = (back.as_millis() as u64 + more).next_multiple_of(40);
    Duration::from_millis(ms.min(1_040))
}

/// The word for a plan after which `left` of a million packets are lost for good, `deep` of them but for their gist.
fn reason(plan: &Plan, left: u64, deep: u64) -> Reason {
    if deep > ONE / 50 {
        Reason::Torn
    } else if plan.protection != Protection::None || left > 0 {
        Reason::Lossy
    } else if plan.packet == LENGTHS[0].packet {
        Reason::Ample
    } else if plan.bitrate > Bitrate::from_kbps(8) {
        Reason::HeadersTooDear
    } else {
        Reason::Scarce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const OVERHEAD: DataSize = DataSize::from_bytes(56);

    /// A short path to a peer that reads everything.
    pub(super) fn path(kbps: u64, permille: u16) -> Path {
        Path {
            budget: Bitrate::from_kbps(kbps),
            overhead: OVERHEAD,
            loss: Loss { permille, ..Loss::default() },
            delay: Some(Duration::from_millis(37)),
            slack: Duration::from_millis(400),
            peer: Peer { code: true, copies: true, redundancy: true },
        }
    }

    #[test]
    fn a_plan_never_costs_more_than_its_budget() {
        for kbps in (11..120).step_by(3) {
            for permille in [0, 20, 100, 300, 700] {
                let path = path(kbps, permille);
                let plan = plan(&path);
                assert!(plan.cost(OVERHEAD) <= path.budget, "{kbps} kbit/s, {permille}: {plan:?}");
                assert!(plan.patience <= path.slack && plan.packet <= Duration::from_millis(120));
            }
        }
    }

    #[test]
    fn a_clean_path_pays_for_no_protection() {
        let plan = plan(&path(95, 0));
        assert_eq!((plan.bitrate, plan.reason), (FULL_RATE, Reason::Ample));
        assert_eq!((plan.protection, plan.redundancy), (Protection::None, None));
        assert_eq!((plan.packet, plan.patience), (Duration::from_millis(20), Duration::ZERO));
    }

    #[test]
    fn more_is_expected_of_more_rate_and_fewer_losses() {
        let heard = |kbps, permille| expected(&path(kbps, permille)).map(|(_, heard)| heard);
        assert_eq!(heard(5, 0), None);
        for kbps in [16, 24, 48, 95] {
            let by_loss = [0, 100, 300, 500, 800].map(|permille| heard(kbps, permille).unwrap());
            assert!(by_loss.is_sorted_by(|less, more| less >= more), "{kbps} kbit/s: {by_loss:?}");
        }
        for pair in [12, 18, 27, 40, 60].windows(2) {
            assert!(heard(pair[0], 300) < heard(pair[1], 300), "{pair:?} kbit/s");
        }
        assert!((4.3..4.64).contains(&heard(95, 0).unwrap()));
    }

    #[test]
    fn what_is_spent_adds_up_to_the_cost() {
        let plan = plan(&path(40, 300));
        let it = plan.spending(OVERHEAD);
        assert!(it.speech == plan.bitrate && it.repair + it.deep > Bitrate::ZERO, "{it:?}");
        assert_eq!(it.headers + it.speech + it.repair + it.deep, plan.cost(OVERHEAD));
    }

    #[test]
    fn speech_is_narrow_only_where_little_is_missing() {
        assert!(plan(&path(10, 0)).narrowband && !plan(&path(10, 50)).narrowband);
        let torn = plan(&Path { delay: None, ..path(16, 500) });
        assert!(torn.redundancy.is_some() && !torn.narrowband, "{torn:?}");
    }

    #[test]
    fn headers_give_way_before_speech_does() {
        let packet = |kbps| plan(&path(kbps, 0)).packet.as_millis();
        assert_eq!([60, 24, 14].map(packet), [20, 60, 120]);
        assert_eq!(plan(&path(5, 0)).reason, Reason::Scarce);
        assert!(plan(&path(14, 0)).bitrate >= Bitrate::from_kbps(9));
    }

    #[test]
    fn the_more_is_lost_the_longer_it_is_waited_for_and_the_less_is_speech() {
        let plans: Vec<Plan> = [50, 100, 300, 500, 700].map(|permille| plan(&path(95, permille))).into();
        for pair in plans.windows(2) {
            assert!(pair[1].patience >= pair[0].patience && pair[1].bitrate <= pair[0].bitrate, "{pair:?}");
        }
        assert!(plans.iter().all(|plan| matches!(plan.protection, Protection::Code { .. })), "{plans:?}");
        assert!(plans[0].patience <= Duration::from_millis(80), "{:?}", plans[0]);
    }

    #[test]
    fn runs_of_losses_are_waited_out() {
        let outages = Loss { permille: 100, run: Duration::from_millis(100), guessed: false };
        let plan = plan(&Path { loss: outages, ..path(95, 0) });
        assert!(plan.patience >= Duration::from_millis(160), "{plan:?}");
        assert!(plan.redundancy.is_some(), "{plan:?}");
    }

    #[test]
    fn nothing_is_sent_that_the_listener_cannot_read() {
        let peer = |code, copies| Peer { code, copies, redundancy: code };
        let plan = |peer| plan(&Path { peer, ..path(95, 100) });
        assert!(matches!(plan(peer(false, true)).protection, Protection::Copies(1..=3)));
        let bare = plan(peer(false, false));
        assert_eq!((bare.protection, bare.redundancy), (Protection::InBand, None));
        assert!(bare.coded() > bare.bitrate && bare.coded() < bare.cost(OVERHEAD), "{bare:?}");
    }

    #[test]
    fn thin_and_lossy_leaves_the_gist_to_deep_redundancy() {
        let known = Path { delay: None, overhead: DataSize::from_bytes(40), ..path(24, 500) };
        let plan = plan(&known);
        assert_eq!(plan.reason, Reason::Torn);
        assert!(plan.redundancy.is_some() && plan.packet == Duration::from_millis(120), "{plan:?}");
    }

    #[test]
    fn what_is_hardly_better_moves_nothing() {
        let current = plan(&path(95, 100));
        let near = plan_near(&path(95, 125), Some(&current), Duration::ZERO);
        assert_eq!((near.packet, near.patience), (current.packet, current.patience));
        let far = plan_near(&path(95, 500), Some(&current), Duration::ZERO);
        assert!(far.patience > current.patience);
    }
}
