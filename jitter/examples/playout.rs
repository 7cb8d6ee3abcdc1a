//! Plays arrival traces through the jitter buffer and says what a listener would have heard.
//!
//! ```text
//! cargo run --release -p undertone-jitter --example playout -- TRACE.csv…
//! ```
//!
//! A trace has lines `seq,send_ms,arrival_ms` (−1: lost), 20 ms of sound a packet. Mouth to ear counts from
//! the capture of a sample to the end of the 10 ms in which it played, made-up sound aside; the E-model's
//! MOS (ITU-T G.107, Ie 5, Bpl 15) is of 10 s windows. Playout begins with the first arrival and ends one
//! second after the last packet was sent, so the last second is always concealed.

#[path = "../tests/listener/mod.rs"]
mod listener;

use listener::{Arrival, Heard, Listener};

fn main() {
    for path in std::env::args().skip(1) {
        match std::fs::read_to_string(&path) {
            Ok(text) => println!("{path} {}", play(&parse(&text))),
            Err(error) => eprintln!("{path}: {error}"),
        }
    }
}

/// Packets as sent; `at` is negative for those that were lost.
fn parse(text: &str) -> Vec<Arrival> {
    let micros = |field: Option<&str>| field?.trim().parse::<f64>().ok().map(|ms| (ms * 1000.0) as i64);
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(',');
            let seq = fields.next()?.trim().parse().ok()?;
            Some(Arrival { seq, media: micros(fields.next())?, at: micros(fields.next())?, repaired: false })
        })
        .collect()
}

fn play(sent: &[Arrival]) -> String {
    let arrived: Vec<Arrival> = sent.iter().copied().filter(|packet| packet.at >= 0).collect();
    let (Some(from), Some(last)) = (arrived.iter().map(|packet| packet.at).min(), sent.last()) else {
        return "nothing arrived".into();
    };
    let heard = Listener { from, until: last.media + 1_000_000, ..Listener::default() }.listen(&arrived);
    let mut windows = opinions(&heard, last.media);
    windows.sort_by(f64::total_cmp);
    format!(
        "{{\"m2e_mean_ms\":{:.1},\"m2e_p50\":{:.1},\"m2e_p95\":{:.1},\"m2e_p99\":{:.1},\"conceal_ratio\":{:.5},\
         \"accel_ratio\":{:.5},\"preempt_ratio\":{:.5},\"dropped\":{},\"late\":{},\"emos_mean\":{:.3},\
         \"emos_p10\":{:.3}}}",
        heard.mean_ms(),
        heard.percentile_ms(50),
        heard.percentile_ms(95),
        heard.percentile_ms(99),
        heard.concealed_percent() / 100.0,
        heard.share_percent(heard.removed) / 100.0,
        heard.share_percent(heard.added) / 100.0,
        heard.stats.dropped,
        heard.stats.late,
        windows.iter().sum::<f64>() / windows.len().max(1) as f64,
        windows.get(windows.len() / 10).copied().unwrap_or(0.0),
    )
}

/// The E-model's opinion of each 10 s that end before `until`.
fn opinions(heard: &Heard, until: i64) -> Vec<f64> {
    heard
        .ticks
        .chunks_exact(1000)
        .filter(|window| window.iter().all(|tick| tick.now < until))
        .map(|window| {
            let delays: Vec<i64> = window.iter().filter_map(|tick| tick.delay).collect();
            let made_up = (window.len() - delays.len()) as f64 / window.len() as f64 * 100.0;
            mos(delays.iter().sum::<i64>() as f64 / 1000.0 / delays.len().max(1) as f64, made_up)
        })
        .collect()
}

fn mos(delay_ms: f64, loss_percent: f64) -> f64 {
    let delay = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
    let equipment = 5.0 + 90.0 * loss_percent / (loss_percent + 15.0);
    let r = (93.2 - delay - equipment).clamp(0.0, 100.0);
    1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6
}
