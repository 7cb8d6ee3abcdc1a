//! Pure jitter, no loss: learned in the first second, then covered without a gap and without moving.

mod listener;

use listener::{Arrival, Heard, Listener, clean};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Uniform extra delay up to so much, order kept.
fn jittered(ms: u32, seed: u64) -> Vec<Arrival> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut packets = clean(1500);
    let mut before = 0;
    for packet in &mut packets {
        before = (packet.at + i64::from(random.next_u32() % (ms * 1000))).max(before);
        packet.at = before;
    }
    packets
}

fn listen(ms: u32, seed: u64) -> Heard {
    Listener { until: 29_000_000, ..Listener::default() }.listen(&jittered(ms, seed))
}

/// Runs of made up sound that began after `from` µs.
fn gaps(heard: &Heard, from: i64) -> usize {
    let after: Vec<bool> =
        heard.ticks.iter().filter(|tick| tick.now >= from).map(|tick| tick.delay.is_none()).collect();
    after.windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

#[test]
fn it_is_learned_in_the_first_second() {
    for ms in [50, 100, 200] {
        let late: usize = (0..8).map(|seed| gaps(&listen(ms, seed), 1_000_000)).sum();
        // Eight calls of half a minute.
        assert!(late <= 24, "{ms} ms: {late} gaps");
    }
}

#[test]
fn it_costs_its_height_and_little_more() {
    for ms in [50, 100, 200] {
        for seed in 0..8 {
            let heard = listen(ms, seed);
            let most = 20.0 + f64::from(ms) + 60.0;
            assert!(heard.percentile_ms(50) <= most, "{ms} ms: {} ms", heard.percentile_ms(50));
            assert!(heard.concealed_percent() < 1.0, "{ms} ms: {} %", heard.concealed_percent());
        }
    }
}

#[test]
fn once_learned_playout_stays_where_it_is() {
    for ms in [50, 100] {
        let moved: i64 = (0..8).map(|seed| listen(ms, seed)).map(|heard| heard.added + heard.removed).sum();
        assert!(moved < 8 * 150_000, "{ms} ms: {} ms a call", moved / 8000);
    }
}
