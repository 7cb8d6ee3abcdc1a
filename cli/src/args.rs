//! The command line: each flag with its short line for `-h` and its reason for `--help`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use undertone_media::{SampleRate, Sound};

/// Voice and video calls for networks that others give up on.
#[derive(Debug, Parser)]
#[command(name = "undertone", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    /// More log lines on stderr: -v what happens, -vv each decision.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Results go to stdout, logs to stderr.\n\
    Exit codes: 0 ok, 2 usage, 3 authentication, 4 unreachable, 5 media, 6 device, 7 quality gate.";

/// What undertone can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Join a room and talk.
    Call(Box<CallArgs>),
    /// Run the SFU: rooms, browser page, signalling, media.
    Serve(ServeArgs),
    /// Print a room link with a token for one participant.
    Token(TokenArgs),
    /// Run the real engine over an emulated network in virtual time.
    #[command(subcommand)]
    Lab(LabCommand),
    /// Hold a real call of three through an emulated weak link, and leave a report to open.
    Demo(DemoArgs),
    /// List microphones and speakers.
    Devices,
}

/// What is filmed.
#[derive(Debug, Args)]
pub struct VideoArgs {
    /// Send video (in the lab, from a): a test pattern, or a y4m file played in a loop.
    #[arg(long, value_name = "pattern|FILE.y4m")]
    pub video: Option<String>,
    /// What pictures keep longest where the path carries few bits: motion (they become smaller) or detail (they become
    /// fewer).
    #[arg(long, value_enum, default_value = "smooth")]
    pub prefer: Prefer,
}

/// What pictures keep longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Prefer {
    /// Motion.
    Smooth,
    /// Detail.
    Clear,
}

impl From<Prefer> for undertone_engine::Prefer {
    fn from(prefer: Prefer) -> undertone_engine::Prefer {
        match prefer {
            Prefer::Smooth => undertone_engine::Prefer::Smooth,
            Prefer::Clear => undertone_engine::Prefer::Clear,
        }
    }
}

/// `undertone call`.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// The room's link, as `undertone serve` or `undertone token` prints it.
    pub room_url: String,
    /// What to say: a WAV file (played in a loop), `tone`, `silence`, or `device` (the microphone).
    #[arg(long = "in", value_name = "FILE|tone|silence|device", default_value = default_source())]
    pub input: String,
    /// Where what is heard and seen goes: a folder, or `device` (the speaker). Default: the speaker where
    /// the build has devices, else nowhere.
    #[arg(long, value_name = "DIR|device")]
    pub out: Option<String>,
    /// What is filmed.
    #[command(flatten)]
    pub video: VideoArgs,
    /// Leave after this many seconds. Default: stay until interrupted.
    #[arg(long, value_name = "N")]
    pub secs: Option<u64>,
    /// How speech is coded and decoded.
    #[command(flatten)]
    pub coding: CodingArgs,
    /// What is sent and heard.
    #[command(flatten)]
    pub sound: SoundArgs,
    /// The name that others see.
    #[arg(long, default_value = "undertone")]
    pub name: String,
    /// Trust this certificate (PEM) of a server that has none from a public authority.
    #[arg(long, value_name = "FILE.pem")]
    pub trust: Option<PathBuf>,
    /// Results as NDJSON on stdout.
    #[arg(long)]
    pub json: bool,
    /// Fail with exit code 7 if the estimated MOS (E-model) of what was heard is lower.
    #[arg(long, value_name = "MOS")]
    pub min_mos: Option<f64>,
    /// Fail with exit code 7 if a larger share of packets, in percent, was lost for good.
    #[arg(long, value_name = "PERCENT")]
    pub max_loss: Option<f64>,
}

const fn default_source() -> &'static str {
    if cfg!(feature = "device") { "device" } else { "tone" }
}

/// How much of the processor speech may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Effort {
    /// A slow processor, or one that has other things to do.
    Low,
    /// What nearly every processor has to spare.
    Medium,
    /// Whatever helps.
    High,
}

impl From<Effort> for undertone_engine::Effort {
    fn from(effort: Effort) -> undertone_engine::Effort {
        match effort {
            Effort::Low => undertone_engine::Effort::Low,
            Effort::Medium => undertone_engine::Effort::Medium,
            Effort::High => undertone_engine::Effort::High,
        }
    }
}

/// How speech is coded and decoded.
#[derive(Clone, Copy, Debug, Args)]
pub struct CodingArgs {
    /// How much of the processor coding and decoding speech may take.
    #[arg(long, value_enum, default_value = "medium")]
    pub effort: Effort,
    /// Send next to nothing while nobody speaks; the listener's end makes comfort noise meanwhile.
    #[arg(long)]
    pub dtx: bool,
}

impl From<CodingArgs> for undertone_engine::Coding {
    fn from(args: CodingArgs) -> undertone_engine::Coding {
        undertone_engine::Coding { effort: args.effort.into(), dtx: args.dtx }
    }
}

/// What is sent and heard beside plain speech.
#[derive(Clone, Copy, Debug, Args)]
pub struct SoundArgs {
    /// Send music instead of a voice, and hear at 48 kHz: mono, the full band up to 20 kHz. Where the path is too thin or
    /// lossy a voice is sent until it carries music again.
    #[arg(long)]
    pub music: bool,
    /// Hear at 48 kHz, whatever others send; send a voice.
    #[arg(long)]
    pub full_band: bool,
}

impl SoundArgs {
    /// Samples a second of what goes in and comes out.
    pub fn rate(self) -> SampleRate {
        if self.music || self.full_band { SampleRate::Full } else { SampleRate::Wide }
    }

    /// What is sent.
    pub fn sound(self) -> Sound {
        if self.music { Sound::Music } else { Sound::Speech }
    }
}

/// `undertone serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where HTTP and WebSocket listen.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7880")]
    pub http: SocketAddr,
    /// Where media arrives: one UDP port for everybody.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7881")]
    pub media: SocketAddr,
    /// The media address that participants are told, where it is not the one bound (NAT, container).
    #[arg(long, value_name = "ADDR:PORT")]
    pub public: Vec<SocketAddr>,
    /// Secret that signs tokens. Without it the server is open to everybody who reaches it.
    #[arg(long, value_name = "SECRET", env = "UNDERTONE_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// A room that there is; may be repeated. Without it a room is there as soon as somebody joins it.
    #[arg(long, value_name = "NAME")]
    pub room: Vec<String>,
    /// TLS certificate chain (PEM). Browsers give the microphone only to https or localhost.
    #[arg(long, value_name = "FILE.pem", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// TLS private key (PEM).
    #[arg(long, value_name = "FILE.pem", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Results as NDJSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// `undertone token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The server's base address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7880")]
    pub url: String,
    /// The room to admit to.
    #[arg(long)]
    pub room: String,
    /// The name of the participant.
    #[arg(long)]
    pub name: String,
    /// The secret of the server.
    #[arg(long, value_name = "SECRET", env = "UNDERTONE_KEY", hide_env_values = true)]
    pub key: String,
    /// Valid for so many minutes from now.
    #[arg(long, default_value_t = 60)]
    pub minutes: u64,
}

/// `undertone lab`.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// A whole call: two ends, or three through the SFU.
    Call(Box<LabCallArgs>),
    /// The receiver alone on recorded arrival times: jitter buffer, decoder, concealment, stretching.
    Jitter(LabJitterArgs),
    /// Codec, plan and protection alone, under losses that are known.
    Speech(LabSpeechArgs),
    /// The congestion controller and the pacer alone: RFC 8867's cases, random loss, steps, recorded links.
    Congestion(LabCongestionArgs),
}

/// `undertone lab congestion`.
///
/// Flows of 30 pictures a second that are as large as the estimate has it, one link, reports every 50 ms. Cases: 5.1 to 5.8
/// (RFC 8867; 5.6:1000 with a queue of 1000 ms), loss:PERCENT (2 Mbit/s), steps:KBPS@SECS,…, trace:FILE (mahimahi's format).
#[derive(Debug, Args)]
pub struct LabCongestionArgs {
    /// 5.1 to 5.8 of RFC 8867 (5.6:1000 with a queue of 1000 ms), loss:PERCENT (of 2 Mbit/s), steps:KBPS@SECS,…, or trace:FILE
    /// in mahimahi's format. Default: all that need no file.
    #[arg(long, value_name = "CASE")]
    pub case: Option<String>,
    /// No flow sends more.
    #[arg(long, value_name = "KBPS", default_value_t = 1500, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    pub rmax: u64,
    /// No flow sends less.
    #[arg(long, value_name = "KBPS", default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rmin: u64,
    /// The rate that flows begin with.
    #[arg(long, value_name = "KBPS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub start: u64,
    /// Length of the drop-tail queue, instead of the case's.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub queue: Option<u64>,
    /// Replays a run exactly.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Writes report.html here.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The result as a line of JSON for each case on stdout.
    #[arg(long)]
    pub json: bool,
    /// Additive increase and multiplicative decrease instead of ours.
    #[arg(long, conflicts_with = "peer")]
    pub aimd: bool,
    /// Another controller instead of ours: a program that is told each event in a line and answers with rates.
    #[arg(long, value_name = "COMMAND")]
    pub peer: Option<String>,
}

/// `undertone lab speech`.
///
/// The plan is made for the losses given, and kept to; `--plan` gives another. A packet is there at once or lost; what
/// is missing may come back until the lookahead is over.
#[derive(Debug, Args)]
pub struct LabSpeechArgs {
    /// What is said (WAV, once).
    #[arg(long, value_name = "A.wav")]
    pub speech: PathBuf,
    /// What the packets may take of the wire: their payload, and 40 bytes of headers each.
    #[arg(long, value_name = "K", value_parser = kbps)]
    pub wire_kbps: f64,
    /// Packets lost, in percent.
    #[arg(long, value_name = "PERCENT", default_value = "0")]
    pub loss: String,
    /// Mean length of a run of losses, in packets.
    #[arg(long, value_name = "N", default_value = "1")]
    pub burst: String,
    /// All is lost for BADMS after each GOODMS, on average.
    #[arg(long, value_name = "GOODMS/BADMS", conflicts_with = "loss")]
    pub outage: Option<String>,
    /// How long the listener waits for what is missing.
    #[arg(long, value_name = "L", default_value_t = 300, value_parser = clap::value_parser!(u64).range(0..=2000))]
    pub lookahead_ms: u64,
    /// A plan to keep to instead, as `--json` prints it.
    #[arg(long, value_name = "JSON")]
    pub plan: Option<String>,
    /// Replays a run exactly.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Writes sent.wav, received.wav and report.html here.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The result as one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// A rate at which there is a wire at all.
fn kbps(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is no rate in kbit/s, such as 24"))?;
    if (1.0..=1_000.0).contains(&rate) { Ok(rate) } else { Err("give 1 to 1000 kbit/s".into()) }
}

/// `undertone lab jitter`.
///
/// Packets hold 20 ms. Playout starts with the first arrival and ends a second after the last packet was sent.
/// Mouth to ear is from the capture of a step's last sample until it has been played; while nothing real plays,
/// capture is reckoned to go on. What the decoder makes up counts as made up, the end of the trace included. These
/// are the definitions of the usual bench of WebRTC's NetEq, which is fed uncoded samples. Here packets are Opus,
/// because its decoder is what conceals; its look-ahead (`codec_lookahead_ms`) is the encoder's and not counted in
/// mouth to ear, so that both measure the buffer.
#[derive(Debug, Args)]
pub struct LabJitterArgs {
    /// When packets came: lines `seq,send_ms,arrival_ms`, −1 for a lost one; a header may come first.
    #[arg(long, value_name = "FILE.csv")]
    pub arrivals: PathBuf,
    /// What is said (WAV, in a loop from the first packet).
    #[arg(long, value_name = "A.wav")]
    pub speech: PathBuf,
    /// Rate of the Opus packets. High by default, so that what is heard is playout and not the codec; a call's is 22.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(6..=128))]
    pub kbps: u32,
    /// Writes sent.wav, played.wav and report.html here.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The result as one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Who carries the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// Two participants, directly.
    P2p,
    /// Three participants through the SFU; the link is each one's to the SFU.
    Sfu,
}

/// `undertone lab call`.
///
/// An impairment is one value for both directions, or `up:` and `down:` values: `--loss up:5,down:20`.
/// With p2p the link is b's, so `down` is what a sends to b.
#[derive(Debug, Args)]
#[command(next_help_heading = "Call")]
pub struct LabCallArgs {
    /// What a says (WAV, in a loop from when the call is up).
    #[arg(long, value_name = "A.wav")]
    pub speech: PathBuf,
    /// What b says. Default: the same.
    #[arg(long, value_name = "B.wav")]
    pub speech_back: Option<PathBuf>,
    /// Length of the call.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub secs: u64,
    /// How speech is coded and decoded, at each end.
    #[command(flatten)]
    pub coding: CodingArgs,
    /// What each end sends and hears.
    #[command(flatten)]
    pub sound: SoundArgs,
    /// Who carries the media.
    #[arg(long, value_enum, default_value = "p2p")]
    pub topology: Topology,
    /// What is filmed.
    #[command(flatten)]
    pub video: VideoArgs,
    /// Replays a run exactly.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Writes sent.wav, received.wav, received.y4m, wire.pcapng, stats.ndjson and report.html here.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The result as one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
    /// The emulated network.
    #[command(flatten, next_help_heading = "Network")]
    pub network: NetworkArgs,
    /// Fail with exit code 7 if the E-model MOS of what b heard is lower.
    #[arg(long, value_name = "MOS", help_heading = "Quality gates")]
    pub min_mos: Option<f64>,
    /// Fail with exit code 7 if a larger share of packets, in percent, was lost for good.
    #[arg(long, value_name = "PERCENT", help_heading = "Quality gates")]
    pub max_loss: Option<f64>,
}

/// The emulated network, as text; `lab::network` reads it.
#[derive(Clone, Debug, Default, Args)]
pub struct NetworkArgs {
    /// One-way delay.
    #[arg(long, value_name = "MS", default_value = "20")]
    pub delay: String,
    /// Delay added to each packet: uniform from 0 to this, without reordering.
    #[arg(long, value_name = "MS", default_value = "0")]
    pub jitter: String,
    /// Packets lost, in percent.
    #[arg(long, value_name = "PERCENT", default_value = "0")]
    pub loss: String,
    /// Mean length of a run of losses, in packets.
    #[arg(long, value_name = "N", default_value = "1")]
    pub burst: String,
    /// All is lost for BADMS after each GOODMS.
    #[arg(long, value_name = "GOODMS/BADMS", conflicts_with = "loss")]
    pub outage: Option<String>,
    /// Bottleneck rate; counts IP and UDP headers. Default: no limit.
    #[arg(long, value_name = "KBPS")]
    pub rate: Option<String>,
    /// Length of the drop-tail queue before the bottleneck.
    #[arg(long, value_name = "MS", default_value = "300")]
    pub queue: String,
    /// Bottleneck from a trace in mahimahi's format (a line: the ms at which 1504 bytes may leave).
    #[arg(long, value_name = "FILE", conflicts_with = "rate")]
    pub trace: Option<PathBuf>,
    /// The trace of the other direction (up). Default: the same.
    #[arg(long, value_name = "FILE", requires = "trace")]
    pub trace_up: Option<PathBuf>,
    /// The bottleneck's rate from a moment on: `2000@0,400@20,2000@40`.
    #[arg(long, value_name = "KBPS@SECS,…", conflicts_with = "trace")]
    pub steps: Option<String>,
    /// Changes anything at a moment: `10:loss=40,delay=80`. May be repeated.
    #[arg(long, value_name = "SECS:KEY=VALUE,…")]
    pub at: Vec<String>,
}

/// `undertone demo`: what `make call` runs.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Length of the call.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub secs: u64,
    /// What the participants say, one WAV each; the first two are enough.
    #[arg(long, value_name = "FILE.wav", num_args = 1..)]
    pub speech: Vec<PathBuf>,
    /// Where the report goes.
    #[arg(long, value_name = "DIR", default_value = "out/call")]
    pub out: PathBuf,
    /// Replays the losses of a run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// No weak link: what loopback alone does.
    #[arg(long)]
    pub clean: bool,
    /// The weak link between each participant and the SFU.
    #[command(flatten, next_help_heading = "Network")]
    pub network: NetworkArgs,
    /// The result as one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
}
