//! The SFU's HTTP server: the web page, health, metrics, and WebSockets bridged to the machine's inbox.
//!
//! Why: browsers reach a server by HTTP alone. Each WebSocket becomes a numbered signalling channel; one
//! binary frame is one message (RFC 6455 §5.6), whose meaning is the machine's.
//!
//! A client can cost no more than its bounds: 64 KiB a message, [`Config::queue`] messages waiting towards
//! it, 10 s to say what it wants, 45 s of silence. A client that reads slower than the room speaks is
//! closed; it may join again.
//!
//! Not here: tokens (in the messages), WHIP and WHEP, limits per address (a reverse proxy's business).

use crate::mailbox::{Mailbox, Signal};
use crate::shutdown::Shutdown;
use crate::tls;
use crate::udp::BindError;
use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

/// The largest message taken from a client: an SDP offer with many sections is under 20 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// How often a client is pinged, which also keeps NATs and proxies from forgetting it.
const PING_EVERY: Duration = Duration::from_secs(15);

/// A client from which nothing came for so long, not even an answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(45);

/// How long a client may take over a request's headers, and over taking one message from us.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file served as it is.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where, such as `/` or `/app.js`. The page at `/` also answers for every room, `/ROOM`.
    pub path: String,
    /// Such as `text/html; charset=utf-8`.
    pub content_type: &'static str,
    /// The content.
    pub body: Vec<u8>,
}

/// The server's certificate chain and key, PEM.
#[derive(Clone)]
pub struct Tls {
    /// The certificate, then its issuers.
    pub certificate_pem: Vec<u8>,
    /// The unencrypted private key.
    pub key_pem: Vec<u8>,
}

/// Writes a document on request, from whatever it shares with the machine's hook.
pub type Report = Arc<dyn Fn() -> String + Send + Sync>;

/// What the server serves.
#[derive(Clone)]
pub struct Config {
    /// Where it listens (TCP). Default 127.0.0.1 port 0: nobody else's machine, any free port.
    pub listen: SocketAddr,
    /// With it HTTPS and WSS only, without it HTTP and WS only. Default none.
    pub tls: Option<Tls>,
    /// The path of the WebSocket. Default `/ws`. Rooms cannot have the names of paths that are taken.
    pub websocket_path: String,
    /// The web client. Default nothing.
    pub pages: Vec<Page>,
    /// `/healthz`: JSON. Default `{"status":"ok"}`.
    pub healthz: Report,
    /// `/metrics`: Prometheus text. Default empty.
    pub metrics: Report,
    /// How many WebSockets at once; further ones are answered 503. Default 10 000.
    pub max_channels: usize,
    /// How many messages wait towards one client before it is closed as too slow. Default 256.
    pub queue: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            websocket_path: "/ws".into(),
            pages: Vec::new(),
            healthz: Arc::new(|| r#"{"status":"ok"}"#.into()),
            metrics: Arc::new(String::new),
            max_channels: 10_000,
            queue: 256,
        }
    }
}

/// Why the server did not start. The text says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpError {
    /// The address cannot be had.
    Bind(BindError),
    /// Certificate or key cannot be used.
    Tls(String),
    /// The operating system refused a thread or a runtime.
    System(io::Error),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Bind(e) => e.fmt(f),
            HttpError::Tls(reason) => write!(f, "HTTPS cannot start: {reason}"),
            HttpError::System(e) => write!(f, "the HTTP server cannot start: {e}"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HttpError::Bind(e) => Some(e),
            HttpError::Tls(_) => None,
            HttpError::System(e) => Some(e),
        }
    }
}

/// The open WebSockets, as their senders see them. Clones are the same set.
#[derive(Clone, Default)]
pub struct Channels {
    open: Arc<Mutex<BTreeMap<u64, Outbound>>>,
}

/// The way to one client.
struct Outbound {
    queue: mpsc::Sender<Signal>,
    /// Told when the queue was full: the bridge gives up even in the middle of a write.
    too_slow: Arc<Notify>,
}

impl Channels {
    /// Sends a message to a client, or closes its channel after what was sent before. Never blocks: what is
    /// for a channel that has gone is dropped, and a client whose queue is full is closed, which the machine
    /// learns as a closed channel.
    pub fn send(&self, signal: Signal) {
        let (Signal::Message { channel, .. } | Signal::Closed { channel }) = signal;
        let mut open = self.lock();
        let closing = matches!(signal, Signal::Closed { .. });
        let Some(outbound) = open.get(&channel) else { return };
        let taken = outbound.queue.try_send(signal);
        if matches!(taken, Err(TrySendError::Full(_))) {
            outbound.too_slow.notify_one();
        }
        if closing || taken.is_err() {
            open.remove(&channel);
        }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Outbound>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server.
pub struct Server {
    addr: SocketAddr,
    channels: Channels,
    ending: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds and starts serving on threads of its own. What clients say goes to `mailbox`.
    ///
    /// # Errors
    /// [`HttpError`]: port taken, unusable certificate or key.
    pub fn start(config: Config, mailbox: Mailbox) -> Result<Server, HttpError> {
        let tls = config
            .tls
            .as_ref()
            .map(|tls| tls::server_config(&tls.certificate_pem, &tls.key_pem))
            .transpose()
            .map_err(|e| HttpError::Tls(e.to_string()))?;
        let bind_error = |source| HttpError::Bind(BindError { addr: config.listen, protocol: "TCP", source });
        let listener = TcpListener::bind(config.listen).map_err(bind_error)?;
        listener.set_nonblocking(true).map_err(bind_error)?;
        let addr = listener.local_addr().map_err(bind_error)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(HttpError::System)?;

        let channels = Channels::default();
        let ending = Shutdown::new();
        let shared = Arc::new(Shared {
            pages: config.pages.iter().map(|page| (page.path.clone(), Served::from(page))).collect(),
            config,
            mailbox,
            channels: channels.clone(),
            ending: ending.clone(),
            next_channel: AtomicU64::new(1),
            bridges: AtomicUsize::new(0),
        });
        let stop = ending.clone();
        let thread = std::thread::Builder::new()
            .name("http".into())
            .spawn(move || {
                runtime.block_on(serve(listener, tls, shared, stop));
                runtime.shutdown_timeout(Duration::from_secs(1));
            })
            .map_err(HttpError::System)?;
        Ok(Server { addr, channels, ending, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The way back to the clients.
    pub fn channels(&self) -> Channels {
        self.channels.clone()
    }

    /// Takes no new clients, closes the WebSockets with code 1001 (going away) after what was sent to them,
    /// and comes back when all is done, after 4 s at the latest. Dropping does the same.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.ending.trigger();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Clone)]
struct Served {
    content_type: &'static str,
    body: Bytes,
}

impl From<&Page> for Served {
    fn from(page: &Page) -> Served {
        Served { content_type: page.content_type, body: Bytes::from(page.body.clone()) }
    }
}

struct Shared {
    config: Config,
    pages: BTreeMap<String, Served>,
    mailbox: Mailbox,
    channels: Channels,
    ending: Shutdown,
    next_channel: AtomicU64,
    /// Bridges at work, including those that are only saying goodbye.
    bridges: AtomicUsize,
}

async fn serve(
    listener: TcpListener,
    tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
    shared: Arc<Shared>,
    stop: Shutdown,
) {
    let app = Router::new()
        .route(&shared.config.websocket_path, any(websocket))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/", get(index))
        .route("/{*path}", get(page))
        .with_state(shared.clone())
        .into_make_service();
    let handle = axum_server::Handle::new();
    let closer = handle.clone();
    tokio::spawn(async move {
        stop.triggered().await;
        closer.graceful_shutdown(Some(Duration::from_secs(2)));
    });
    // The listener is bound already; what is left to fail is the runtime itself, and then there is nobody
    // to serve and nobody to tell.
    let Ok(mut server) = axum_server::from_tcp(listener) else { return };
    server.http_builder().http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(PATIENCE);
    let server = server.handle(handle);
    let _ = match tls {
        None => server.acceptor(NoDelayAcceptor::new()).serve(app).await,
        Some(tls) => {
            let acceptor =
                RustlsAcceptor::new(RustlsConfig::from_config(tls)).acceptor(NoDelayAcceptor::new());
            server.acceptor(acceptor).serve(app).await
        }
    };
    // Upgraded connections are no longer the HTTP server's: give them a moment to say goodbye.
    let deadline = Instant::now() + Duration::from_secs(1);
    while shared.bridges.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let json = (shared.config.healthz)();
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], json).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = (shared.config.metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn index(State(shared): State<Arc<Shared>>) -> Response {
    answer(shared.pages.get("/"))
}

async fn page(State(shared): State<Arc<Shared>>, Path(path): Path<String>) -> Response {
    let found = shared.pages.get(&format!("/{path}")).or_else(|| {
        // `/ROOM` is the page itself, which reads the room from its own address. A name with a dot or
        // another slash is a file that is not there.
        let is_room = !path.contains(['/', '.']);
        shared.pages.get("/").filter(|_| is_room)
    });
    answer(found)
}

fn answer(page: Option<&Served>) -> Response {
    let Some(page) = page else {
        return (StatusCode::NOT_FOUND, "There is nothing here. A room's link is /ROOM.\n").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(page.content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, page.body.clone()).into_response()
}

async fn websocket(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    if shared.ending.is_triggered() || shared.bridges.load(Ordering::SeqCst) >= shared.config.max_channels {
        return (StatusCode::SERVICE_UNAVAILABLE, "The server is full or closing: try again later.\n")
            .into_response();
    }
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .on_upgrade(move |socket| bridge(socket, shared))
}

/// One client, from its upgrade to its end.
async fn bridge(mut socket: WebSocket, shared: Arc<Shared>) {
    shared.bridges.fetch_add(1, Ordering::SeqCst);
    let channel = shared.next_channel.fetch_add(1, Ordering::Relaxed);
    let (queue, outbound) = mpsc::channel(shared.config.queue.max(1));
    let too_slow = Arc::new(Notify::new());
    shared.channels.lock().insert(channel, Outbound { queue, too_slow: too_slow.clone() });
    let farewell = tokio::select! {
        farewell = converse(&mut socket, channel, outbound, &shared) => farewell,
        // It does not read, so it is told nothing.
        () = too_slow.notified() => None,
    };
    shared.channels.lock().remove(&channel);
    let _ = shared.mailbox.send(Signal::Closed { channel }).await;
    if let Some((code, reason)) = farewell {
        let frame = CloseFrame { code, reason: reason.into() };
        let _ = timeout(Duration::from_millis(500), socket.send(Message::Close(Some(frame)))).await;
    }
    shared.bridges.fetch_sub(1, Ordering::SeqCst);
}

/// Why a bridge ends: the close frame to send, or `None` if none can be sent.
type Farewell = Option<(u16, &'static str)>;

const CLOSING: Farewell = Some((close_code::AWAY, "the server is closing"));

/// Carries messages both ways until either side is done.
async fn converse(
    socket: &mut WebSocket,
    channel: u64,
    mut outbound: mpsc::Receiver<Signal>,
    shared: &Shared,
) -> Farewell {
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            out = outbound.recv() => {
                // Without its sender the channel was closed by the machine, whose last words were before.
                let signal = out.unwrap_or(Signal::Closed { channel });
                if let Err(farewell) = forward(socket, signal).await {
                    return farewell;
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE || !put(socket, Message::Ping(Bytes::new())).await {
                    return None;
                }
            }
            () = shared.ending.triggered() => {
                while let Ok(signal) = outbound.try_recv() {
                    if let Err(farewell) = forward(socket, signal).await {
                        return farewell;
                    }
                }
                return CLOSING;
            }
            arrived = socket.recv() => {
                heard = Instant::now();
                match arrived {
                    Some(Ok(Message::Binary(bytes))) => {
                        if !shared.mailbox.send(Signal::Message { channel, message: bytes.into() }).await {
                            return CLOSING;
                        }
                    }
                    Some(Ok(Message::Text(_))) => {
                        return Some((close_code::UNSUPPORTED, "messages are binary"));
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_))) | None => return None,
                    Some(Err(_)) => return Some((close_code::SIZE, "message too large, or malformed")),
                }
            }
        }
    }
}

/// Sends what the machine wants sent; `Err` if that was the end.
async fn forward(socket: &mut WebSocket, signal: Signal) -> Result<(), Farewell> {
    match signal {
        Signal::Message { message, .. } => match put(socket, Message::Binary(message.into())).await {
            true => Ok(()),
            false => Err(None),
        },
        Signal::Closed { .. } => Err(Some((close_code::NORMAL, ""))),
    }
}

/// False if the client has gone or does not take it in time.
async fn put(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(PATIENCE, socket.send(message)).await, Ok(Ok(())))
}
