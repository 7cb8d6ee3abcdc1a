//! What the server shows a browser.

use undertone_io::http::Page;
use undertone_sfu::Stats;

/// The browser client, compiled in: one binary is the whole server.
pub fn pages() -> Vec<Page> {
    let page =
        |path: &str, content_type, body: &[u8]| Page { path: path.into(), content_type, body: body.into() };
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
    for (name, kind, help, value) in [
        ("rooms", "gauge", "Rooms that hold somebody.", stats.rooms),
        ("participants", "gauge", "Participants in all rooms.", stats.participants),
        ("connected", "gauge", "Participants whose media path works.", stats.connected),
        ("datagrams_in_total", "counter", "Datagrams that came in.", stats.datagrams_in),
        ("datagrams_out_total", "counter", "Datagrams that went out.", stats.datagrams_out),
        ("bytes_in_total", "counter", "Bytes that came in, UDP payloads.", stats.bytes_in),
        ("bytes_out_total", "counter", "Bytes that went out, UDP payloads.", stats.bytes_out),
        ("garbage_total", "counter", "Datagrams that are nothing we know.", stats.garbage),
        ("refused_total", "counter", "Datagrams that were forged, replayed or malformed.", stats.refused),
        ("forwarded_total", "counter", "RTP packets sent on, once per subscriber.", stats.forwarded),
        (
            "withheld_total",
            "counter",
            "RTP packets that a subscriber's link could not carry.",
            stats.withheld,
        ),
        ("resent_total", "counter", "RTP packets sent again on request.", stats.resent),
        ("recovered_total", "counter", "RTP packets that publishers sent again.", stats.recovered),
        ("key_frames_asked_total", "counter", "Requests for key frames.", stats.key_frames_asked),
        ("joins_refused_total", "counter", "Joins refused.", stats.joins_refused),
    ] {
        text.push_str(&format!(
            "# HELP undertone_{name} {help}\n# TYPE undertone_{name} {kind}\nundertone_{name} {value}\n"
        ));
    }
    text
}
