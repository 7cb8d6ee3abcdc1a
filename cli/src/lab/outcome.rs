//! The JSON that `lab call` prints: one line, with a versioned schema.

use serde::{Serialize, Serializer};
use undertone_sim::score;

/// Rounds for people; the third digit after the point says nothing about a call.
fn short<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1000.0).round() / 1000.0)
}

fn short_option<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => short(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Median and tail.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    /// Half of the values are no larger.
    #[serde(serialize_with = "short_option")]
    pub p50: Option<f64>,
    /// 95 % are no larger.
    #[serde(serialize_with = "short_option")]
    pub p95: Option<f64>,
}

impl Percentiles {
    /// Of any values.
    pub fn of(values: &[f64]) -> Percentiles {
        Percentiles { p50: score::percentile(values, 50.0), p95: score::percentile(values, 95.0) }
    }
}

/// Shares of the 10 ms steps played, pauses left out.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Recovered {
    /// From the next packet's low-rate copy.
    #[serde(serialize_with = "short")]
    pub lbrr: f64,
    /// From RFC 2198 redundancy.
    #[serde(serialize_with = "short")]
    pub red: f64,
    /// From a sliding-window code.
    #[serde(serialize_with = "short")]
    pub rlc: f64,
    /// From deep redundancy.
    #[serde(serialize_with = "short")]
    pub dred: f64,
    /// From retransmissions.
    #[serde(serialize_with = "short")]
    pub rtx: f64,
    /// Made up by the decoder.
    #[serde(serialize_with = "short")]
    pub plc: f64,
}

/// Every byte, IPv4, UDP and RTCP included, over the whole call.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Wire {
    /// By the speaker's end.
    #[serde(serialize_with = "short")]
    pub sent: f64,
    /// By the listener's end.
    #[serde(serialize_with = "short")]
    pub received: f64,
}

/// The pictures of one direction.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Video {
    /// Pictures shown a second.
    #[serde(serialize_with = "short")]
    pub fps: f64,
    /// Share of the time in which the picture stood still for more than three frames' time and 150 ms.
    #[serde(serialize_with = "short")]
    pub freeze_ratio: f64,
    /// Camera to screen.
    pub delay_ms: Percentiles,
    /// Luma of what was shown against what the camera took; mean.
    #[serde(serialize_with = "short_option")]
    pub psnr_db: Option<f64>,
    /// Unique media bits over what the link could carry; null without a limit.
    #[serde(serialize_with = "short_option")]
    pub utilisation: Option<f64>,
}

/// One direction of a call.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Direction {
    /// Mouth to ear, of each 10 ms played.
    pub m2e_ms: Percentiles,
    /// Share of what was played that the decoder made up.
    #[serde(serialize_with = "short")]
    pub concealed_ratio: f64,
    /// What brought lost speech back.
    pub recovered: Recovered,
    /// What the wire carried.
    pub wire_kbps: Wire,
    /// Coded speech and pictures, each byte once.
    #[serde(serialize_with = "short")]
    pub payload_kbps: f64,
    /// Speech in one packet, mean.
    #[serde(serialize_with = "short")]
    pub packet_ms: f64,
    /// The longest silence that the speech did not have.
    #[serde(serialize_with = "short")]
    pub gap_ms: f64,
    /// E-model estimate (ITU-T G.107) from the median delay and what was made up.
    #[serde(serialize_with = "short")]
    pub mos: f64,
    /// After the last `--steps` event: seconds until the listener received 90 % of what was possible.
    #[serde(serialize_with = "short_option")]
    pub recover90_s: Option<f64>,
    /// Pictures, if there were any.
    pub video: Option<Video>,
}

/// The whole result.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LabCall {
    /// Names this layout; grows by fields, changes by version.
    pub schema: &'static str,
    /// Replays the run.
    pub seed: u64,
    /// From the start of the call until the offerer held SRTP keys; null: never.
    #[serde(serialize_with = "short_option")]
    pub setup_ms: Option<f64>,
    /// What b heard of a, again at the top level.
    #[serde(flatten)]
    pub first: Direction,
    /// What b heard of a.
    pub a_to_b: Direction,
    /// What a heard of b.
    pub b_to_a: Direction,
}
