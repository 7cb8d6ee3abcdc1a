//! `undertone serve`: the SFU core as a server: HTTP, WebSocket signalling, one UDP port for all media.

use crate::args::{ServeArgs, TokenArgs};
use crate::exit::{Failure, Outcome};
use crate::web;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use undertone_io::http::{self, Channels, Server, Tls};
use undertone_io::run::{Beat, Hook, run};
use undertone_io::udp::Socket;
use undertone_io::{Clock, Mailbox, Shutdown, Signal};
use undertone_media::Timestamp;
use undertone_sfu::{Config, Sfu, Stats};
use undertone_signaling::token::{self, Claims};

/// How long participants get to leave after SIGTERM.
const DRAIN: Duration = Duration::from_secs(3);
/// Between two looks at the statistics for `/healthz` and `/metrics`.
const LOOK: Duration = Duration::from_millis(500);

/// What a server needs to know.
pub struct Options {
    /// TCP: page and signalling.
    pub http: SocketAddr,
    /// UDP: media.
    pub media: SocketAddr,
    /// Addresses that participants are told, if not those bound.
    pub public: Vec<SocketAddr>,
    /// Signs tokens; `None`: open to everybody.
    pub key: Option<Vec<u8>>,
    /// The only rooms; `None`: any.
    pub only_rooms: Option<BTreeSet<String>>,
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
}

/// A server at work on threads of its own. Dropping it stops it hard; [`Running::stop`] lets people go.
pub struct Running {
    /// Where the page is.
    pub http: SocketAddr,
    /// Where media arrives.
    pub media: SocketAddr,
    shutdown: Shutdown,
    mailbox: Mailbox,
    server: Option<Server>,
    worker: Option<JoinHandle<()>>,
}

impl Running {
    /// Tells participants that the server goes, waits until they are gone, for [`DRAIN`] at most.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shutdown.trigger();
        self.mailbox.wake();
        if let Some(worker) = self.worker.take() {
            // A worker that panicked has said so on stderr already.
            let _ = worker.join();
        }
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lends the SFU its signalling and watches for the end.
struct Worker {
    channels: Channels,
    shutdown: Shutdown,
    stats: Arc<Mutex<Stats>>,
    looked: Option<Timestamp>,
    drained: Option<Timestamp>,
}

impl Hook<Sfu> for Worker {
    fn beat(&mut self, beat: Beat, sfu: &mut Sfu) -> ControlFlow<()> {
        if self.looked.is_none_or(|looked| beat.now.since(looked) >= LOOK) {
            self.looked = Some(beat.now);
            *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = sfu.stats();
        }
        if self.shutdown.is_triggered() {
            let since = *self.drained.get_or_insert_with(|| {
                sfu.drain(beat.now);
                beat.now
            });
            if sfu.stats().participants == 0 || beat.now.since(since) >= DRAIN {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn signal(&mut self, signal: Signal) {
        self.channels.send(signal);
    }
}

/// Starts a server.
pub fn start(options: Options, clock: Clock, shutdown: Shutdown) -> Outcome<Running> {
    let socket = Socket::bind(options.media).map_err(Failure::usage)?;
    let media = socket.local_addr();
    let public = if options.public.is_empty() { socket.reachable_addrs() } else { options.public };
    let (mailbox, inbox) = undertone_io::mailbox::mailbox().map_err(Failure::usage)?;
    let stats = Arc::new(Mutex::new(Stats::default()));
    let (health, counters) = (stats.clone(), stats.clone());
    let server = Server::start(
        http::Config {
            listen: options.http,
            tls: options.tls,
            pages: web::pages(),
            healthz: Arc::new(move || healthz(&health.lock().unwrap_or_else(PoisonError::into_inner))),
            metrics: Arc::new(move || metrics(&counters.lock().unwrap_or_else(PoisonError::into_inner))),
            ..http::Config::default()
        },
        mailbox.clone(),
    )
    .map_err(Failure::usage)?;
    let mut worker = Worker {
        channels: server.channels(),
        shutdown: shutdown.clone(),
        stats: stats.clone(),
        looked: None,
        drained: None,
    };
    let config = Config {
        public_addrs: public,
        secret: options.key,
        only_rooms: options.only_rooms,
        unix_epoch_at_start: clock.unix_start(),
        seed: undertone_io::random_seed(),
        ..Config::new(clock.anchor())
    };
    let http = server.local_addr();
    let thread = std::thread::Builder::new()
        .name("sfu".into())
        .spawn(move || {
            let mut sfu = Sfu::new(config);
            if let Err(error) = run(&mut sfu, &mut worker, &clock, &[socket], &inbox) {
                tracing::error!("the media socket failed: {error}");
            }
        })
        .map_err(Failure::usage)?;
    Ok(Running { http, media, shutdown, mailbox, server: Some(server), worker: Some(thread) })
}

fn healthz(stats: &Stats) -> String {
    json!({ "status": "ok", "rooms": stats.rooms, "participants": stats.participants }).to_string()
}

fn metrics(stats: &Stats) -> String {
    web::prometheus(stats)
}

/// `undertone serve`.
pub fn serve(args: &ServeArgs) -> Outcome {
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(Tls { certificate_pem: read(certificate)?, key_pem: read(key)? })
        }
        _ => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let open = args.key.is_none();
    let shutdown = Shutdown::on_signals().map_err(Failure::usage)?;
    let running = start(
        Options {
            http: args.http,
            media: args.media,
            public: args.public.clone(),
            key: args.key.clone().map(String::into_bytes),
            only_rooms: (!args.room.is_empty()).then(|| args.room.iter().cloned().collect()),
            tls,
        },
        Clock::new(),
        shutdown.clone(),
    )?;
    let (http, media) = (running.http, running.media);
    if args.json {
        println!("{}", json!({ "schema": "undertone.serve/1", "http": http, "media": media, "open": open }));
    } else {
        println!("page and signalling   {scheme}://{http}/ROOM");
        println!("media                 {media} (UDP)");
        if open {
            println!(
                "access                open: whoever reaches it may join; --key SECRET makes tokens required"
            );
        } else {
            println!("access                by token: undertone token --room ROOM --name NAME --key SECRET");
        }
    }
    while !shutdown.is_triggered() && running.worker.as_ref().is_some_and(|worker| !worker.is_finished()) {
        std::thread::sleep(Duration::from_millis(50));
    }
    tracing::info!("stopping: participants are told, and have {DRAIN:?} to go");
    running.stop();
    Ok(())
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))
}

/// `undertone token`.
pub fn token(args: &TokenArgs) -> Outcome {
    let expires = Clock::new().unix_start().as_secs() + args.minutes * 60;
    let token = token::mint(args.key.as_bytes(), &Claims::new(&args.room, &args.name, expires));
    println!("{}/{}?token={token}", args.url.trim_end_matches('/'), args.room);
    Ok(())
}
