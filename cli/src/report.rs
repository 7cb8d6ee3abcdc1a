//! `report.html`: a call on one page, to listen to and to look at.
//!
//! Why one file: it is sent around and opened years later. Styles and pictures are inline; only the WAV
//! files stay beside it. Light and dark follow the reader's system.

mod chart;
mod still;

pub use chart::{Chart, Line};
pub use still::still;

use std::fmt::Write as _;

/// What the page shows.
#[derive(Debug, Default)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// One sentence below it.
    pub lead: String,
    /// Large figures at the top: (name, value, unit or remark).
    pub figures: Vec<(String, String, String)>,
    /// One section for each listener.
    pub heard: Vec<Heard>,
    /// The settings of the run.
    pub settings: Vec<(String, String)>,
    /// The command that runs it again.
    pub command: String,
}

/// What one participant heard, and how it came.
#[derive(Debug, Default)]
pub struct Heard {
    /// "b heard a".
    pub title: String,
    /// What was said: file name beside the page, samples at 16 kHz.
    pub sent: (String, Vec<i16>),
    /// What came out of the speaker, on the same clock.
    pub received: (String, Vec<i16>),
    /// Pictures of what was seen: (caption, data URI).
    pub stills: Vec<(String, String)>,
    /// (name, value) pairs in a small table.
    pub facts: Vec<(String, String)>,
    /// Curves over time.
    pub charts: Vec<Chart>,
}

/// Text that is safe between tags and in attributes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Report {
    /// The whole page.
    pub fn html(&self) -> String {
        let mut page = String::with_capacity(1 << 16);
        let title = escape(&self.title);
        let _ = write!(
            page,
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n<main>\n<h1>{title}</h1>\n<p class=\"lead\">{}</p>\n",
            escape(&self.lead)
        );
        page.push_str("<dl class=\"figures\">\n");
        for (name, value, remark) in &self.figures {
            let _ = writeln!(
                page,
                "<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>",
                escape(name),
                escape(value),
                escape(remark)
            );
        }
        page.push_str("</dl>\n");
        for heard in &self.heard {
            heard.write(&mut page);
        }
        page.push_str("<section><h2>Settings</h2><table>\n");
        for (name, value) in &self.settings {
            let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
        }
        let _ = write!(
            page,
            "</table><h2>Run it again</h2><pre>{}</pre></section>\n</main>\n</html>\n",
            escape(&self.command)
        );
        page
    }
}

impl Heard {
    fn write(&self, page: &mut String) {
        let _ = writeln!(page, "<section><h2>{}</h2>", escape(&self.title));
        page.push_str("<div class=\"waves\">\n");
        for (name, (file, samples), class) in
            [("said", &self.sent, "sent"), ("heard", &self.received, "received")]
        {
            if file.is_empty() {
                continue;
            }
            let _ = writeln!(
                page,
                "<figure><figcaption>{name}</figcaption>{}<audio controls preload=\"none\" src=\"{}\"></audio></figure>",
                chart::waveform(samples, class),
                escape(file)
            );
        }
        page.push_str("</div>\n");
        if !self.stills.is_empty() {
            page.push_str("<div class=\"stills\">\n");
            for (caption, uri) in &self.stills {
                let _ = writeln!(
                    page,
                    "<figure><img alt=\"{0}\" src=\"{uri}\"><figcaption>{0}</figcaption></figure>",
                    escape(caption)
                );
            }
            page.push_str("</div>\n");
        }
        page.push_str("<div class=\"charts\">\n");
        for chart in &self.charts {
            page.push_str(&chart.svg());
        }
        page.push_str("</div>\n<table>\n");
        for (name, value) in &self.facts {
            let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
        }
        page.push_str("</table></section>\n");
    }
}

const STYLE: &str = include_str!("report/style.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_the_network_cannot_write_html() {
        let report = Report { title: "<script>alert(1)</script>".into(), ..Report::default() };
        assert!(!report.html().contains("<script>"));
    }

    #[test]
    fn every_listener_gets_a_player_and_a_waveform() {
        let heard = Heard {
            title: "b heard a".into(),
            sent: ("sent.wav".into(), vec![0; 16_000]),
            received: ("received.wav".into(), vec![1_000; 16_000]),
            ..Heard::default()
        };
        let html = Report { heard: vec![heard], ..Report::default() }.html();
        assert_eq!(html.matches("<audio").count(), 2);
        assert_eq!(html.matches("class=\"wave ").count(), 2);
    }
}
