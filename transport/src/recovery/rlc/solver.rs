//! The receiver's linear algebra: source symbols that are known, and equations between those that are not.
//!
//! Equations are kept solved as far as they go (reduced row echelon form), so that a symbol comes out with the
//! very equation that determines it. An equation's pivot is its oldest unknown symbol: when that becomes too
//! old, the equation is of no more use and leaves without touching the others.
//!
//! Bounded: [`SPAN`] symbols, as many equations, and a packet of equations is left off when two in a row said
//! nothing new.

use super::gf256::{self, BLOCK, Block};
use super::tinymt::Coefficients;
use std::ops::Range;

/// How many symbols are remembered, a power of two.
pub(super) const SPAN: usize = 256;
/// The most symbols that an equation may combine: half of what is remembered, the rest is for late packets.
pub(super) const WINDOW_MAX: usize = SPAN / 2;
/// Blocks of one equation's factors.
const COLUMNS: usize = SPAN / BLOCK;
/// Symbols before the window that are kept for packets that come late.
const SLACK: u64 = 32;
/// Equations in a row that say nothing new before a packet's others are left off: of random ones, one in 256
/// does so by chance.
const IDLE_MAX: usize = 2;

/// How the repair symbols of one packet were made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Number of the first symbol combined.
    pub(super) start: u64,
    pub(super) symbols: usize,
    /// Key of the first repair symbol; those of the others follow it.
    pub(super) key: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    /// Unknown, and some window held it.
    Covered,
    Known,
}

/// What became of equations.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) received: u64,
    pub(super) innovative: u64,
    /// Symbols that some window held, too old before they became known.
    pub(super) lost: u64,
}

/// An equation in use: where it is kept, and its pivot, whose factor is one and which no other equation holds.
#[derive(Clone, Copy, Debug)]
struct Row {
    row: usize,
    pivot: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Solver {
    /// Bytes of a symbol; 0 before the first equation.
    symbol: usize,
    /// Numbers of the oldest symbol remembered, and after the newest.
    span: Range<u64>,
    states: [State; SPAN],
    /// The known symbols, each at its number modulo [`SPAN`], and behind them the equations' sums.
    data: Vec<Block>,
    /// The equations' factors, of all symbols.
    factors: Vec<Block>,
    rows: Vec<Row>,
    /// Places of equations that have no pivot yet: other equations' are out of them.
    fresh: Vec<usize>,
    /// The symbols that are pivots.
    pivots: [bool; SPAN],
    /// Places of equations that are not in use.
    free: Vec<usize>,
    /// Whether something became known, or may be, since equations were last looked through.
    changed: bool,
    counts: Counts,
    /// Terms of one sum.
    terms: Vec<(u8, usize)>,
    holders: Vec<(u8, usize)>,
    parts: Parts,
}

/// The symbols of a window, each with its place there and its column.
#[derive(Clone, Debug, Default)]
struct Parts {
    known: Vec<(usize, usize)>,
    unknown: Vec<(usize, usize)>,
    /// How many unknown symbols of each block of columns are no pivots. Where there is none, nothing remains of an
    /// equation once the pivots are replaced.
    open: [usize; COLUMNS],
}

impl Parts {
    fn sort(&mut self, window: Range<u64>, newest: u64, states: &mut [State; SPAN], pivots: &[bool; SPAN]) {
        self.known.clear();
        self.unknown.clear();
        self.open = [0; COLUMNS];
        for (at, esi) in (window.start..newest).enumerate() {
            let column = place(esi);
            let inside = esi < window.end;
            if states[column] != State::Known {
                self.open[column / BLOCK] += usize::from(!pivots[column]);
                if inside {
                    states[column] = State::Covered;
                    self.unknown.push((at, column));
                }
            } else if inside {
                self.known.push((at, column));
            }
        }
    }
}

fn place(esi: u64) -> usize {
    esi as usize % SPAN
}

impl Solver {
    pub(super) fn new() -> Solver {
        Solver {
            symbol: 0,
            span: 0..0,
            states: [State::Unknown; SPAN],
            data: Vec::new(),
            factors: Vec::new(),
            rows: Vec::new(),
            fresh: Vec::new(),
            pivots: [false; SPAN],
            free: Vec::new(),
            changed: false,
            counts: Counts::default(),
            terms: Vec::new(),
            holders: Vec::new(),
            parts: Parts::default(),
        }
    }

    /// Forgets everything and begins with symbols of `symbol` bytes at number `first`.
    pub(super) fn restart(&mut self, symbol: usize, first: u64) {
        self.forget_before(self.span.end);
        self.symbol = symbol;
        self.span = first..first;
        self.data.clear();
        self.data.resize(SPAN * self.stride(), [0; BLOCK]);
        self.factors.clear();
        self.free.clear();
    }

    pub(super) fn symbol(&self) -> usize {
        self.symbol
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        (self.data.capacity() + self.factors.capacity()) * BLOCK
            + self.rows.capacity() * size_of::<Row>()
            + (self.terms.capacity() + self.holders.capacity()) * size_of::<(u8, usize)>()
    }

    /// The number of the oldest symbol remembered.
    pub(super) fn start(&self) -> u64 {
        self.span.start
    }

    /// A known symbol, padded with zeros to whole blocks.
    pub(super) fn get(&self, esi: u64) -> Option<&[Block]> {
        if !self.span.contains(&esi) || self.states[place(esi)] != State::Known {
            return None;
        }
        let from = place(esi) * self.stride();
        Some(&self.data[from..from + self.stride()])
    }

    /// Blocks of a symbol.
    fn stride(&self) -> usize {
        gf256::blocks(self.symbol)
    }

    /// Where an equation's sum is.
    fn sum(&self, row: usize) -> usize {
        (SPAN + row) * self.stride()
    }

    fn factor(&self, row: usize, column: usize) -> u8 {
        self.factors[row * COLUMNS + column / BLOCK][column % BLOCK]
    }

    /// The blocks of factors from a symbol's to the newest's.
    fn columns(&self, from: u64) -> impl Iterator<Item = usize> + use<> {
        let blocks = from / BLOCK as u64..self.span.end.div_ceil(BLOCK as u64);
        blocks.map(|block| block as usize % COLUMNS).take(COLUMNS)
    }

    /// Makes room for symbols; false if they are too old to be taken.
    fn reach(&mut self, start: u64, end: u64) -> bool {
        if start < self.span.start {
            return false;
        }
        if start - self.span.start >= SPAN as u64 {
            self.forget_before(start);
        }
        if end > self.span.end {
            self.forget_before(end.saturating_sub(SPAN as u64));
            self.span.end = end;
        }
        true
    }

    /// Symbols before this one are of no more use.
    fn forget_before(&mut self, esi: u64) {
        if esi <= self.span.start {
            return;
        }
        for old in self.span.start..esi.min(self.span.end) {
            let state = &mut self.states[place(old)];
            self.counts.lost += u64::from(*state == State::Covered);
            *state = State::Unknown;
            self.pivots[place(old)] = false;
        }
        self.span = esi..self.span.end.max(esi);
        let free = &mut self.free;
        self.rows.retain(|it| {
            if it.pivot < esi {
                free.push(it.row);
            }
            it.pivot >= esi
        });
    }

    /// A source symbol came.
    pub(super) fn know(&mut self, esi: u64, bytes: &[u8]) {
        if !self.reach(esi, esi.saturating_add(1)) || self.states[place(esi)] == State::Known {
            return;
        }
        let (at, stride) = (place(esi), self.stride());
        gf256::fill(&mut self.data[at * stride..(at + 1) * stride], bytes);
        self.states[at] = State::Known;
        self.find_holders(at);
        let (symbols, sums) = self.data.split_at_mut(SPAN * stride);
        for block in 0..stride {
            let terms = self.holders.iter().map(|&(factor, row)| (factor, row * stride));
            self.terms.clear();
            self.terms.extend(terms);
            gf256::add_products(&symbols[at * stride + block], &self.terms, sums, block);
        }
        for &(_, row) in &self.holders {
            self.factors[row * COLUMNS + at / BLOCK][at % BLOCK] = 0;
            self.changed = true;
        }
        if let Some(orphan) = self.rows.iter().position(|it| it.pivot == esi) {
            // It may say something about the symbols after its old pivot.
            self.fresh.push(self.rows.swap_remove(orphan).row);
            self.pivots[at] = false;
            self.eliminate(esi);
        }
    }

    /// The equations that hold a symbol, and with what factor.
    fn find_holders(&mut self, column: usize) {
        self.holders.clear();
        let (block, at) = (column / BLOCK, column % BLOCK);
        for row in self.rows.iter().map(|it| it.row).chain(self.fresh.iter().copied()) {
            let factor = self.factors[row * COLUMNS + block][at];
            if factor != 0 {
                self.holders.push((factor, row));
            }
        }
    }

    /// A packet's repair symbols.
    pub(super) fn equations(&mut self, window: Window, bytes: &[u8]) {
        let count = bytes.len() / self.symbol;
        self.counts.received += count as u64;
        let end = window.start.saturating_add(window.symbols as u64);
        if window.symbols > WINDOW_MAX || !self.reach(window.start, end) {
            return;
        }
        self.forget_before(window.start.saturating_sub(SLACK.max(window.symbols as u64 / 2)));
        self.parts.sort(window.start..end, self.span.end, &mut self.states, &self.pivots);
        if self.parts.unknown.is_empty() {
            return;
        }
        let mut sums = bytes.chunks_exact(self.symbol);
        // As many as the window has symbols are these symbols.
        if count >= window.symbols {
            for (esi, sum) in (window.start..end).zip(sums) {
                self.counts.innovative += u64::from(self.copy(esi, sum));
            }
            return;
        }
        let mut coefficients = Coefficients::new(window.key, window.symbols);
        let mut idle = 0;
        while idle < IDLE_MAX && sums.len() > 0 {
            // All that can say something new, of which now and then one does not.
            let open = self.parts.open.iter().sum();
            let tried = sums.len().min(open);
            if tried == 0 {
                break;
            }
            for sum in sums.by_ref().take(open) {
                self.equation(window.start, coefficients.next(), sum);
            }
            let gained = self.eliminate(window.start);
            self.counts.innovative += gained as u64;
            idle += tried - gained;
        }
    }

    /// Takes a repair symbol that is a source symbol; false if that is known.
    fn copy(&mut self, esi: u64, bytes: &[u8]) -> bool {
        let news = self.get(esi).is_none();
        self.know(esi, bytes);
        self.changed |= news;
        news
    }

    /// Notes an equation between the symbols in `self.parts`, without the pivots of others.
    fn equation(&mut self, start: u64, factors: &[u8], sum: &[u8]) {
        let mut left = [[0; BLOCK]; COLUMNS];
        for &(at, column) in &self.parts.unknown {
            left[column / BLOCK][column % BLOCK] = factors[at];
        }
        // What is the pivot of another equation is replaced by that.
        self.holders.clear();
        for it in &self.rows {
            let factor = left[place(it.pivot) / BLOCK][place(it.pivot) % BLOCK];
            if factor != 0 {
                self.holders.push((factor, it.row));
            }
        }
        self.terms.clear();
        self.terms.extend(self.holders.iter().map(|&(factor, row)| (factor, row * COLUMNS)));
        for block in self.columns(start) {
            if self.parts.open[block] == 0 {
                left[block] = [0; BLOCK];
                continue;
            }
            gf256::add(&mut left[block], &gf256::sum_of_products(&self.terms, &self.factors, block));
        }
        // What is known moves to the other side.
        let stride = self.stride();
        self.terms.clear();
        self.terms.extend(self.holders.iter().map(|&(factor, row)| (factor, (SPAN + row) * stride)));
        self.terms.extend(self.parts.known.iter().map(|&(at, column)| (factors[at], column * stride)));
        let row = self.free.pop().unwrap_or_else(|| {
            let row = self.factors.len() / COLUMNS;
            self.factors.resize(self.factors.len() + COLUMNS, [0; BLOCK]);
            self.data.resize(self.data.len() + stride, [0; BLOCK]);
            row
        });
        self.factors[row * COLUMNS..(row + 1) * COLUMNS].copy_from_slice(&left);
        let at = self.sum(row);
        gf256::fill(&mut self.data[at..at + stride], sum);
        for block in 0..stride {
            let sum = gf256::sum_of_products(&self.terms, &self.data, block);
            gf256::add(&mut self.data[at + block], &sum);
        }
        self.fresh.push(row);
    }

    /// Gives fresh equations, which hold nothing before `oldest`, their pivots and takes these out of all others. Returns
    /// how many say something that the others do not.
    fn eliminate(&mut self, oldest: u64) -> usize {
        let stride = self.stride();
        let mut gained = 0;
        while let Some(row) = self.fresh.pop() {
            let Some(pivot) = self.pivot(row, oldest) else {
                self.free.push(row);
                continue;
            };
            let scale = gf256::inverse(self.factor(row, place(pivot)));
            self.find_holders(place(pivot));
            self.terms.clear();
            self.terms.extend(self.holders.iter().map(|&(factor, row)| (factor, row * COLUMNS)));
            for block in self.columns(pivot) {
                let left = self.factors[row * COLUMNS + block];
                if left == [0; BLOCK] {
                    continue;
                }
                let left = gf256::times(&left, scale);
                self.factors[row * COLUMNS + block] = left;
                gf256::add_products(&left, &self.terms, &mut self.factors, block);
            }
            self.terms.clear();
            self.terms.extend(self.holders.iter().map(|&(factor, row)| (factor, (SPAN + row) * stride)));
            for block in 0..stride {
                let right = gf256::times(&self.data[(SPAN + row) * stride + block], scale);
                self.data[(SPAN + row) * stride + block] = right;
                gf256::add_products(&right, &self.terms, &mut self.data, block);
            }
            self.rows.push(Row { row, pivot });
            let column = place(pivot);
            self.pivots[column] = true;
            self.parts.open[column / BLOCK] = self.parts.open[column / BLOCK].saturating_sub(1);
            gained += 1;
        }
        self.changed |= gained > 0;
        gained
    }

    /// The oldest symbol, from `oldest` on, that an equation holds.
    fn pivot(&self, row: usize, oldest: u64) -> Option<u64> {
        let factors = &self.factors[row * COLUMNS..(row + 1) * COLUMNS];
        let mut esi = oldest.max(self.span.start);
        while esi < self.span.end {
            let block = &factors[place(esi) / BLOCK];
            let from = place(esi) % BLOCK;
            if let Some(at) = block[from..].iter().position(|&factor| factor != 0) {
                return Some(esi + at as u64).filter(|&esi| esi < self.span.end);
            }
            esi += (BLOCK - from) as u64;
        }
        None
    }

    /// Looks for equations with one unknown left, which is known thereby. True if something became known, by this
    /// or as a copy, since the last call.
    pub(super) fn settle(&mut self) -> bool {
        if !std::mem::take(&mut self.changed) {
            return false;
        }
        let stride = self.stride();
        let mut at = 0;
        while let Some(&Row { row, pivot }) = self.rows.get(at) {
            let column = place(pivot);
            let mut one = [0; BLOCK];
            one[column % BLOCK] = 1;
            let factors = &self.factors[row * COLUMNS..(row + 1) * COLUMNS];
            let is_free =
                |block: usize| factors[block] == if block == column / BLOCK { one } else { [0; BLOCK] };
            if !self.columns(pivot).all(is_free) {
                at += 1;
                continue;
            }
            let sum = self.sum(row);
            self.data.copy_within(sum..sum + stride, column * stride);
            self.states[column] = State::Known;
            self.pivots[column] = false;
            self.rows.swap_remove(at);
            self.free.push(row);
        }
        true
    }
}
