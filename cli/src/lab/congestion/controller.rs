//! Who decides how fast a flow sends: ours, the baseline, or a peer in a process of its own.
//!
//! Why a process: a peer is a library of another language and build, and the same link, source, reports and account are to
//! serve it and us. It reads a line for each event and answers with one, so that its clock is ours.

use crate::exit::{Failure, Fault, Outcome as Exit};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use undertone_media::{Bitrate, DataSize, Timestamp};
use undertone_transport::bwe::{Aimd, Cc, Cluster, Config, DelayLoss, Fate, Outcome, Wanted};

/// Limits of the estimate, and where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) min: Bitrate,
    pub(super) max: Bitrate,
    pub(super) start: Bitrate,
}

/// Which controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Aimd,
    Peer(String),
}

/// A flow's controller.
pub(super) enum Controller {
    Own(Box<dyn Cc>),
    Peer(Box<Peer>),
}

/// How much faster than the estimate packets leave, so that a frame larger than usual has gone when the next one comes.
const PACING_PERMILLE: u64 = 1_250;
/// A peer's packets of padding.
const PADDING_MOST: DataSize = DataSize::from_bytes(1_200);

impl Controller {
    pub(super) fn new(kind: &Kind, limits: Limits) -> Exit<Controller> {
        let config = Config { start: limits.start, min: limits.min, max: limits.max, ..Config::default() };
        Ok(match kind {
            Kind::Ours => {
                let mut cc = DelayLoss::new(config);
                cc.want(Wanted::More(limits.max));
                Controller::Own(Box::new(cc))
            }
            Kind::Aimd => Controller::Own(Box::new(Aimd::new(config))),
            Kind::Peer(command) => Controller::Peer(Box::new(Peer::start(command, limits)?)),
        })
    }

    pub(super) fn estimate(&self) -> Bitrate {
        match self {
            Controller::Own(cc) => cc.estimate(),
            Controller::Peer(peer) => peer.answer.target,
        }
    }

    pub(super) fn pacing(&self) -> Bitrate {
        match self {
            Controller::Own(cc) => cc.estimate().permille(PACING_PERMILLE),
            Controller::Peer(peer) => peer.answer.pacing,
        }
    }

    /// What is to be sent to find out whether the path carries so much.
    pub(super) fn probe(&mut self, now: Timestamp) -> Option<Cluster> {
        match self {
            Controller::Own(cc) => cc.probe(now),
            Controller::Peer(peer) => {
                peer.answer.probe.map(|(rate, left)| Cluster { rate, left, packet: left.min(PADDING_MOST) })
            }
        }
    }

    pub(super) fn on_sent(&mut self, now: Timestamp, seq: u64, size: DataSize) {
        match self {
            Controller::Own(cc) => cc.on_sent(now, size),
            Controller::Peer(peer) => {
                let probe = u8::from(peer.answer.probe.is_some());
                peer.ask(&format!("sent {} {seq} {} {probe}", now.as_micros(), size.as_bytes()));
            }
        }
    }

    /// `first` is the number of the first outcome; those of the others follow it.
    pub(super) fn on_feedback(&mut self, now: Timestamp, first: u64, outcomes: &[Outcome]) {
        match self {
            Controller::Own(cc) => {
                let newest = outcomes.iter().rev().find(|it| matches!(it.fate, Fate::Arrived(_)));
                cc.on_feedback(now, outcomes, newest.map(|it| now.since(it.sent)));
            }
            Controller::Peer(peer) => {
                let mut line = format!("feedback {} ", now.as_micros());
                let told = |it: &&(u64, &Outcome)| it.1.fate != Fate::Untold;
                let items: Vec<_> = (first..).zip(outcomes).collect();
                let _ = write!(line, "{}", items.iter().filter(told).count());
                for (seq, it) in items.iter().filter(told) {
                    let arrived = match it.fate {
                        Fate::Arrived(at) => at.as_micros() as i64,
                        _ => -1,
                    };
                    let _ = write!(line, " {seq}:{}:{arrived}:{}", it.sent.as_micros(), it.size.as_bytes());
                }
                peer.ask(&line);
            }
        }
    }

    pub(super) fn on_tick(&mut self, now: Timestamp) {
        match self {
            Controller::Own(cc) => cc.on_tick(now),
            Controller::Peer(peer) => peer.ask(&format!("tick {}", now.as_micros())),
        }
    }

    /// The application stops, or goes on.
    pub(super) fn on_pause(&mut self, now: Timestamp, pauses: bool) {
        if let Controller::Peer(peer) = self {
            let word = if pauses { "pause" } else { "resume" };
            peer.ask(&format!("{word} {}", now.as_micros()));
        }
    }

    /// What went wrong with a peer.
    pub(super) fn failure(&mut self) -> Option<Failure> {
        match self {
            Controller::Own(_) => None,
            Controller::Peer(peer) => peer.failure.take(),
        }
    }
}

/// What a peer wants.
#[derive(Clone, Copy, Debug)]
struct Answer {
    target: Bitrate,
    pacing: Bitrate,
    probe: Option<(Bitrate, DataSize)>,
}

/// A controller in another process.
pub(super) struct Peer {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    answer: Answer,
    failure: Option<Failure>,
}

impl Peer {
    fn start(command: &str, limits: Limits) -> Exit<Peer> {
        let failed = |what: &str| Failure::usage(format!("--peer {command}: {what}"));
        let mut words = command.split_whitespace();
        let program = words.next().ok_or_else(|| failed("give a program"))?;
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let (to, from) = child.stdin.take().zip(child.stdout.take()).ok_or_else(|| failed("no pipes"))?;
        let answer = Answer { target: limits.start, pacing: limits.start, probe: None };
        let mut peer = Peer { child, to, from: BufReader::new(from), answer, failure: None };
        let bps = |rate: Bitrate| rate.as_bps();
        peer.ask(&format!("start 0 {} {} {}", bps(limits.min), bps(limits.max), bps(limits.start)));
        peer.failure.take().map_or(Ok(peer), Err)
    }

    fn ask(&mut self, line: &str) {
        if self.failure.is_some() {
            return;
        }
        let mut answer = String::new();
        let exchanged = writeln!(self.to, "{line}")
            .and_then(|()| self.to.flush())
            .and_then(|()| self.from.read_line(&mut answer));
        match (exchanged, Answer::parse(&answer)) {
            (Ok(_), Some(answer)) => self.answer = answer,
            (result, _) => {
                let why = result.err().map_or(format!("it answers `{}`", answer.trim()), |it| it.to_string());
                self.failure = Some(Failure::new(Fault::Usage, format!("--peer, at `{line}`: {why}")));
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    fn parse(line: &str) -> Option<Answer> {
        let numbers: Vec<u64> = line.split_whitespace().map(|it| it.parse().ok()).collect::<Option<_>>()?;
        let &[target, pacing, rate, bytes] = numbers.as_slice() else { return None };
        let probe = (rate > 0 && bytes > 0).then(|| (Bitrate::from_bps(rate), DataSize::from_bytes(bytes)));
        Some(Answer { target: Bitrate::from_bps(target), pacing: Bitrate::from_bps(pacing.max(1)), probe })
    }
}
