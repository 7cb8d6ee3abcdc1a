//! A table of links and what they do to a minute of traffic: a reviewer sees a change of behaviour as a
//! change of text. `UPDATE_GOLDEN=1 cargo test -p undertone-sim` rewrites it.

use std::fmt::Write;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Fate, Link, Timestamp};
use undertone_sim::models::MODELS;
use undertone_sim::path::{LinkConfig, LinkModel, Outage, Share};
use undertone_sim::trace::Trace;

/// A minute of speech (92 bytes every 20 ms) and video (30 frames a second of 3 × 900 bytes).
fn row(name: &str, direction: u64, config: &LinkConfig) -> String {
    let mut link = LinkModel::new(1, direction, config);
    let mut offers: Vec<(u64, u64)> = (0..3000).map(|n| (n * 20_000, 92)).collect();
    offers.extend((0..1800).flat_map(|n| [(n * 33_333, 900); 3]));
    offers.sort_unstable();
    let (mut delivered, mut lost, mut overflowed, mut delay_us, mut worst_us) = (0u64, 0, 0, 0, 0);
    for (micros, size) in offers {
        let now = Timestamp::from_micros(micros);
        match link.offer(now, DataSize::from_bytes(size)) {
            Fate::Arrives(at) => {
                let delay = at.since(now).as_micros() as u64;
                delivered += 1;
                delay_us += delay;
                worst_us = delay.max(worst_us);
            }
            Fate::Lost => lost += 1,
            Fate::Overflowed => overflowed += 1,
        }
    }
    let mean_us = delay_us.checked_div(delivered).unwrap_or(0);
    let tenths = |us: u64| format!("{}.{}", us / 1000, us % 1000 / 100);
    let (mean, worst) = (tenths(mean_us), tenths(worst_us));
    format!("{name:<28} {delivered:>9} {lost:>6} {overflowed:>10} {mean:>9} {worst:>9}\n")
}

#[test]
fn links() {
    let ms = Duration::from_millis;
    let base = LinkConfig::default;
    let loss = |percent, burst| LinkConfig { loss: Share::from_percent(percent), burst, ..base() };
    let rate = |kbps, queue| LinkConfig { rate: Some(Bitrate::from_kbps(kbps)), queue: ms(queue), ..base() };
    let trace = |text: &str| LinkConfig { trace: Trace::parse(text).ok(), ..base() };
    let rows = [
        ("clean", base()),
        ("delay 20", LinkConfig { delay: ms(20), ..base() }),
        ("delay 20 jitter 100", LinkConfig { delay: ms(20), jitter: ms(100), ..base() }),
        ("jitter 100 reorder", LinkConfig { jitter: ms(100), reorder: true, ..base() }),
        ("loss 10", loss(10.0, 1)),
        ("loss 10 burst 5", loss(10.0, 5)),
        ("loss 50", loss(50.0, 1)),
        ("loss 70 burst 10", loss(70.0, 10)),
        ("outage 900/100", LinkConfig { outage: Some(Outage { good_ms: 900, bad_ms: 100 }), ..base() }),
        ("rate 1000 queue 300", rate(1000, 300)),
        ("rate 500 queue 300", rate(500, 300)),
        ("rate 24 queue 500", rate(24, 500)),
        ("rate 24 queue 500 loss 10", LinkConfig { loss: Share::from_percent(10.0), ..rate(24, 500) }),
        ("trace every 20 ms", trace("20")),
        ("trace 10 in 1 ms of 100", trace("9\n9\n9\n9\n9\n9\n9\n9\n9\n9\n100")),
    ];
    let mut table = format!(
        "{:<28} {:>9} {:>6} {:>10} {:>9} {:>9}\n",
        "link", "delivered", "lost", "overflowed", "mean ms", "max ms"
    );
    for (name, config) in rows {
        table += &row(name, 0, &config);
    }
    for model in MODELS {
        for (number, way, direction) in [(0, "up", model.up), (1, "down", model.down)] {
            let mut name = String::from(model.name);
            write!(name, " {way}").unwrap();
            table += &row(&name, number, &direction.config(model.outage));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/golden/links.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(table == golden, "differs from testdata/golden/links.txt; now:\n{table}");
}
