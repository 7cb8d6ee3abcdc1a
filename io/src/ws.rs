//! The client's end of signalling: one WebSocket on a background thread.
//!
//! Why: a call runs on a plain thread and must never wait for TCP. What arrives goes to the loop's
//! [`Mailbox`] as channel 0, what it wants sent is queued here.

use crate::http::MAX_MESSAGE;
use crate::mailbox::{Mailbox, Signal};
use crate::shutdown::Shutdown;
use crate::tls;
pub use crate::tls::Trust;
use futures_util::{SinkExt, StreamExt};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Messages that wait towards the server before the connection counts as dead.
const QUEUE: usize = 256;

/// How often the server is pinged, and how long it may be silent.
const PING_EVERY: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(45);

const CLOSED_HERE: &str = "closed by this side";

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whom to believe. Default the system's roots.
    pub trust: Trust,
    /// How long name lookup, TCP, TLS and upgrade may take together. Default 10 s: slow 2G links need 5.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { trust: Trust::System, timeout: Duration::from_secs(10) }
    }
}

/// Why there is no connection. The text says whose fault it is and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The caller's: not a URL that can be connected to.
    BadUrl(String),
    /// The network's or the server's: nobody answers there.
    Unreachable(String),
    /// The server's or somebody's in between: TLS failed.
    Tls(String),
    /// The server wants other credentials (401 or 403).
    Unauthorized(u16),
    /// The server answered, but not as a signalling server does.
    Refused(u16),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::BadUrl(reason) => {
                write!(f, "{reason}: expected a room's link such as https://calls.example.org/ROOM")
            }
            ConnectError::Unreachable(reason) => {
                write!(
                    f,
                    "{reason}: check the address, and that the server runs and is not behind a firewall"
                )
            }
            ConnectError::Tls(reason) => write!(f, "{reason}"),
            ConnectError::Unauthorized(status) => {
                write!(f, "the server refuses this caller (HTTP {status}): ask for a new link or token")
            }
            ConnectError::Refused(404 | 405) => f.write_str(
                "the server has no signalling there: is it an Undertone server, and the port right?",
            ),
            ConnectError::Refused(status) if *status >= 500 => {
                write!(f, "the server cannot take this call now (HTTP {status}): try again later")
            }
            ConnectError::Refused(status) => {
                write!(
                    f,
                    "the server answered HTTP {status} instead of opening a WebSocket: is the link right?"
                )
            }
        }
    }
}

impl std::error::Error for ConnectError {}

/// An open connection. Dropping it closes it, after what was sent has gone out (for a second at most).
pub struct Client {
    outbound: Option<mpsc::Sender<Signal>>,
    ended: Arc<Mutex<Option<String>>>,
    leaving: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Queues a message, or the end of the connection. Never blocks. False if the connection has ended, or
    /// takes no more: then the inbox learns of its end too.
    pub fn send(&mut self, signal: Signal) -> bool {
        let closing = matches!(signal, Signal::Closed { .. });
        let taken = self.outbound.as_ref().is_some_and(|queue| queue.try_send(signal).is_ok());
        if closing || !taken {
            self.outbound = None;
        }
        taken
    }

    /// Why the connection ended, for people; `None` while it lives.
    pub fn end_reason(&self) -> Option<String> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.outbound = None;
        self.leaving.trigger();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Opens a WebSocket (`ws://` or `wss://`) and blocks until it is open or has failed. What arrives goes to
/// `mailbox` as channel 0; its end, whatever the cause, as [`Signal::Closed`].
///
/// # Errors
/// [`ConnectError`], whose kinds are those that a program answers differently.
pub fn connect(url: &str, options: &Options, mailbox: Mailbox) -> Result<Client, ConnectError> {
    let system =
        |e: io::Error| ConnectError::Unreachable(format!("this machine cannot open a connection ({e})"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let opened = runtime.block_on(async {
        timeout(options.timeout, open(url, options)).await.unwrap_or_else(|_| {
            let seconds = options.timeout.as_secs_f32();
            Err(ConnectError::Unreachable(format!("{url} did not answer within {seconds} s")))
        })
    })?;
    let (outbound, queue) = mpsc::channel(QUEUE);
    let ended = Arc::new(Mutex::new(None));
    let (told, leaving) = (ended.clone(), Shutdown::new());
    let left = leaving.clone();
    let grace = async move {
        left.triggered().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let thread = std::thread::Builder::new()
        .name("signalling".into())
        .spawn(move || {
            runtime.block_on(async {
                let reason = tokio::select! {
                    reason = converse(opened, queue, &mailbox) => reason,
                    // Whoever leaves does not wait for a server that takes nothing any more.
                    () = grace => CLOSED_HERE.into(),
                };
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                let _ = timeout(Duration::from_secs(1), mailbox.send(Signal::Closed { channel: 0 })).await;
            });
        })
        .map_err(system)?;
    Ok(Client { outbound: Some(outbound), ended, leaving, thread: Some(thread) })
}

/// TCP with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
type Socket = WebSocketStream<Box<dyn Stream>>;

async fn open(url: &str, options: &Options) -> Result<Socket, ConnectError> {
    let bad = |reason: &str| ConnectError::BadUrl(format!("`{url}` {reason}"));
    let request = url.into_client_request().map_err(|_| bad("is not a WebSocket URL"))?;
    let uri = request.uri().clone();
    let secure = match uri.scheme_str() {
        Some("wss") => true,
        Some("ws") => false,
        _ => return Err(bad("is neither ws:// nor wss://")),
    };
    let bracketed = uri.host().ok_or_else(|| bad("names no host"))?;
    let host = bracketed.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });

    let unreachable = |e: io::Error| {
        let why = match e.kind() {
            io::ErrorKind::ConnectionRefused => "nothing listens there".into(),
            _ => e.to_string(),
        };
        ConnectError::Unreachable(format!("{host} port {port} cannot be reached ({why})"))
    };
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let stream: Box<dyn Stream> = if secure {
        let config = tls::client_config(&options.trust).map_err(|e| ConnectError::Tls(e.to_string()))?;
        let name =
            ServerName::try_from(host.clone()).map_err(|_| bad("has a host that no certificate can name"))?;
        let connector = tokio_rustls::TlsConnector::from(config);
        Box::new(connector.connect(name, tcp).await.map_err(|e| tls_error(&host, port, e))?)
    } else {
        Box::new(tcp)
    };

    let config = WebSocketConfig::default()
        .max_message_size(Some(4 * MAX_MESSAGE))
        .max_frame_size(Some(4 * MAX_MESSAGE))
        .write_buffer_size(0);
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(match response.status().as_u16() {
            status @ (401 | 403) => ConnectError::Unauthorized(status),
            status => ConnectError::Refused(status),
        }),
        Err(e) => Err(ConnectError::Unreachable(format!(
            "{host} port {port} does not answer as a web server ({e}){}",
            if secure { "" } else { "; perhaps it wants https" }
        ))),
    }
}

fn tls_error(host: &str, port: u16, error: io::Error) -> ConnectError {
    use tokio_rustls::rustls::{CertificateError, Error as Tls};
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Tls>());
    ConnectError::Tls(match inner {
        Some(Tls::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => {
            format!("the certificate of {host} has expired: its operator must renew it (or check this clock)")
        }
        Some(Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => format!("the certificate at {host} port {port} is for another name: is the link right?"),
        Some(Tls::InvalidCertificate(CertificateError::UnknownIssuer)) => format!(
            "the certificate of {host} comes from nobody whom this machine trusts: give its certificate to be \
             trusted, or have the server use one of a public authority"
        ),
        Some(Tls::InvalidMessage(_)) => {
            format!("{host} port {port} does not speak TLS: perhaps the link should begin with http://")
        }
        Some(e) => format!("TLS with {host} port {port} failed ({e}): ask the server's operator"),
        None => format!("{host} port {port} broke off during TLS ({error}): is it an https port?"),
    })
}

/// Carries messages both ways until one side is done; says why it ended.
async fn converse(mut socket: Socket, mut outbound: mpsc::Receiver<Signal>, mailbox: &Mailbox) -> String {
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            out = outbound.recv() => match out {
                Some(Signal::Message { message, .. }) => {
                    match timeout(SILENCE, socket.send(Message::Binary(message.into()))).await {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => return format!("the connection to the server broke: {e}"),
                        Err(_) => return "the server takes no more messages".into(),
                    }
                }
                Some(Signal::Closed { .. }) | None => {
                    let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
                    return CLOSED_HERE.into();
                }
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE {
                    return "the server has fallen silent".into();
                }
                let _ = timeout(Duration::from_secs(1), socket.send(Message::Ping(Vec::new().into()))).await;
            }
            arrived = socket.next() => {
                heard = Instant::now();
                match arrived {
                    Some(Ok(Message::Binary(bytes))) => {
                        let signal = Signal::Message { channel: 0, message: bytes.into() };
                        if !mailbox.send(signal).await {
                            return CLOSED_HERE.into();
                        }
                    }
                    Some(Ok(Message::Close(frame))) => return match frame {
                        Some(frame) if !frame.reason.is_empty() => format!("closed by the server: {}", frame.reason),
                        _ => "closed by the server".into(),
                    },
                    Some(Ok(_)) => {}
                    Some(Err(e)) => return format!("the connection to the server broke: {e}"),
                    None => return "the connection to the server broke".into(),
                }
            }
        }
    }
}
