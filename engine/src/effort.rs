//! How much of the processor speech may take.
//!
//! Why: the same call runs on a phone of ten years ago and on a workstation, and only its owner knows which. What one
//! core spends, measured by `codec/examples/speed.rs` (x86-64, 2 cores, 20 ms packets; percent of one core; each voice
//! that is heard costs once):
//!
//! | effort | coding | decoding | the same with 20 % brought back | PESQ of a clean call | what differs |
//! |---|---|---|---|---|---|
//! | low | 0.43 | 0.13 | 0.64 | 4.33 | SILK's quickest search worth having; no enhancement |
//! | **medium** | 0.82 | 0.24 | 0.74 | 4.47 | the full search; LACE |
//! | high | 0.82 | 0.58 | 1.02 | 4.47 | NoLACE instead: a little better where coded rates are low |
//!
//! Deep redundancy has an effort of its own, which none of these lowers: the speaker's end takes 0.26 % of a core to
//! watch the speech, and the listener's end needs the decoder's deep concealment, which speaks what was told of the past.
//! So no effort turns that concealment off: where most is lost there would be nothing left. It costs what it costs only
//! while something is missing.

use undertone_codec::opus::Level;

/// How much of the processor speech may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// Where the call competes with everything else for a slow processor, or many voices are heard at once.
    Low,
    /// What nearly every processor of the last ten years has to spare.
    #[default]
    Medium,
    /// Whatever helps.
    High,
}

impl Effort {
    /// Complexity of the encoder, as libopus counts it.
    pub(crate) const fn complexity(self) -> u8 {
        match self {
            Effort::Low => 2,
            Effort::Medium => 9,
            Effort::High => 10,
        }
    }

    /// What the decoder does to make low rates sound better.
    pub(crate) const fn level(self) -> Level {
        match self {
            Effort::Low => Level::Plain,
            Effort::Medium => Level::Lace,
            Effort::High => Level::NoLace,
        }
    }
}
