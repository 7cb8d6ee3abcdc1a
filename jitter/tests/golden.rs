//! What listeners hear on synthetic networks, as a table: a change of behaviour shows as a changed line.
//!
//! `UPDATE_GOLDEN=1 cargo test --release -p undertone-jitter --test golden` writes it anew.

mod listener;

use listener::{Arrival, Listener, clean};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::fmt::Write;
use std::time::Duration;
use undertone_media::DataSize;
use undertone_sim::models;

struct Network {
    random: ChaCha8Rng,
    packets: Vec<Arrival>,
    repair: Option<u64>,
}

impl Network {
    fn new() -> Network {
        Network { random: ChaCha8Rng::seed_from_u64(1), packets: clean(6000), repair: None }
    }

    fn below(&mut self, micros: u32) -> i64 {
        i64::from(self.random.next_u32() % micros)
    }

    /// Uniform extra delay, without overtaking unless asked.
    fn jitter(mut self, ms: u32, overtaking: bool) -> Network {
        let mut before = 0;
        for at in 0..self.packets.len() {
            let delayed = self.packets[at].at + self.below(ms * 1000);
            before = if overtaking { delayed } else { delayed.max(before) };
            self.packets[at].at = before;
        }
        self
    }

    /// Every so often everything is held for a while.
    fn spikes(mut self, every_ms: u32, lasting_ms: u32) -> Network {
        let mut from = 5_000_000;
        while from < 115_000_000 {
            let end = from + self.below(lasting_ms * 1000);
            self.packets.iter_mut().filter(|p| (from..end).contains(&p.at)).for_each(|p| p.at = end);
            from = end + self.below(2 * every_ms * 1000);
        }
        self
    }

    /// Independent loss; each loss is repaired a round trip after the next packet, if that is not lost too.
    fn loss(mut self, percent: u32, rtt_ms: Option<i64>) -> Network {
        let mut kept = Vec::new();
        for mut packet in std::mem::take(&mut self.packets) {
            let mut tries = 0;
            while tries < 3 && self.random.next_u32() % 100 < percent {
                tries += 1;
                match rtt_ms {
                    None => tries = 3,
                    Some(rtt) => packet.at += rtt * 1000 + if tries == 1 { 20_000 } else { 10_000 },
                }
                packet.repaired = true;
            }
            if tries < 3 {
                kept.push(packet);
            }
        }
        self.packets = kept;
        self.repair = rtt_ms.map(|rtt| rtt as u64 * 1000 + 20_000);
        self
    }

    /// Nothing comes through for `bad` of each `good + bad`.
    fn outages(mut self, good_ms: i64, bad_ms: i64) -> Network {
        self.packets.retain(|p| p.media / 1000 % (good_ms + bad_ms) < good_ms);
        self
    }

    fn drift(mut self, ppm: i64) -> Network {
        self.packets.iter_mut().for_each(|p| p.at += p.media / 1_000_000 * ppm);
        self
    }
}

#[test]
fn what_is_heard_stays_as_it_is() {
    let new = Network::new;
    let networks = [
        ("clean", new()),
        ("jitter 0-5 ms", new().jitter(5, false)),
        ("jitter 0-20 ms", new().jitter(20, false)),
        ("jitter 0-50 ms", new().jitter(50, false)),
        ("jitter 0-100 ms", new().jitter(100, false)),
        ("jitter 0-200 ms", new().jitter(200, false)),
        ("jitter 0-50 ms, overtaking", new().jitter(50, true)),
        ("spikes to 100 ms each 1 s", new().spikes(1000, 100)),
        ("spikes to 100 ms each 10 s", new().spikes(10_000, 100)),
        ("spikes to 1 s each 5 s", new().spikes(5000, 1000)),
        ("loss 10 %, no repair", new().loss(10, None)),
        ("loss 1 %, repair in 40 ms", new().loss(1, Some(40))),
        ("loss 10 %, repair in 40 ms", new().loss(10, Some(40))),
        ("loss 30 %, repair in 40 ms", new().loss(30, Some(40))),
        ("loss 10 %, repair in 300 ms", new().loss(10, Some(300))),
        ("loss 10 %, 40 ms, jitter 0-30", new().jitter(30, false).loss(10, Some(40))),
        ("outages 900/100 ms", new().outages(900, 100)),
        ("drift +200 ppm", new().drift(200)),
        ("drift -200 ppm", new().drift(-200)),
    ];
    let mut table = format!(
        "{:30} {:>7} {:>7} {:>7} {:>8} {:>7} {:>7}\n",
        "network (120 s, path 20 ms)", "mean ms", "p95 ms", "target", "concl. %", "fast %", "slow %"
    );
    for (name, network) in networks {
        let until = |seq: u64, _: i64| Some(seq as i64 * 20_000 + 400_000);
        let never = |_: u64, _: i64| None;
        let repairable: &dyn Fn(u64, i64) -> Option<i64> =
            if network.repair.is_some() { &until } else { &never };
        let heard =
            Listener { until: 119_000_000, repairable, repair: network.repair, ..Listener::default() }
                .listen(&network.packets);
        let _ = writeln!(
            table,
            "{name:30} {:7.1} {:7.1} {:7} {:8.3} {:7.3} {:7.3}",
            heard.mean_ms(),
            heard.percentile_ms(95),
            heard.stats.target.as_millis(),
            heard.concealed_percent(),
            heard.share_percent(heard.removed),
            heard.share_percent(heard.added),
        );
    }
    as_before("jitter.txt", &table);
}

/// The named networks of `sim`, as a steady stream of speech finds them.
#[test]
fn what_is_heard_on_named_networks_stays_as_it_is() {
    let mut table = format!(
        "{:16} {:>6} {:>7} {:>6} {:>6} {:>8} {:>7} {:>7}\n",
        "120 s, 20 ms", "lost %", "mean ms", "p50", "p95", "concl. %", "fast %", "slow %"
    );
    for model in models::MODELS {
        let sent = models::arrivals(
            model,
            Duration::from_millis(20),
            DataSize::from_bytes(112),
            Duration::from_secs(120),
            1,
        );
        let arrivals: Vec<Arrival> = sent
            .iter()
            .filter_map(|packet| {
                let at = packet.arrived?.as_micros() as i64;
                Some(Arrival { seq: packet.seq, media: packet.sent.as_micros() as i64, at, repaired: false })
            })
            .collect();
        let heard = Listener { until: 119_000_000, ..Listener::default() }.listen(&arrivals);
        let lost = 100.0 - 100.0 * arrivals.len() as f64 / sent.len() as f64;
        let _ = writeln!(
            table,
            "{:16} {lost:6.2} {:7.1} {:6.0} {:6.0} {:8.3} {:7.3} {:7.3}",
            model.name,
            heard.mean_ms(),
            heard.percentile_ms(50),
            heard.percentile_ms(95),
            heard.concealed_percent(),
            heard.share_percent(heard.removed),
            heard.share_percent(heard.added),
        );
    }
    as_before("lab_jitter.txt", &table);
}

fn as_before(name: &str, table: &str) {
    let path = format!("{}/../testdata/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, table).expect("testdata/golden is writable");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, table, "if this is meant: UPDATE_GOLDEN=1");
}
