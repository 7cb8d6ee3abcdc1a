//! `--loss up:5,down:20 --at 10:rate=64`: the emulated network, from text to link models.

use crate::args::NetworkArgs;
use crate::exit::{Failure, Outcome};
use std::path::Path;
use std::time::Duration;
use undertone_media::{Bitrate, Timestamp};
use undertone_sim::loss::{Outage, Share};
use undertone_sim::path::{Change, LinkConfig, LinkModel};
use undertone_sim::trace::Trace;

/// One value for both directions, or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Both<T> {
    up: T,
    down: T,
}

/// An emulated network between a participant and what it talks to.
#[derive(Clone, Debug)]
pub struct Network {
    /// Away from the participant.
    pub up: LinkConfig,
    /// Towards the participant.
    pub down: LinkConfig,
    /// What becomes different, counted from the start of the call: (when, is it upward, what).
    changes: Vec<(Timestamp, bool, Change)>,
    /// When `--steps` changed the rate, and to what.
    pub steps: Vec<(Timestamp, Bitrate)>,
}

impl Network {
    /// Reads the options; `at` is when the call starts on the links' clock.
    pub fn parse(args: &NetworkArgs) -> Outcome<Network> {
        let mut up = LinkConfig::default();
        let mut down = LinkConfig::default();
        let mut set = |key: &str, text: &str| -> Outcome {
            let both = directions(key, text)?;
            both.up.iter().for_each(|&change| apply(&mut up, change));
            both.down.iter().for_each(|&change| apply(&mut down, change));
            Ok(())
        };
        set("delay", &args.delay)?;
        set("jitter", &args.jitter)?;
        set("loss", &args.loss)?;
        set("burst", &args.burst)?;
        set("queue", &args.queue)?;
        if let Some(outage) = &args.outage {
            set("outage", outage)?;
        }
        if let Some(rate) = &args.rate {
            set("rate", rate)?;
        }
        if let Some(path) = &args.trace {
            let trace = read_trace(path)?;
            up.trace = Some(match &args.trace_up {
                Some(path) => read_trace(path)?,
                None => trace.clone(),
            });
            down.trace = Some(trace);
        }
        let mut network = Network { up, down, changes: Vec::new(), steps: Vec::new() };
        if let Some(steps) = &args.steps {
            network.read_steps(steps)?;
        }
        for at in &args.at {
            network.read_at(at)?;
        }
        network.changes.sort_by_key(|change| change.0);
        Ok(network)
    }

    fn read_steps(&mut self, text: &str) -> Outcome {
        for step in text.split(',') {
            let (rate, at) = step
                .split_once('@')
                .ok_or_else(|| Failure::usage(format!("--steps: `{step}` is not KBPS@SECS, as in 400@20")))?;
            let at = seconds("--steps", at)?;
            let rate = Bitrate::from_bps((number("--steps", rate, 1.0, 1e7)? * 1000.0) as u64);
            self.steps.push((at, rate));
            for upward in [true, false] {
                self.changes.push((at, upward, Change::Rate(Some(rate))));
            }
        }
        Ok(())
    }

    fn read_at(&mut self, text: &str) -> Outcome {
        let (at, rest) = text.split_once(':').ok_or_else(|| {
            Failure::usage(format!("--at: `{text}` is not SECS:KEY=VALUE, as in 10:loss=40"))
        })?;
        let at = seconds("--at", at)?;
        // A comma parts settings, and within a setting the two directions: `5:loss=up:5,down:20,delay=80`.
        let mut settings: Vec<(&str, String)> = Vec::new();
        for part in rest.split(',') {
            match (part.split_once('='), settings.last_mut()) {
                (Some((key, value)), _) => settings.push((key, value.to_string())),
                (None, Some((_, value))) => {
                    value.push(',');
                    value.push_str(part);
                }
                (None, None) => {
                    return Err(Failure::usage(format!("--at: `{part}` is not KEY=VALUE, as in loss=40")));
                }
            }
        }
        for (key, value) in settings {
            let both = directions(key, &value)?;
            self.changes.extend(both.up.into_iter().map(|change| (at, true, change)));
            self.changes.extend(both.down.into_iter().map(|change| (at, false, change)));
        }
        Ok(())
    }

    /// The links of one participant, upward and downward. `which` tells participants apart, so that each
    /// has losses of its own.
    pub fn links(&self, seed: u64, which: u64) -> (LinkModel, LinkModel) {
        let mut up = LinkModel::new(seed, which * 2, &self.up);
        let mut down = LinkModel::new(seed, which * 2 + 1, &self.down);
        for &(at, upward, change) in &self.changes {
            if upward { up.change(at, change) } else { down.change(at, change) }
        }
        (up, down)
    }
}

fn apply(config: &mut LinkConfig, change: Change) {
    match change {
        Change::Loss(loss) => config.loss = loss,
        Change::Burst(burst) => config.burst = burst,
        Change::Outage(outage) => config.outage = outage,
        Change::Rate(rate) => config.rate = rate,
        Change::Queue(queue) => config.queue = queue,
        Change::Delay(delay) => config.delay = delay,
        Change::Jitter(jitter) => config.jitter = jitter,
        Change::Reorder(reorder) => config.reorder = reorder,
    }
}

/// `VALUE`, or `up:VALUE`, `down:VALUE`, or both with a comma between.
fn directions(key: &str, text: &str) -> Outcome<Both<Option<Change>>> {
    let mut both = Both { up: None, down: None };
    for part in text.split(',') {
        if let Some(value) = part.strip_prefix("up:") {
            both.up = Some(change(key, value)?);
        } else if let Some(value) = part.strip_prefix("down:") {
            both.down = Some(change(key, value)?);
        } else {
            let change = change(key, part)?;
            both = Both { up: Some(change), down: Some(change) };
        }
    }
    Ok(both)
}

fn change(key: &str, value: &str) -> Outcome<Change> {
    let name = format!("--{key}");
    let millis = |value: &str| -> Outcome<Duration> {
        Ok(Duration::from_micros((number(&name, value, 0.0, 60_000.0)? * 1000.0) as u64))
    };
    Ok(match key {
        "loss" => Change::Loss(Share::from_percent(number(&name, value, 0.0, 100.0)?)),
        "burst" => Change::Burst(number(&name, value, 1.0, 1_000.0)?.round() as u32),
        "delay" => Change::Delay(millis(value)?),
        "jitter" => Change::Jitter(millis(value)?),
        "queue" => Change::Queue(millis(value)?),
        "rate" if value == "none" => Change::Rate(None),
        "rate" => Change::Rate(Some(Bitrate::from_bps((number(&name, value, 1.0, 1e7)? * 1000.0) as u64))),
        "outage" if value == "none" => Change::Outage(None),
        "outage" => {
            let (good, bad) = value.split_once('/').ok_or_else(|| {
                Failure::usage(format!("--outage: `{value}` is not GOODMS/BADMS, as in 900/100"))
            })?;
            Change::Outage(Some(Outage {
                good_ms: number(&name, good, 1.0, 1e6)? as u32,
                bad_ms: number(&name, bad, 0.0, 1e6)? as u32,
            }))
        }
        other => {
            return Err(Failure::usage(format!(
                "--at: `{other}` cannot be changed; delay, jitter, loss, burst, outage, rate and queue can"
            )));
        }
    })
}

fn number(name: &str, text: &str, least: f64, most: f64) -> Outcome<f64> {
    match text.trim().parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        Ok(value) => Err(Failure::usage(format!("{name}: {value} is not between {least} and {most}"))),
        Err(_) => Err(Failure::usage(format!("{name}: `{text}` is not a number"))),
    }
}

fn seconds(name: &str, text: &str) -> Outcome<Timestamp> {
    Ok(Timestamp::from_micros((number(name, text, 0.0, 86_400.0)? * 1e6) as u64))
}

fn read_trace(path: &Path) -> Outcome<Trace> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("--trace: {} cannot be read: {error}", path.display())))?;
    Trace::parse(&text).map_err(|error| Failure::usage(format!("--trace: {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> NetworkArgs {
        let plain = |text: &str| text.to_string();
        NetworkArgs {
            delay: plain("20"),
            jitter: plain("0"),
            loss: plain("0"),
            burst: plain("1"),
            queue: plain("300"),
            ..NetworkArgs::default()
        }
    }

    #[test]
    fn a_value_holds_for_both_directions_unless_one_is_named() {
        let network = Network::parse(&NetworkArgs { loss: "up:5,down:20".into(), ..args() }).unwrap();
        assert_eq!(network.up.loss, Share::from_percent(5.0));
        assert_eq!(network.down.loss, Share::from_percent(20.0));
        assert_eq!(network.up.delay, Duration::from_millis(20));
        assert_eq!(network.down.delay, Duration::from_millis(20));
    }

    #[test]
    fn anything_may_change_at_a_moment() {
        let network =
            Network::parse(&NetworkArgs { at: vec!["10:loss=up:40,down:5,delay=80".into()], ..args() })
                .unwrap();
        assert_eq!(network.changes.len(), 4);
        assert!(network.changes.contains(&(
            Timestamp::from_millis(10_000),
            true,
            Change::Loss(Share::from_percent(40.0))
        )));
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (wrong, word) in [("ten", "not a number"), ("101", "not between")] {
            let failure = Network::parse(&NetworkArgs { loss: wrong.into(), ..args() }).unwrap_err();
            assert!(failure.message.contains("--loss") && failure.message.contains(word), "{failure}");
        }
        let failure = Network::parse(&NetworkArgs { at: vec!["5:color=red".into()], ..args() }).unwrap_err();
        assert!(failure.message.contains("color"), "{failure}");
    }
}
