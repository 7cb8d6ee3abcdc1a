//! The listener's side: takes packets apart, and puts lost ones together again.

use super::solver::{Solver, WINDOW_MAX, Window};
use super::{ESI_MASK, Head, PAYLOAD_MAX, Repair, Stats, key, read_length, write_length};
use crate::rtp::Header;
use std::collections::{BTreeMap, VecDeque};

/// Packets, and windows, that are remembered: more than a window's.
const RECENT_MAX: usize = 64;
/// Packets from which is told how far back repair reaches: some windows are cut short, by losses or a pause.
const REACH_PACKETS: usize = 32;

/// A packet as the encoder dressed it, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Carrier<'a> {
    head: Head,
    repair: &'a [u8],
    /// What the packet carries of its own.
    pub payload: &'a [u8],
    /// Only part of that is protected: a part that its format tells. Who cannot tell it has no use for the packet
    /// but to pass its payload on.
    pub partial: bool,
}

impl<'a> Carrier<'a> {
    /// Takes an RTP payload apart; `None` if it makes no sense.
    pub fn parse(payload: &'a [u8]) -> Option<Carrier<'a>> {
        let (head, rest) = Head::parse(payload)?;
        let repair = head.repair.map_or(0, |repair| repair.count * repair.symbol);
        let (repair, payload) = rest.split_at_checked(repair)?;
        Some(Carrier { head, repair, payload, partial: head.partial })
    }
}

/// A lost packet that came back: its header, without extensions and as it was before it was dressed, and what of
/// its payload was protected.
pub type Recovered = (Header, Vec<u8>);

#[derive(Clone, Debug)]
struct Recent {
    seq: u64,
    esi: u64,
    protected: Vec<u8>,
}

/// Where a packet's symbols begin.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// Which packet's; the first of a window's is known only once all between are.
    seq: Option<u64>,
    /// It came, or came back.
    here: bool,
}

/// What is needed to date the packets of a window.
#[derive(Clone, Copy, Debug)]
struct Dates {
    /// Numbers of the window's first symbol and after its last.
    start: u64,
    end: u64,
    /// Of the packet that carried its repair symbols.
    seq: u64,
    timestamp: u32,
    step: u32,
}

/// Brings back lost packets of one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    payload_type: u8,
    solver: Solver,
    /// Sequence number and symbol number of the newest packet.
    newest: Option<(u64, u64)>,
    recent: VecDeque<Recent>,
    starts: BTreeMap<u64, Start>,
    dates: VecDeque<Dates>,
    /// How far back, in ticks, the repair of the last packets reached, each with its packet's number.
    reaches: VecDeque<(u64, u32)>,
    recovered: u64,
    bad: u64,
}

impl Decoder {
    /// A decoder that has received nothing; `payload_type` is the one that recovered packets get.
    pub fn new(payload_type: u8) -> Decoder {
        Decoder {
            payload_type,
            solver: Solver::new(),
            newest: None,
            recent: VecDeque::new(),
            starts: BTreeMap::new(),
            dates: VecDeque::new(),
            reaches: VecDeque::new(),
            recovered: 0,
            bad: 0,
        }
    }

    /// What came and what came of it.
    pub fn stats(&self) -> Stats {
        let counts = self.solver.counts();
        Stats {
            sent: 0,
            received: counts.received,
            innovative: counts.innovative,
            recovered: self.recovered,
            unrecoverable: counts.lost,
            bad: self.bad,
        }
    }

    /// Bytes of packets and equations that are held: bounded, whatever comes.
    pub fn memory(&self) -> usize {
        let packets: usize = self.recent.iter().map(|it| it.protected.capacity()).sum();
        self.solver.memory() + packets + self.starts.len() * size_of::<(u64, Start)>()
    }

    /// How far back, in ticks of media time, the last packets can bring others back: so long after its turn a lost packet
    /// may still come. `None` if none of the last packets carried repair.
    pub fn reach(&self) -> Option<u32> {
        let (newest, _) = self.newest?;
        let recent = self.reaches.iter().filter(|(seq, _)| seq + REACH_PACKETS as u64 > newest);
        recent.map(|&(_, ticks)| ticks).max()
    }

    /// Takes an RTP payload apart; `None`, and counted, if it makes no sense.
    pub fn open<'a>(&mut self, payload: &'a [u8]) -> Option<Carrier<'a>> {
        let carrier = Carrier::parse(payload);
        self.bad += u64::from(carrier.is_none());
        carrier
    }

    /// Takes a packet: `protected` is what its sender protected of the payload. Returns the lost packets that it
    /// brings back, oldest first. Some may have come in the meantime; each is returned once.
    pub fn receive(&mut self, header: &Header, carrier: &Carrier<'_>, protected: &[u8]) -> Vec<Recovered> {
        let Some((seq, esi, late)) = self.locate(header.seq, carrier.head.esi) else {
            return Vec::new();
        };
        let repair = carrier.head.repair.filter(|it| !late || it.symbol == self.solver.symbol());
        let window = repair.map(|it| (it, esi.saturating_sub(it.window as u64)));
        if let Some((repair, start)) = window
            && repair.symbol != self.solver.symbol()
        {
            self.resize(repair.symbol, start);
        }
        let recent = Recent { seq, esi, protected: protected.to_vec() };
        self.know(&recent);
        self.recent.push_back(recent);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        if let Some((repair, start)) = window {
            self.repair(header, (seq, esi), repair, start, carrier.repair);
        }
        let kept = self.solver.start();
        self.starts = self.starts.split_off(&kept);
        if self.solver.settle() || late { self.assemble(header) } else { Vec::new() }
    }

    /// Numbers that do not wrap, and whether a later packet came before this one. `None` for one that was the
    /// last to come already.
    fn locate(&mut self, seq: u16, esi: u16) -> Option<(u64, u64, bool)> {
        if let Some((newest_seq, newest_esi)) = self.newest {
            let ahead = i64::from(seq.wrapping_sub(newest_seq as u16) as i16);
            let symbols = i64::from((esi.wrapping_sub(newest_esi as u16) << 2) as i16 >> 2);
            if ahead.signum() == symbols.signum() {
                let found =
                    (newest_seq.saturating_add_signed(ahead), newest_esi.saturating_add_signed(symbols));
                self.newest = self.newest.max(Some(found));
                return (ahead != 0).then_some((found.0, found.1, ahead < 0));
            }
            // Later packets have higher numbers of both kinds: another encoder took over.
            self.recent.clear();
            self.resize(self.solver.symbol(), 0);
        }
        // High enough for the packets before it.
        let first = (0x1_0000 + u64::from(seq), 0x1_0000 + u64::from(esi));
        self.newest = Some(first);
        Some((first.0, first.1, false))
    }

    /// From now on symbols have another size, the window's first on.
    fn resize(&mut self, symbol: usize, start: u64) {
        self.solver.restart(symbol, start);
        self.starts.clear();
        self.dates.clear();
        let recent = std::mem::take(&mut self.recent);
        recent.iter().filter(|it| it.esi >= start).for_each(|it| self.know(it));
        self.recent = recent;
    }

    /// A packet's symbols are known, and thereby where the next one's begin.
    fn know(&mut self, packet: &Recent) {
        let symbol = self.solver.symbol();
        if symbol == 0 || packet.protected.len() > PAYLOAD_MAX {
            return;
        }
        let mut bytes = Vec::with_capacity(2 + packet.protected.len());
        write_length(packet.protected.len(), &mut bytes);
        bytes.extend_from_slice(&packet.protected);
        let symbols = bytes.len().div_ceil(symbol);
        if symbols > WINDOW_MAX {
            return;
        }
        for (esi, symbol) in (packet.esi..).zip(bytes.chunks(symbol)) {
            self.solver.know(esi, symbol);
        }
        self.starts.insert(packet.esi, Start { seq: Some(packet.seq), here: true });
        self.begins(packet.esi + symbols as u64, packet.seq + 1);
    }

    /// A packet's symbols begin there. True if that packet is not here.
    fn begins(&mut self, esi: u64, seq: u64) -> bool {
        let start = self.starts.entry(esi).or_insert(Start { seq: None, here: false });
        start.seq.get_or_insert(seq);
        !start.here
    }

    fn repair(&mut self, header: &Header, at: (u64, u64), repair: Repair, start: u64, bytes: &[u8]) {
        let (seq, esi) = at;
        self.starts.entry(start).or_insert(Start { seq: None, here: false });
        let (timestamp, step) = (header.timestamp, repair.step);
        let oldest = self.starts.range(start..esi).find_map(|(_, it)| it.seq);
        let packets = oldest.map_or(0, |oldest| seq.saturating_sub(oldest) as u32);
        self.reaches.push_back((seq, packets * step));
        if self.reaches.len() > REACH_PACKETS {
            self.reaches.pop_front();
        }
        self.dates.push_back(Dates { start, end: esi, seq, timestamp, step });
        if self.dates.len() > RECENT_MAX {
            self.dates.pop_front();
        }
        let window = Window { start, symbols: repair.window, key: key(esi as u16 & ESI_MASK) };
        self.solver.equations(window, bytes);
    }

    /// Puts together the packets whose symbols are all known.
    fn assemble(&mut self, header: &Header) -> Vec<Recovered> {
        let unnumbered: Vec<u64> =
            self.starts.iter().filter(|(_, it)| it.seq.is_none()).map(|(&esi, _)| esi).collect();
        for esi in unnumbered {
            if let Some(seq) = self.count_on(esi) {
                self.begins(esi, seq);
            }
        }
        let absent = |(&esi, it): (&u64, &Start)| Some((esi, it.seq.filter(|_| !it.here)?));
        let mut absent: Vec<(u64, u64)> = self.starts.iter().filter_map(absent).collect();
        let mut found = Vec::new();
        while let Some((esi, seq)) = absent.pop() {
            let Some((symbols, payload)) = self.read(esi) else { continue };
            self.starts.insert(esi, Start { seq: Some(seq), here: true });
            if self.begins(esi + symbols, seq + 1) {
                absent.push((esi + symbols, seq + 1));
            }
            // A packet without bytes stands for none.
            let Some(timestamp) = self.date(esi, seq).filter(|_| !payload.is_empty()) else { continue };
            let (payload_type, seq_sent, ext) = (self.payload_type, seq as u16, Default::default());
            let header = Header { payload_type, seq: seq_sent, timestamp, marker: false, ext, ..*header };
            found.push((seq, (header, payload)));
        }
        self.recovered += found.len() as u64;
        found.sort_by_key(|&(seq, _)| seq);
        found.into_iter().map(|(_, packet)| packet).collect()
    }

    /// The number of a window's first packet, if all packets from it to one with a number are known.
    fn count_on(&self, first: u64) -> Option<u64> {
        let (mut esi, mut packets) = (first, 0);
        loop {
            if let Some(seq) = self.starts.get(&esi).and_then(|it| it.seq) {
                return seq.checked_sub(packets);
            }
            esi += self.length(esi)?.1;
            packets += 1;
        }
    }

    /// Bytes of length and payload, and the symbols that they are, of a packet whose symbols begin there.
    fn length(&self, esi: u64) -> Option<((usize, usize), u64)> {
        let symbol = self.solver.symbol();
        let first = self.solver.get(esi)?.as_flattened();
        let (at, length) = read_length(&first[..symbol])?;
        Some(((at, length), (at + length).div_ceil(symbol) as u64))
    }

    /// A packet whose symbols begin there, if all are known.
    fn read(&self, esi: u64) -> Option<(u64, Vec<u8>)> {
        let ((at, length), symbols) = self.length(esi)?;
        let mut bytes = Vec::with_capacity(at + length + self.solver.symbol());
        for esi in esi..esi + symbols {
            bytes.extend_from_slice(&self.solver.get(esi)?.as_flattened()[..self.solver.symbol()]);
        }
        bytes.truncate(at + length);
        bytes.drain(..at);
        Some((symbols, bytes))
    }

    /// A recovered packet's timestamp, from a window that held it.
    fn date(&self, esi: u64, seq: u64) -> Option<u32> {
        let dates = self.dates.iter().rev().find(|it| it.start <= esi && esi < it.end)?;
        let before = u32::try_from(dates.seq.checked_sub(seq)?).ok()?;
        Some(dates.timestamp.wrapping_sub(dates.step.wrapping_mul(before)))
    }
}
