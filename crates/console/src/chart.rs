//! Lines over time, drawn as SVG.

use crate::metrics::Series;
use maud::{Markup, html};
use quarry_wire::Timestamp;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 150.0;
/// Room for the scale at the left, above, below.
const LEFT: f64 = 44.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;
/// Lines told apart by colour and dash; more than these share them.
const LINES: usize = 4;

/// A chart of several lines with their names and unit; what a reader hears is its last and highest values.
pub fn chart(title: &str, unit: &str, lines: &[(&str, &Series)]) -> Markup {
    let points = || lines.iter().flat_map(|(_, series)| series.iter());
    let (Some(first), Some(last)) = (points().map(|p| p.0).min(), points().map(|p| p.0).max()) else {
        return html! { figure { figcaption { (title) ": no data in this time." } } };
    };
    let top = ceiling(points().map(|p| p.1).fold(0.0, f64::max));
    let span = (last - first).max(60) as f64;
    let x = |at: i64| LEFT + (at - first) as f64 / span * (WIDTH - LEFT - 8.0);
    let y = |value: f64| TOP + (1.0 - value / top) * (HEIGHT - TOP - BOTTOM);
    let drawn = |series: &Series| {
        let points: Vec<String> = series.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        points.join(" ")
    };
    let heard: Vec<String> = lines.iter().map(|(name, series)| in_words(name, series, unit)).collect();
    let label = format!("{title}. {}", heard.join(" "));
    html! {
        figure {
            figcaption {
                (title)
                @if lines.len() > 1 {
                    @for (i, (name, _)) in lines.iter().enumerate() {
                        " " svg.chart width="26" height="8" viewBox="0 0 26 8" aria-hidden="true" {
                            polyline class=(format!("s{}", i % LINES)) points="1,4 25,4" {}
                        } " " (name)
                    }
                }
            }
            svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) height=(HEIGHT) role="img" aria-label=(label) {
                rect.frame x=(LEFT) y=(TOP) width=(WIDTH - LEFT - 8.0) height=(HEIGHT - TOP - BOTTOM) {}
                @let half = (TOP + HEIGHT - BOTTOM) / 2.0;
                path.frame d=(format!("M{LEFT},{half} H{}", WIDTH - 8.0)) {}
                text x=(LEFT - 5.0) y=(TOP + 8.0) text-anchor="end" { (number(top)) }
                text x=(LEFT - 5.0) y=(half + 4.0) text-anchor="end" { (number(top / 2.0)) }
                @if let [(_, only)] = lines && let (Some(first), Some(last)) = (only.first(), only.last()) {
                    @let ground = HEIGHT - BOTTOM;
                    polygon.area points=(format!("{:.1},{ground} {} {:.1},{ground}", x(first.0), drawn(only), x(last.0))) {}
                }
                text x=(LEFT - 5.0) y=(HEIGHT - BOTTOM) text-anchor="end" { "0" }
                text x=(LEFT) y=(HEIGHT - 6.0) { (clock(first)) }
                text x=(WIDTH - 8.0) y=(HEIGHT - 6.0) text-anchor="end" { (clock(last)) " UTC · " (unit) }
                @for (i, (_, series)) in lines.iter().enumerate() {
                    polyline class=(format!("s{}", i % LINES)) points=(drawn(series)) {}
                    @if let [(at, value)] = series.as_slice() {
                        circle class=(format!("s{}", i % LINES)) cx=(x(*at)) cy=(y(*value)) r="2" {}
                    }
                }
            }
        }
    }
}

fn in_words(name: &str, series: &Series, unit: &str) -> String {
    match series.last() {
        None => format!("{name}: none."),
        Some((_, last)) => {
            let most = series.iter().map(|p| p.1).fold(0.0, f64::max);
            format!("{name}: last {} {unit}, at most {}.", number(*last), number(most))
        }
    }
}

/// The top of the scale: 1, 2 or 5 times a power of ten.
fn ceiling(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(most.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|top| *top >= most * 0.999_999).unwrap_or(most)
}

/// A number as short as it may be.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 1e6 => format!("{:.1}M", value / 1e6),
        v if v >= 1e4 => format!("{:.0}k", value / 1e3),
        v if v >= 10.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 0.1 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// `12:34`.
fn clock(seconds: i64) -> String {
    let iso = Timestamp::from_millis(seconds * 1000).to_string();
    iso.get(11..16).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_drawn_and_told() {
        let (a, b) = (vec![(0, 1.0), (60, 4.0), (120, 2.0)], vec![(60, 0.5)]);
        let html = chart("Requests", "per minute", &[("2xx", &a), ("5xx", &b)]).into_string();
        assert!(html.contains("2xx: last 2 per minute, at most 4. 5xx: last 0.5 per minute, at most 0.5."), "{html}");
        // Three points, from the left edge to the right one, the highest at four fifths.
        assert!(html.contains("points=\"44.0,104.4 258.0,33.6 472.0,80.8\""), "{html}");
        assert!(html.contains("00:02 UTC"), "{html}");
        assert!(chart("Requests", "x", &[("a", &Vec::new())]).into_string().contains("no data"));
    }

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!(
            [0.0, 0.03, 1.0, 4.0, 11.0, 501.0].map(ceiling).map(|c| (c * 1e6).round() / 1e6),
            [1.0, 0.05, 1.0, 5.0, 20.0, 1000.0]
        );
        assert_eq!(
            [0.0, 0.0123, 0.5, 7.0, 12.3, 12_345.0, 2e6].map(number),
            ["0", "0.012", "0.5", "7", "12", "12k", "2.0M"]
        );
    }
}
