//! TinyMT32, the pseudorandom numbers of RFC 8682.

const MAT1: u32 = 0x8f70_11ee;
const MAT2: u32 = 0xfc78_ff1f;
const TMAT: u32 = 0x3793_fdff;

pub(super) struct TinyMt32([u32; 4]);

impl TinyMt32 {
    pub(super) fn new(seed: u32) -> TinyMt32 {
        let mut state = [seed, MAT1, MAT2, TMAT];
        for i in 1..8 {
            let before = state[(i - 1) & 3];
            let mixed = (before ^ before >> 30).wrapping_mul(1_812_433_253);
            state[i & 3] ^= mixed.wrapping_add(i as u32);
        }
        let mut random = TinyMt32(state);
        for _ in 0..8 {
            random.step();
        }
        random
    }

    fn step(&mut self) {
        let [a, b, c, d] = self.0;
        let mut x = (a & 0x7fff_ffff) ^ b ^ c;
        x ^= x << 1;
        let y = d ^ d >> 1 ^ x;
        let odd = (y & 1).wrapping_neg();
        self.0 = [b, c ^ odd & MAT1, x ^ y << 10 ^ odd & MAT2, y];
    }

    pub(super) fn next(&mut self) -> u32 {
        self.step();
        let [a, _, c, d] = self.0;
        let t = a.wrapping_add(c >> 8);
        d ^ t ^ (t & 1).wrapping_neg() & TMAT
    }
}

/// The coefficients of a repair symbol (RFC 8681 §3.6 with m = 8 and density threshold 15: none is zero).
pub(super) fn coefficients(key: u16, out: &mut [u8]) {
    let mut random = TinyMt32::new(u32::from(key));
    for coefficient in out {
        *coefficient = loop {
            let byte = random.next() as u8;
            if byte != 0 {
                break byte;
            }
        };
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
        let mut random = TinyMt32::new(1);
        assert_eq!(SEED_1.map(|_| random.next()), SEED_1);
    }

    /// RFC 8681 appendix A, figure 9: the first 50 numbers below 256 of seed 1, none of which is zero.
    #[test]
    fn the_coefficients_are_those_of_rfc_8681() {
        const RAND_256: [u8; 50] = [
            37, 225, 177, 176, 21, 246, 54, 139, 168, 237, 211, 187, 62, 190, 104, 135, 210, 99, 176, 11,
            207, 35, 40, 113, 179, 214, 254, 101, 212, 211, 226, 41, 234, 232, 203, 29, 194, 211, 112, 107,
            217, 104, 197, 135, 23, 89, 210, 252, 109, 166,
        ];
        let mut out = [0; 50];
        coefficients(1, &mut out);
        assert_eq!(out, RAND_256);
    }

    #[test]
    fn no_coefficient_is_zero() {
        let mut out = [0; 128];
        for key in 0..2_000 {
            coefficients(key, &mut out);
            assert!(out.iter().all(|&it| it != 0));
        }
    }
}
