//! Room URLs: what a person is given, and what a client needs of it.
//!
//! `http://host:port/ROOM?token=…` is a page that a browser opens and a room that `undertone call` joins; the
//! WebSocket is `/ws` on the same host. Prefixes (`https://host/calls/ROOM`) work behind a reverse proxy.
//! Grammar: RFC 3986, as far as it is needed here.

use std::fmt;

/// A room's URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomUrl {
    /// Encrypted (https and wss).
    pub secure: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port; 80 or 443 if the URL has none.
    pub port: u16,
    /// The pages' address, without a slash at the end: `http://host:port`.
    pub http: String,
    /// The WebSocket's address: `ws://host:port/ws`.
    pub websocket: String,
    /// The room's name, decoded.
    pub room: String,
    /// The token, if the URL has one.
    pub token: Option<String>,
}

/// Why a text is no room URL. The caller's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// It does not begin with http:// or https://.
    Scheme,
    /// There is no host.
    NoHost,
    /// The port is no number from 1 to 65535.
    Port(String),
    /// It names no room.
    NoRoom,
    /// A percent sign without two hexadecimal digits, or bytes that are not UTF-8.
    Encoding(String),
    /// A space or control character.
    Character(char),
    /// A user name or password before the host; tokens go into the query.
    Userinfo,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlError::Scheme => write!(f, "a room URL begins with http:// or https://"),
            UrlError::NoHost => write!(f, "the URL names no host"),
            UrlError::Port(port) => write!(f, "{port:?} is no port: a number from 1 to 65535 is wanted"),
            UrlError::NoRoom => write!(f, "the URL names no room"),
            UrlError::Encoding(part) => write!(f, "{part:?} is not percent-encoded UTF-8"),
            UrlError::Character(c) => write!(f, "the URL holds {c:?}; percent-encode it"),
            UrlError::Userinfo => write!(f, "the URL holds a user name; put the token into ?token=…"),
        }?;
        write!(f, " (example: http://127.0.0.1:8080/room?token=…)")
    }
}

impl std::error::Error for UrlError {}

impl RoomUrl {
    /// Takes a room URL apart.
    pub fn parse(text: &str) -> Result<RoomUrl, UrlError> {
        let text = text.trim();
        if let Some(bad) = text.chars().find(|c| c.is_control() || *c == ' ') {
            return Err(UrlError::Character(bad));
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme),
        };
        // A token after `#` never reaches a server's log.
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        if authority.contains('@') {
            return Err(UrlError::Userinfo);
        }
        let (host, port) = split_port(authority)?;
        let port = match port {
            None | Some("") => [80, 443][usize::from(secure)],
            Some(digits) => number(digits).ok_or_else(|| UrlError::Port(digits.into()))?,
        };
        let path = path.trim_end_matches('/');
        let (prefix, room) = path.rsplit_once('/').map_or(("", path), |(prefix, room)| (prefix, room));
        let room = percent_decode(room)?;
        if room.is_empty() {
            return Err(UrlError::NoRoom);
        }
        let token = [query, fragment]
            .iter()
            .flat_map(|part| part.split('&'))
            .find_map(|pair| pair.strip_prefix("token="))
            .filter(|token| !token.is_empty())
            .map(percent_decode)
            .transpose()?;
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.into() };
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        let place = format!("{bracketed}:{port}{prefix}");
        Ok(RoomUrl {
            secure,
            host: host.into(),
            port,
            http: format!("http{}://{place}", if secure { "s" } else { "" }),
            websocket: format!("ws{}://{place}/ws", if secure { "s" } else { "" }),
            room,
            token,
        })
    }
}

impl fmt::Display for RoomUrl {
    /// The URL again, to hand to somebody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.http, percent_encode(&self.room))?;
        match &self.token {
            Some(token) => write!(f, "?token={}", percent_encode(token)),
            None => Ok(()),
        }
    }
}

/// Host and port of `host:port`, `[v6]:port`, or either without a port.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(UrlError::NoHost)?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(UrlError::Port(after.into())),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    // RFC 3986 §3.2.2: brackets stand around an address only.
    if host.is_empty() || host.contains(['[', ']']) { Err(UrlError::NoHost) } else { Ok((host, port)) }
}

/// A port: digits only, since `u16::from_str` would also take a plus sign.
fn number(digits: &str) -> Option<u16> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&port| port != 0)
}

fn percent_decode(text: &str) -> Result<String, UrlError> {
    let fault = || UrlError::Encoding(text.into());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or_else(fault);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).map_err(|_| fault())
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
