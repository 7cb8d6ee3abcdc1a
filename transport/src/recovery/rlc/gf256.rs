//! Sums and products in GF(256), many at a time (RFC 8681 §3.5: x⁸ + x⁴ + x³ + x² + 1).
//!
//! Symbols lie in blocks of 16 bytes, which the compiler turns into vector registers. A product is never
//! looked up byte by byte: [`sum_of_products`] sorts what it adds by the two halves of the factor first and
//! multiplies only the sums, and [`Multiples`] holds one block's products with all of those halves. Either
//! way a product costs two exclusive-ors a block.

pub(super) const BLOCK: usize = 16;
/// Bytes that are worked on together.
pub(super) type Block = [u8; BLOCK];

/// The field's polynomial without its highest power.
const POLYNOMIAL: u8 = 0x1d;

/// Blocks that hold so many bytes.
pub(super) const fn blocks(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK)
}

const fn times_x(byte: u8) -> u8 {
    byte << 1 ^ ((byte as i8 >> 7) as u8 & POLYNOMIAL)
}

#[inline]
fn double(block: Block) -> Block {
    std::array::from_fn(|at| times_x(block[at]))
}

#[inline]
pub(super) fn add(sum: &mut Block, block: &Block) {
    for (sum, byte) in sum.iter_mut().zip(block) {
        *sum ^= byte;
    }
}

const EXP: [u8; 255] = {
    let (mut exp, mut at, mut power) = ([0; 255], 0, 1);
    while at < 255 {
        exp[at] = power;
        power = times_x(power);
        at += 1;
    }
    exp
};

const LOG: [u8; 256] = {
    let (mut log, mut at) = ([0; 256], 0);
    while at < 255 {
        log[EXP[at] as usize] = at as u8;
        at += 1;
    }
    log
};

/// One over a number that is not zero.
pub(super) fn inverse(number: u8) -> u8 {
    EXP[(255 - usize::from(LOG[usize::from(number)])) % 255]
}

/// Puts bytes into blocks and zeros behind them.
pub(super) fn fill(blocks: &mut [Block], bytes: &[u8]) {
    let flat = blocks.as_flattened_mut();
    let len = bytes.len().min(flat.len());
    flat[..len].copy_from_slice(&bytes[..len]);
    flat[len..].fill(0);
}

/// A block times a number, bit by bit: for a few products only.
#[inline]
pub(super) fn times(block: &Block, factor: u8) -> Block {
    let mut sum = [0; BLOCK];
    for bit in (0..8).rev() {
        sum = double(sum);
        let mask = (factor >> bit & 1).wrapping_neg();
        for (sum, byte) in sum.iter_mut().zip(block) {
            *sum ^= byte & mask;
        }
    }
    sum
}

/// So few products are made one by one.
const FEW: usize = 5;

/// A sum of products: of blocks at places, each with its factor and moved on by `at`.
pub(super) fn sum_of_products(terms: &[(u8, usize)], from: &[Block], at: usize) -> Block {
    let mut sum = [0; BLOCK];
    if terms.len() <= FEW {
        for &(factor, place) in terms {
            add(&mut sum, &times(&from[place + at], factor));
        }
        return sum;
    }
    // Blocks by the low and by the high half of their factors.
    let (mut low, mut high) = ([[0; BLOCK]; 16], [[0; BLOCK]; 16]);
    for &(factor, place) in terms {
        let block = &from[place + at];
        add(&mut low[usize::from(factor & 15)], block);
        add(&mut high[usize::from(factor >> 4)], block);
    }
    for halves in [&mut high, &mut low] {
        // From sums by half to sums by bit, highest first.
        for bit in by_bit(halves).iter().rev() {
            sum = double(sum);
            add(&mut sum, bit);
        }
    }
    sum
}

/// From sums by factor to sums by bit of the factor.
#[inline(always)]
fn by_bit(sums: &mut [Block; 16]) -> [Block; 4] {
    let mut bits = [[0; BLOCK]; 4];
    for bit in (0..4).rev() {
        let (rest, set) = sums.split_at_mut(1 << bit);
        for (rest, set) in rest.iter_mut().zip(set) {
            add(&mut bits[bit], set);
            add(rest, set);
        }
    }
    bits
}

/// Adds a block's products to blocks at places, each with its factor and moved on by `at`.
pub(super) fn add_products(block: &Block, terms: &[(u8, usize)], to: &mut [Block], at: usize) {
    if terms.len() <= FEW {
        for &(factor, place) in terms {
            add(&mut to[place + at], &times(block, factor));
        }
        return;
    }
    // The block times every half of a factor.
    let (mut low, mut high) = ([[0; BLOCK]; 16], [[0; BLOCK]; 16]);
    let mut power = *block;
    for halves in [&mut low, &mut high] {
        for bit in 0..4 {
            for factor in 1 << bit..2 << bit {
                halves[factor] = halves[factor - (1 << bit)];
                add(&mut halves[factor], &power);
            }
            power = double(power);
        }
    }
    for &(factor, place) in terms {
        let to = &mut to[place + at];
        add(to, &low[usize::from(factor & 15)]);
        add(to, &high[usize::from(factor >> 4)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the book, one bit after the other.
    fn slow(mut a: u8, mut b: u8) -> u8 {
        let mut sum = 0;
        while b != 0 {
            if b & 1 == 1 {
                sum ^= a;
            }
            a = times_x(a);
            b >>= 1;
        }
        sum
    }

    #[test]
    fn products_and_inverses_are_right() {
        for a in 0..=255 {
            let block: Block = std::array::from_fn(|at| 17 * at as u8 + 3);
            assert_eq!(times(&block, a), block.map(|it| slow(it, a)));
            assert!(a == 0 || slow(a, inverse(a)) == 1);
        }
    }

    proptest! {
        #[test]
        fn many_products_are_as_many_single_ones(
            from in prop::collection::vec(any::<Block>(), 12),
            terms in prop::collection::vec((any::<u8>(), 0..10usize), 0..80),
        ) {
            let mut sum = [0; BLOCK];
            let mut all = from.clone();
            for &(factor, place) in &terms {
                add(&mut sum, &from[place + 2].map(|it| slow(it, factor)));
                add(&mut all[place + 1], &from[5].map(|it| slow(it, factor)));
            }
            prop_assert_eq!(sum_of_products(&terms, &from, 2), sum);
            let mut to = from.clone();
            add_products(&from[5], &terms, &mut to, 1);
            prop_assert_eq!(to, all);
        }
    }
}
