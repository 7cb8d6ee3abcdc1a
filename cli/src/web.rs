//! What the server shows a browser.

use undertone_io::http::Page;
use undertone_sfu::Stats;

/// The browser client, compiled in: one binary is the whole server.
pub fn pages() -> Vec<Page> {
    let page = |path: &str, content_type, body: &[u8]| Page { path: path.into(), content_type, body: body.into() };
    vec![
        page("/", "text/html; charset=utf-8", include_bytes!("../../web/index.html")),
        page("/call.js", "text/javascript; charset=utf-8", include_bytes!("../../web/call.js")),
        page("/media.js", "text/javascript; charset=utf-8", include_bytes!("../../web/media.js")),
        page("/page.js", "text/javascript; charset=utf-8", include_bytes!("../../web/page.js")),
        page("/signal.js", "text/javascript; charset=utf-8", include_bytes!("../../web/signal.js")),
        page("/style.css", "text/css; charset=utf-8", include_bytes!("../../web/style.css")),
    ]
}

/// Counters in Prometheus' text format.
pub fn prometheus(stats: &Stats) -> String {
    let mut text = String::new();
    for (name, kind, value) in [
        ("undertone_rooms", "gauge", stats.rooms as u64),
        ("undertone_participants", "gauge", stats.participants as u64),
    ] {
        text.push_str(&format!("# TYPE {name} {kind}\n{name} {value}\n"));
    }
    text
}
