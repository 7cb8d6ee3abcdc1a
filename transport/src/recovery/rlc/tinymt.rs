//! TinyMT32, the pseudorandom numbers of RFC 8682.

const MAT1: u32 = 0x8f70_11ee;
const MAT2: u32 = 0xfc78_ff1f;
const TMAT: u32 = 0x3793_fdff;

/// Generators that run side by side: each step waits for the one before, so four cost little more than one.
const LANES: usize = 4;
type Lanes = [u32; LANES];

struct TinyMt32([Lanes; 4]);

impl TinyMt32 {
    fn new(seeds: Lanes) -> TinyMt32 {
        let mut random = TinyMt32([seeds, [MAT1; LANES], [MAT2; LANES], [TMAT; LANES]]);
        for i in 1..8 {
            for lane in 0..LANES {
                let before = random.0[(i - 1) & 3][lane];
                let mixed = (before ^ before >> 30).wrapping_mul(1_812_433_253);
                random.0[i & 3][lane] ^= mixed.wrapping_add(i as u32);
            }
        }
        for _ in 0..8 {
            random.step();
        }
        random
    }

    #[inline]
    fn step(&mut self) {
        let [a, b, c, d] = self.0;
        let (mut c_next, mut x_next, mut y_next) = (c, c, c);
        for lane in 0..LANES {
            let mut x = (a[lane] & 0x7fff_ffff) ^ b[lane] ^ c[lane];
            x ^= x << 1;
            let y = d[lane] ^ d[lane] >> 1 ^ x;
            let odd = (y & 1).wrapping_neg();
            c_next[lane] = c[lane] ^ odd & MAT1;
            x_next[lane] = x ^ y << 10 ^ odd & MAT2;
            y_next[lane] = y;
        }
        self.0 = [b, c_next, x_next, y_next];
    }

    #[inline]
    fn next(&mut self) -> Lanes {
        self.step();
        let [a, _, c, d] = &self.0;
        std::array::from_fn(|lane| {
            let t = a[lane].wrapping_add(c[lane] >> 8);
            d[lane] ^ t ^ (t & 1).wrapping_neg() & TMAT
        })
    }
}

/// The most coefficients of one repair symbol, and room for those of lanes that are ahead.
const ROOM: usize = 256;

/// The coefficients of repair symbols whose keys follow each other (RFC 8681 §3.6 with m = 8 and density
/// threshold 15: none is zero).
pub(super) struct Coefficients {
    key: u16,
    count: usize,
    lane: usize,
    lanes: [[u8; ROOM]; LANES],
}

impl Coefficients {
    /// `count` coefficients, at most 128, for each symbol from the one with that key on.
    pub(super) fn new(key: u16, count: usize) -> Coefficients {
        Coefficients { key, count: count.min(ROOM / 2), lane: LANES, lanes: [[0; ROOM]; LANES] }
    }

    /// Those of the next symbol.
    pub(super) fn next(&mut self) -> &[u8] {
        if self.lane == LANES {
            self.generate();
            self.lane = 0;
        }
        self.lane += 1;
        &self.lanes[self.lane - 1][..self.count]
    }

    fn generate(&mut self) {
        let mut random =
            TinyMt32::new(std::array::from_fn(|lane| u32::from(self.key.wrapping_add(lane as u16))));
        self.key = self.key.wrapping_add(LANES as u16);
        let mut filled = [0; LANES];
        while filled.iter().any(|&it| it < self.count) {
            let numbers = random.next();
            for ((lane, filled), number) in self.lanes.iter_mut().zip(&mut filled).zip(numbers) {
                // A zero is overwritten by the next.
                lane[*filled % ROOM] = number as u8;
                *filled += usize::from(number as u8 != 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8682 §2.2, figure 2: the first 50 numbers of seed 1.
    const SEED_1: [u32; 50] = [
        2545341989, 981918433, 3715302833, 2387538352, 3591001365, 3820442102, 2114400566, 2196103051,
        2783359912, 764534509, 643179475, 1822416315, 881558334, 4207026366, 3690273640, 3240535687,
        2921447122, 3984931427, 4092394160, 44209675, 2188315343, 2908663843, 1834519336, 3774670961,
        3019990707, 4065554902, 1239765502, 4035716197, 3412127188, 552822483, 161364450, 353727785,
        140085994, 149132008, 2547770827, 4064042525, 4078297538, 2057335507, 622384752, 2041665899,
        2193913817, 1080849512, 33160901, 662956935, 642999063, 3384709977, 1723175122, 3866752252,
        521822317, 2292524454,
    ];

    #[test]
    fn the_numbers_are_those_of_rfc_8682() {
        let mut random = TinyMt32::new([1, 7, 1, 0]);
        assert_eq!(SEED_1.map(|_| random.next()[0]), SEED_1);
        let mut random = TinyMt32::new([0, 7, 1, 0]);
        assert_eq!(SEED_1.map(|_| random.next()[2]), SEED_1);
    }

    /// RFC 8681 appendix A, figure 9: the first 50 numbers below 256 of seed 1, none of which is zero.
    #[test]
    fn the_coefficients_are_those_of_rfc_8681() {
        const RAND_256: [u8; 50] = [
            37, 225, 177, 176, 21, 246, 54, 139, 168, 237, 211, 187, 62, 190, 104, 135, 210, 99, 176, 11,
            207, 35, 40, 113, 179, 214, 254, 101, 212, 211, 226, 41, 234, 232, 203, 29, 194, 211, 112, 107,
            217, 104, 197, 135, 23, 89, 210, 252, 109, 166,
        ];
        assert_eq!(Coefficients::new(1, 50).next(), RAND_256);
        let mut all = Coefficients::new(u16::MAX - 5, 50);
        assert_eq!((0..8).map(|_| all.next().to_vec()).last().unwrap(), RAND_256);
    }

    #[test]
    fn zeros_are_passed_over() {
        let mut all = Coefficients::new(0, 128);
        for key in 0..2_000 {
            let mut random = TinyMt32::new([key; 4]);
            let expected: Vec<u8> =
                std::iter::repeat_with(|| random.next()[0] as u8).filter(|&it| it != 0).take(128).collect();
            assert_eq!(all.next(), expected);
        }
    }
}
