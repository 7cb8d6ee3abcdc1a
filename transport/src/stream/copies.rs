//! How often packets of pictures are sent where many get lost.
//!
//! Why: each picture depends on all before it, so the whole stream waits for a lost packet, and it waits a round trip
//! and more for each answer that is lost as well. Where most packets get lost, the second copy of a packet is nearly
//! always needed, so it may as well leave before it is asked for.

/// Of a thousand answers, no more may fail.
const ANSWERS_FAIL: u64 = 300;
/// Of those to a browser: it asks once a round trip, so that each lost answer costs a round trip more.
const RARE_ANSWERS_FAIL: u64 = 100;
/// Of a thousand packets, no more may be missing at first.
const MISSING: u64 = 400;
/// Copies at the same time, at most.
const MOST: u32 = 4;
/// More is not believed: there is no protecting against it.
const MOST_LOST: u64 = 800;

/// How often packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// When they are new.
    pub first: u32,
    /// At each request.
    pub answer: u32,
    /// In the end, on average, in thousandths.
    pub permille: u64,
}

impl Copies {
    /// What a path wants that loses so many packets of a thousand.
    pub fn against(lost: u32) -> Copies {
        let lost = u64::from(lost).min(MOST_LOST);
        let (first, missing) = until(lost, MISSING);
        let (answer, fail) = until(lost, ANSWERS_FAIL);
        let permille = u64::from(first) * 1_000 + missing * u64::from(answer) * 1_000 / (1_000 - fail);
        Copies { first, answer, permille }
    }

    /// How often answers are sent on such a path to one who waits for each before it asks again, as browsers do.
    pub fn of_rare_answers(lost: u32) -> u32 {
        until(u64::from(lost).min(MOST_LOST), RARE_ANSWERS_FAIL).0
    }
}

/// How many copies it takes until at most `bearable` of a thousand packets lose them all, and how many then do.
fn until(lost: u64, bearable: u64) -> (u32, u64) {
    let mut fail = lost;
    let mut copies = 1;
    while fail > bearable && copies < MOST {
        fail = fail * lost / 1_000;
        copies += 1;
    }
    (copies, fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_rarely_gets_more_at_once() {
        let of_rare = |lost| Copies::of_rare_answers(lost);
        assert_eq!([0, 50, 200, 400].map(of_rare), [1, 1, 2, 3]);
        assert!((0..=1000).all(|lost| of_rare(lost) >= Copies::against(lost).answer));
    }
}
