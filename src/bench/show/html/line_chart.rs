//! A chart of lines, each with its name at its end.

use std::fmt::Write;

use crate::bench::show::html::axis::{self, BELOW, COLUMN, LINE, Plot, room};
use crate::bench::show::html::markup::{At, Attributes, Markup};
use crate::bench::show::label::shorten;
use crate::bench::show::scale::Scale;
use crate::bench::study::comparison::{Contender, Contest};

/// A name may take so much of the width.
const NAME_SHARE: f64 = 0.24;
/// From a line's end to its name.
const LEADER: f64 = 18.0;

/// Several lines over the same axes.
#[derive(Debug)]
pub(super) struct LineChart {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) x: Scale,
    pub(super) x_name: &'static str,
    pub(super) y: Scale,
    pub(super) y_name: &'static str,
    pub(super) lines: Vec<Curve>,
}

/// One contender's points, from left to right; at least one.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    /// Which contender: the same everywhere on the page.
    pub(super) place: usize,
    pub(super) points: Vec<Point>,
}

impl Curve {
    /// One for each contender that has any points.
    pub(super) fn of_each(contest: &Contest, points: fn(&Contender) -> Vec<Point>) -> Vec<Curve> {
        let contenders = contest.contenders.iter().enumerate();
        let curves = contenders.map(|(place, one)| Curve {
            name: one.name.clone(),
            place,
            points: points(one),
        });
        curves.filter(|curve| !curve.points.is_empty()).collect()
    }
}

/// A figure.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// What is told when one points at it.
    pub(super) says: String,
    /// Whether it is to be seen without.
    pub(super) is_marked: bool,
}

impl LineChart {
    pub(super) fn draw(&self, page: &mut Markup, class: &str, width: f64) {
        let columns_max = (width * NAME_SHARE / COLUMN) as usize;
        let names: Vec<_> = self
            .lines
            .iter()
            .map(|line| shorten(&line.name, columns_max))
            .collect();
        let widest = names.iter().map(|name| room(name)).fold(0.0, f64::max);
        let left = axis::margin(&self.y);
        let plot = Plot {
            left,
            top: 2.0 * LINE,
            width: width - left - widest - LEADER,
            height: (120.0 + width / 6.0).max(names.len() as f64 * LINE),
        };
        let size = (width, plot.bottom() + BELOW);
        let words = (self.title.as_str(), self.description.as_str());
        axis::chart(page, class, size, words, |svg| {
            axis::vertical(svg, &self.y, &plot, self.y_name);
            axis::horizontal(svg, &self.x, &plot, width, self.x_name);
            self.names(svg, &plot, &names);
            for line in &self.lines {
                self.line(svg, &plot, line);
            }
        });
    }

    fn at(&self, plot: &Plot, point: &Point) -> (f64, f64) {
        (plot.x(&self.x, point.x), plot.y(&self.y, point.y))
    }

    fn line(&self, svg: &mut Markup, plot: &Plot, line: &Curve) {
        let mut path = String::new();
        for (n, point) in line.points.iter().enumerate() {
            let (x, y) = self.at(plot, point);
            let step = if n == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{} {}", At(x), At(y));
        }
        svg.element("g", &[("class", &contender(line.place))], |svg| {
            svg.empty("path", &[("class", &"line"), ("d", &path)]);
            for point in &line.points {
                let (x, y) = self.at(plot, point);
                let class = if point.is_marked { "hit mark" } else { "hit" };
                let with: Attributes<'_> = &[
                    ("class", &class),
                    ("cx", &At(x)),
                    ("cy", &At(y)),
                    ("r", &if point.is_marked { 4 } else { 6 }),
                ];
                svg.element("circle", with, |svg| svg.line("title", &[], &point.says));
            }
        });
    }

    fn names(&self, svg: &mut Markup, plot: &Plot, names: &[String]) {
        let ends: Vec<_> = self
            .lines
            .iter()
            .filter_map(|line| Some(self.at(plot, line.points.last()?)))
            .collect();
        let wanted: Vec<_> = ends.iter().map(|(_, y)| *y).collect();
        let had = apart(&wanted, LINE, plot.top, plot.bottom());
        let x = plot.right() + LEADER;
        for (((line, name), end), y) in self.lines.iter().zip(names).zip(ends).zip(had) {
            svg.element("g", &[("class", &contender(line.place))], |svg| {
                axis::line(svg, "leader", end, (x - 4.0, y));
                axis::text(svg, "name", (x, y + 4.0), name);
            });
        }
    }
}

/// The class of a contender's colour and dashes; after eight they begin again, and the names tell.
pub(super) fn contender(place: usize) -> String {
    format!("c{}", place % 8)
}

/// As near to where they are wanted as they can be with `gap` between them, from `low` to `high`.
fn apart(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<_> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut had = wanted.to_vec();
    // A label too near the one above moves down, then one that went too far moves up again.
    let mut least = low;
    for &n in &order {
        had[n] = had[n].max(least);
        least = had[n] + gap;
    }
    let mut most = high;
    for &n in order.iter().rev() {
        had[n] = had[n].min(most);
        most = had[n] - gap;
    }
    had
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_make_room_for_each_other() {
        assert_eq!(apart(&[50.0, 10.0], 17.0, 0.0, 100.0), [50.0, 10.0]);
        assert_eq!(
            apart(&[10.0, 10.0, 12.0], 17.0, 0.0, 100.0),
            [10.0, 27.0, 44.0]
        );
        assert_eq!(apart(&[99.0, 98.0], 17.0, 0.0, 100.0), [100.0, 83.0]);
        assert_eq!(apart(&[], 17.0, 0.0, 100.0), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn names_never_touch(wanted in prop::collection::vec(0.0f64..200.0, 0..12)) {
            let mut had = apart(&wanted, LINE, 0.0, 200.0);
            had.sort_by(f64::total_cmp);
            prop_assert!(had.windows(2).all(|two| two[1] - two[0] >= LINE - 1e-9));
            prop_assert!(had.iter().all(|y| (-1e-9..=200.0).contains(y)));
        }
    }
}
