//! The GCC of the crate `rtc-interceptor` on a simulated clock: a peer of `undertone lab congestion`.
//!
//! The protocol is described in `../googcc.cc`. This GCC hears nothing but feedback; it has no pacing rate of its
//! own, no probes and no timers, so that every other line is just answered.

use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use rtc_interceptor::{BandwidthEstimator, Gcc, PacketReport};

fn main() -> io::Result<()> {
    let epoch = Instant::now();
    let mut gcc = Gcc::default();
    let mut answers = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if handle(&mut gcc, epoch, &line).is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, line));
        }
        let target = gcc.target_bitrate() as u64;
        writeln!(answers, "{target} {target} 0 0")?;
        answers.flush()?;
    }
    Ok(())
}

/// `None` for a line that is none of the protocol's.
fn handle(gcc: &mut Gcc, epoch: Instant, line: &str) -> Option<()> {
    let mut words = line.split_whitespace();
    let event = words.next()?;
    let now = epoch + Duration::from_micros(words.next()?.parse().ok()?);
    match event {
        "start" => {
            let mut rate = || words.next()?.parse::<f64>().ok();
            let (min, max, start) = (rate()?, rate()?, rate()?);
            *gcc = Gcc::new(start, min, max);
        }
        "feedback" => {
            let items = words.skip(1).map(|item| report(epoch, item));
            gcc.on_reports(now, &items.collect::<Option<Vec<_>>>()?);
        }
        "sent" | "tick" | "pause" | "resume" => {}
        _ => return None,
    }
    Some(())
}

/// SEQ:SENT:ARRIVED:SIZE
fn report(epoch: Instant, item: &str) -> Option<PacketReport> {
    let mut fields = item.split(':').map(|field| field.parse::<i64>().ok());
    let mut field = || fields.next()?;
    let (seq, sent, arrived, size) = (field()?, field()?, field()?, field()?);
    let arrival = u64::try_from(arrived).ok().map(Duration::from_micros);
    Some(PacketReport {
        ssrc: 1,
        id: seq as u64,
        rtp_sequence_number: seq as u16,
        is_twcc: true,
        twcc_sequence_number: seq as u16,
        size: size as usize,
        arrived: arrival.is_some(),
        departure: epoch + Duration::from_micros(sent as u64),
        arrival,
        ecn: Default::default(),
    })
}
