//! The loop: datagrams and signals reach the machine, beats and deadlines are on time.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::time::Duration;
use undertone_io::run::{Beat, Hook, run};
use undertone_io::udp::Socket;
use undertone_io::{Clock, Signal, mailbox};
use undertone_media::{Input, Machine, Output, Timestamp, Transmit};

/// Sends every datagram back, turns signals round, and asks for a tick every `tick_every`.
#[derive(Default)]
struct Echo {
    out: VecDeque<Output>,
    tick_every: Option<Duration>,
    deadline: Option<Timestamp>,
    lateness: Vec<Duration>,
    ticks: usize,
    reached: Vec<SocketAddr>,
}

impl Machine for Echo {
    fn handle(&mut self, now: Timestamp, input: Input<'_>) {
        match input {
            Input::Datagram { from, to, bytes } => {
                self.reached.push(to);
                let bytes = bytes.to_vec();
                self.out.push_back(Output::Transmit(Transmit { to: from, from: Some(to), bytes }));
            }
            Input::Signal { channel, message } => {
                self.out.push_back(Output::Signal { channel, message: message.to_vec() })
            }
            Input::SignalClosed { channel } => self.out.push_back(Output::CloseSignal { channel }),
            Input::Tick => {
                self.ticks += 1;
                if let (Some(deadline), Some(every)) = (self.deadline, self.tick_every) {
                    self.lateness.push(now.since(deadline));
                    self.deadline = Some(deadline + every);
                }
            }
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }
}

#[derive(Default)]
struct Record {
    until: Option<Timestamp>,
    period: Duration,
    beats: Vec<Beat>,
    signals: Vec<Signal>,
    on_beat: Option<Box<dyn FnMut(usize)>>,
}

impl Record {
    fn until(millis: u64, clock: &Clock) -> Record {
        let until = Some(clock.now() + Duration::from_millis(millis));
        Record { until, period: Duration::from_millis(10), ..Record::default() }
    }
}

impl Hook<Echo> for Record {
    fn period(&self) -> Duration {
        self.period
    }

    fn beat(&mut self, beat: Beat, _machine: &mut Echo) -> ControlFlow<()> {
        self.beats.push(beat);
        if let Some(act) = &mut self.on_beat {
            act(self.beats.len());
        }
        if self.until.is_some_and(|until| beat.now >= until) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn signal(&mut self, signal: Signal) {
        self.signals.push(signal);
    }
}

fn median(mut spans: Vec<Duration>) -> Duration {
    spans.sort();
    spans[spans.len() / 2]
}

#[test]
fn datagrams_come_back_from_the_address_that_they_reached() {
    let clock = Clock::new();
    let socket = Socket::bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let server = SocketAddr::new("127.0.0.1".parse().unwrap(), socket.local_addr().port());
    let client = std::thread::spawn(move || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut round_trips = Vec::new();
        for n in 0..200u32 {
            let began = std::time::Instant::now();
            client.send_to(&n.to_be_bytes(), server).unwrap();
            let mut answer = [0; 10];
            let (len, from) = client.recv_from(&mut answer).unwrap();
            assert_eq!((&answer[..len], from), (&n.to_be_bytes()[..], server));
            round_trips.push(began.elapsed());
        }
        round_trips
    });
    let (_mailbox, inbox) = mailbox::mailbox().unwrap();
    let mut machine = Echo::default();
    let mut hook = Record::until(10_000, &clock);
    // Ends once all have been answered, seen through the machine that the hook is lent.
    struct UntilAnswered<'a>(&'a mut Record);
    impl Hook<Echo> for UntilAnswered<'_> {
        fn beat(&mut self, beat: Beat, machine: &mut Echo) -> ControlFlow<()> {
            if machine.reached.len() >= 200 { ControlFlow::Break(()) } else { self.0.beat(beat, machine) }
        }
        fn signal(&mut self, signal: Signal) {
            self.0.signal(signal);
        }
    }
    let traffic = run(&mut machine, &mut UntilAnswered(&mut hook), &clock, &[socket], &inbox).unwrap();
    let round_trips = client.join().unwrap();
    assert_eq!((traffic.received, traffic.sent, traffic.unsent), (200, 200, 0));
    assert!(machine.reached.iter().all(|&to| to == server));
    println!("median round trip {:?}", median(round_trips));
}

#[test]
fn signals_wake_the_loop_and_go_back_through_the_hook() {
    let clock = Clock::new();
    let (mailbox, inbox) = mailbox::mailbox().unwrap();
    let messages: Vec<Signal> = (0..100)
        .map(|n| Signal::Message { channel: n % 3, message: vec![n as u8] })
        .chain([Signal::Closed { channel: 1 }])
        .collect();
    let sent = messages.clone();
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        for signal in sent {
            mailbox.try_send(signal).unwrap();
        }
    });
    let mut hook = Record { period: Duration::from_millis(200), ..Record::until(150, &clock) };
    let traffic = run(&mut Echo::default(), &mut hook, &clock, &[], &inbox).unwrap();
    sender.join().unwrap();
    assert_eq!(hook.signals, messages, "in order, before the next beat at 200 ms");
    assert_eq!(traffic.signals, 101);
}

#[test]
fn deadlines_and_beats_are_on_time() {
    let clock = Clock::new();
    let (_mailbox, inbox) = mailbox::mailbox().unwrap();
    let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let every = Duration::from_micros(3_300);
    let mut machine =
        Echo { tick_every: Some(every), deadline: Some(clock.now() + every), ..Echo::default() };
    let mut hook = Record::until(1000, &clock);
    run(&mut machine, &mut hook, &clock, &[socket], &inbox).unwrap();

    let beats: Vec<_> = hook.beats.iter().map(|beat| beat.now.since(beat.due)).collect();
    assert!(hook.beats.windows(2).all(|two| two[1].due.since(two[0].due) == Duration::from_millis(10)));
    assert!((50..=102).contains(&beats.len()), "{} beats in a second", beats.len());
    assert!((150..=304).contains(&machine.ticks), "{} ticks in a second", machine.ticks);
    let (beat, tick) = (median(beats), median(machine.lateness));
    println!("median lateness: beat {beat:?}, deadline {tick:?}");
    assert!(beat < Duration::from_millis(2) && tick < Duration::from_millis(2), "{beat:?} {tick:?}");
}

#[test]
fn a_machine_stuck_in_the_past_does_not_spin() {
    let clock = Clock::new();
    let (_mailbox, inbox) = mailbox::mailbox().unwrap();
    let mut machine = Echo { deadline: Some(Timestamp::ZERO), ..Echo::default() };
    run(&mut machine, &mut Record::until(200, &clock), &clock, &[], &inbox).unwrap();
    assert!((20..=202).contains(&machine.ticks), "{} ticks in 200 ms", machine.ticks);
}

#[test]
fn short_delays_are_made_up_for_and_long_ones_forgotten() {
    let clock = Clock::new();
    let (_mailbox, inbox) = mailbox::mailbox().unwrap();
    let mut hook = Record::until(1000, &clock);
    hook.on_beat = Some(Box::new(|beat| match beat {
        5 => std::thread::sleep(Duration::from_millis(100)),
        30 => std::thread::sleep(Duration::from_millis(700)),
        _ => {}
    }));
    run(&mut Echo::default(), &mut hook, &clock, &[], &inbox).unwrap();
    let steps: Vec<_> = hook.beats.windows(2).map(|two| two[1].due.since(two[0].due).as_millis()).collect();
    assert!(steps[..29].iter().all(|&step| step == 10), "100 ms are made up for: {steps:?}");
    assert!(steps[29] >= 700, "700 ms are skipped: {steps:?}");
}

#[test]
fn what_cannot_be_sent_is_counted_and_nothing_else() {
    let clock = Clock::new();
    let (_mailbox, inbox) = mailbox::mailbox().unwrap();
    let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut machine = Echo::default();
    // IPv6 from an IPv4 socket, and more than a datagram holds.
    for (to, len) in [("[::1]:9", 10), ("127.0.0.1:9", 70_000)] {
        let transmit = Transmit { to: to.parse().unwrap(), from: None, bytes: vec![0; len] };
        machine.out.push_back(Output::Transmit(transmit));
    }
    let traffic = run(&mut machine, &mut Record::until(20, &clock), &clock, &[socket], &inbox).unwrap();
    assert_eq!((traffic.sent, traffic.unsent), (0, 2));
}
