//! Where a chart's figures go, and the lines and numbers they are read by.

use crate::bench::show::html::markup::{At, Attributes, Markup};
use crate::bench::show::label::columns;
use crate::bench::show::scale::Scale;

/// How wide charts are drawn: for a window and for a phone, by the classes that the style knows.
pub(super) const WIDTHS: [(&str, f64); 2] = [("wide", 900.0), ("narrow", 360.0)];
/// What a column of text takes at most of the fonts that are likely, at the size of the style.
pub(super) const COLUMN: f64 = 7.6;
/// From one line of text to the next.
pub(super) const LINE: f64 = 17.0;
/// What numbers and name of a horizontal axis need below the plot.
pub(super) const BELOW: f64 = 2.0 * LINE + 8.0;

/// The part of a chart in which figures are drawn, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plot {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Plot {
    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    pub(super) fn x(&self, scale: &Scale, value: f64) -> f64 {
        self.left + scale.place(value) * self.width
    }

    pub(super) fn y(&self, scale: &Scale, value: f64) -> f64 {
        self.bottom() - scale.place(value) * self.height
    }
}

/// A chart of this class and size, which says in words what it shows.
pub(super) fn chart(
    page: &mut Markup,
    class: &str,
    (width, height): (f64, f64),
    (title, description): (&str, &str),
    inside: impl FnOnce(&mut Markup),
) {
    let view = format!("0 0 {} {}", At(width), At(height));
    let with: Attributes<'_> = &[
        ("xmlns", &"http://www.w3.org/2000/svg"),
        ("class", &class),
        ("viewBox", &view),
        ("width", &At(width)),
        ("height", &At(height)),
        ("role", &"img"),
        ("aria-label", &title),
    ];
    page.element("svg", with, |svg| {
        svg.line("title", &[], title);
        svg.line("desc", &[], description);
        inside(svg);
    });
}

/// Numbers and name below the plot, a line upwards from each number; a number without room is left
/// out, with its line.
pub(super) fn horizontal(svg: &mut Markup, scale: &Scale, plot: &Plot, width: f64, name: &str) {
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for tick in &scale.ticks {
        let x = plot.x(scale, tick.at);
        let half = room(&tick.label) / 2.0;
        let middle = x.min(width - half).max(half);
        let (from, to) = (middle - half - COLUMN, middle + half);
        // The ticks before this one deserve their room more.
        if taken.iter().all(|(start, end)| to < *start || from > *end) {
            taken.push((from, to));
            line(svg, "grid", (x, plot.top), (x, plot.bottom()));
            text(
                svg,
                "tick middle",
                (middle, plot.bottom() + LINE),
                &tick.label,
            );
        }
    }
    let (left, right) = ((plot.left, plot.bottom()), (plot.right(), plot.bottom()));
    line(svg, "base", left, right);
    let below = plot.bottom() + 2.0 * LINE + 2.0;
    text(
        svg,
        "axis middle",
        (plot.left + plot.width / 2.0, below),
        name,
    );
}

/// Numbers to the left of the plot and a name above them, a line to the right from each number.
pub(super) fn vertical(svg: &mut Markup, scale: &Scale, plot: &Plot, name: &str) {
    for tick in &scale.ticks {
        let y = plot.y(scale, tick.at);
        line(svg, "grid", (plot.left, y), (plot.right(), y));
        text(svg, "tick end", (plot.left - 8.0, y + 4.0), &tick.label);
    }
    text(svg, "axis", (0.0, plot.top - LINE), name);
}

/// What the numbers of a vertical axis need to the left of the plot.
pub(super) fn margin(scale: &Scale) -> f64 {
    let widest = scale.ticks.iter().map(|tick| room(&tick.label));
    widest.fold(0.0, f64::max) + 8.0
}

/// The width of a text at most.
pub(super) fn room(text: &str) -> f64 {
    columns(text) as f64 * COLUMN
}

/// A text at a place; the class says where it is anchored.
pub(super) fn text(svg: &mut Markup, class: &str, (x, y): (f64, f64), text: &str) {
    svg.line(
        "text",
        &[("class", &class), ("x", &At(x)), ("y", &At(y))],
        text,
    );
}

/// A straight line.
pub(super) fn line(svg: &mut Markup, class: &str, from: (f64, f64), to: (f64, f64)) {
    svg.empty(
        "line",
        &[
            ("class", &class),
            ("x1", &At(from.0)),
            ("y1", &At(from.1)),
            ("x2", &At(to.0)),
            ("y2", &At(to.1)),
        ],
    );
}
