//! Curves and waveforms as inline SVG.

use super::escape;
use std::fmt::Write as _;

/// One curve: points in the axis's order; a missing value breaks the line.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// (place on the axis, value).
    pub points: Vec<(f64, Option<f64>)>,
}

/// A picture of up to four curves, with one unit, over time or something else that begins at zero.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// The unit of the values.
    pub unit: String,
    /// The unit of the axis: seconds, mostly.
    pub axis: &'static str,
    /// The curves.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 24.0;

/// The next of 1, 2, 5, 10, … that reaches `value`, so that a scale ends on a round number.
fn round_up(value: f64) -> f64 {
    let magnitude = 10f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|step| step * magnitude)
        .find(|&top| top >= value * 0.999)
        .unwrap_or(value)
}

impl Chart {
    /// The picture.
    pub fn svg(&self) -> String {
        let values = || self.lines.iter().flat_map(|line| &line.points);
        let end = values().map(|point| point.0).fold(1.0, f64::max);
        let top = round_up(values().filter_map(|point| point.1).fold(1.0, f64::max));
        let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value.clamp(0.0, top) / top * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">\
             <text class=\"title\" x=\"12\" y=\"20\">{0}</text>",
            escape(&self.title)
        );
        let mut legend = WIDTH - RIGHT;
        for (index, line) in self.lines.iter().enumerate().rev() {
            let _ = write!(
                svg,
                "<text class=\"k{index}\" x=\"{legend:.0}\" y=\"20\" text-anchor=\"end\">{}</text>",
                escape(&line.name)
            );
            legend -= 6.2 * line.name.chars().count() as f64 + 14.0;
        }
        for part in 0..=2 {
            let value = top * f64::from(part) / 2.0;
            let unit = if part == 2 { format!(" {}", escape(&self.unit)) } else { String::new() };
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>\
                 <text x=\"{2:.0}\" y=\"{3:.1}\" text-anchor=\"end\">{value}</text>",
                WIDTH - RIGHT,
                y(value),
                LEFT - 6.0,
                y(value) + 4.0,
            );
            if part == 2 {
                let _ =
                    write!(svg, "<text x=\"{:.0}\" y=\"{:.1}\">{unit}</text>", LEFT + 4.0, y(value) + 12.0);
            }
        }
        for part in 0..=4 {
            let at = end * f64::from(part) / 4.0;
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"{}\">{at:.0} {}</text>",
                x(at),
                HEIGHT - 7.0,
                if part == 4 { "end" } else { "middle" },
                self.axis,
            );
        }
        for (index, line) in self.lines.iter().enumerate() {
            for run in line.points.split(|point| point.1.is_none()) {
                if run.is_empty() {
                    continue;
                }
                let _ = write!(svg, "<polyline class=\"l{index}\" points=\"");
                for &(at, value) in run {
                    let _ = write!(svg, "{:.1},{:.1} ", x(at), y(value.unwrap_or(0.0)));
                }
                svg.push_str("\"/>");
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// The outline of a sound: for each of 1000 columns the lowest and the highest sample in it.
pub(super) fn waveform(samples: &[i16], class: &str) -> String {
    const COLUMNS: usize = 1000;
    let mut path = String::new();
    if !samples.is_empty() {
        for column in 0..COLUMNS {
            let from = column * samples.len() / COLUMNS;
            let to = ((column + 1) * samples.len() / COLUMNS).max(from + 1).min(samples.len());
            let part = &samples[from.min(to - 1)..to];
            let low = f64::from(*part.iter().min().unwrap_or(&0)) / 32_768.0;
            let high = f64::from(*part.iter().max().unwrap_or(&0)) / 32_768.0;
            let _ = write!(path, "M{column} {:.1}V{:.1}", 50.0 - 49.0 * high - 0.3, 50.0 - 49.0 * low + 0.3);
        }
    }
    format!(
        "<svg class=\"wave {class}\" viewBox=\"0 0 {COLUMNS} 100\" preserveAspectRatio=\"none\"><path d=\"{path}\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_on_a_round_number() {
        for (value, top) in [(0.7, 1.0), (13.0, 20.0), (47.0, 50.0), (230.0, 250.0), (1000.0, 1000.0)] {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn a_missing_value_breaks_the_line() {
        let points = vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(2.0))];
        let chart = Chart { lines: vec![Line { name: "x".into(), points }], ..Chart::default() };
        assert_eq!(chart.svg().matches("<polyline").count(), 2);
    }
}
