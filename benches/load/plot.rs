//! Plots as SVG: panels side by side, each with lines over a logarithmic axis.

use std::fmt::{self, Write as _};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 60.0;
/// The space around a panel.
const GAP: f64 = 60.0;
/// Lines across a panel.
const GRID: u32 = 5;
/// Colors that color-blind people can distinguish (Okabe and Ito).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];

/// A line.
pub struct Series {
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// Lines that share both axes.
pub struct Panel {
    pub title: &'static str,
    pub series: Vec<Series>,
}

/// Draws panels. `x` is the label of the horizontal axis.
pub fn svg(title: &str, x: &str, panels: &[Panel]) -> Result<String, fmt::Error> {
    let mut svg = String::new();
    #[expect(clippy::cast_precision_loss, reason = "a few panels")]
    let places: Vec<f64> = (0..panels.len())
        .map(|place| LEFT + place as f64 * (WIDTH + LEFT + GAP / 2.0))
        .collect();
    let width = places.last().unwrap_or(&0.0) + WIDTH + GAP / 2.0;
    let height = TOP + HEIGHT + GAP;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<rect width="{width}" height="{height}" fill="white"/>
<text x="{LEFT}" y="22" font-size="16">{title}</text>"#
    )?;
    for (panel, left) in panels.iter().zip(places) {
        draw(&mut svg, panel, x, left)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn draw(svg: &mut String, panel: &Panel, x: &str, left: f64) -> fmt::Result {
    let points = || panel.series.iter().flat_map(|series| &series.points);
    let mut ticks: Vec<f64> = points().map(|(x, _)| *x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let (first, last) = (
        ticks.first().map_or(0.0, |x| x.log2()),
        ticks.last().map_or(1.0, |x| x.log2()),
    );
    let top = round_up(points().map(|(_, y)| *y).fold(0.0, f64::max));
    let at = |x: f64| left + (x.log2() - first) / (last - first) * WIDTH;
    let height_of = |y: f64| TOP + HEIGHT - y / top * HEIGHT;
    let (bottom, right, middle) = (TOP + HEIGHT, left + WIDTH, left + WIDTH / 2.0);
    writeln!(
        svg,
        r#"<text x="{middle}" y="44" text-anchor="middle">{}</text>
<text x="{middle}" y="{}" text-anchor="middle">{x}</text>"#,
        panel.title,
        bottom + 40.0
    )?;
    for line in 0..=GRID {
        let value = top * f64::from(line) / f64::from(GRID);
        let y = height_of(value);
        writeln!(
            svg,
            r##"<path d="M{left} {y}H{right}" stroke="#ddd"/><text x="{}" y="{}" text-anchor="end">{value}</text>"##,
            left - 8.0,
            y + 4.0
        )?;
    }
    for tick in ticks {
        let x = at(tick);
        writeln!(
            svg,
            r##"<path d="M{x:.1} {bottom}v5" stroke="#888"/><text x="{x:.1}" y="{}" text-anchor="middle">{tick}</text>"##,
            bottom + 20.0
        )?;
    }
    for ((series, colour), place) in panel.series.iter().zip(COLOURS).zip(0_u8..) {
        let line: Vec<String> = series
            .points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", at(*x), height_of(*y)))
            .collect();
        writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            line.join(" ")
        )?;
        let y = TOP + 16.0 * (f64::from(place) + 1.0);
        writeln!(
            svg,
            r#"<text x="{}" y="{y}" fill="{colour}">{}</text>"#,
            left + 10.0,
            series.name
        )?;
    }
    Ok(())
}

/// The next round number: 1, 2 or 5 followed by zeros.
fn round_up(value: f64) -> f64 {
    let unit = 10_f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.into_iter().find(|step| step * unit >= value).unwrap_or(10.0) * unit
}
