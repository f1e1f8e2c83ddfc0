//! Rates beside each other, and how far the rounds lie apart.

use crate::bench::show::html::axis::{self, BELOW, COLUMN, LINE, Plot, room};
use crate::bench::show::html::line_chart::contender;
use crate::bench::show::html::markup::{At, Attributes, Markup};
use crate::bench::show::label::{self, shorten};
use crate::bench::show::phrases::apart;
use crate::bench::show::scale::Scale;
use crate::bench::study::comparison::{Contender, Contest};
use crate::bench::study::statistic::Spread;

/// The height of a bar, and of a row with the name above it.
const BAR: f64 = 14.0;
const ROW: f64 = BAR + LINE + 18.0;

/// From the axis up to the end of its marks.
const FOOT: f64 = 5.0;

/// One bar for each contender.
#[derive(Debug)]
pub(super) struct Bars {
    title: String,
    scale: Scale,
    bars: Vec<Bar>,
}

#[derive(Debug)]
struct Bar {
    name: String,
    rate: Option<Spread>,
    /// By the first contender's.
    ratio: String,
}

impl Bars {
    /// None if there is nothing to compare: a single contender, or no answer.
    pub(super) fn of(contest: &Contest) -> Option<Self> {
        let rates = || contest.contenders.iter().filter_map(rate);
        let most = rates().map(|rate| rate.high).fold(0.0, f64::max);
        let bar = |(place, one): (usize, &Contender)| Bar {
            name: one.name.clone(),
            rate: rate(one),
            ratio: match &one.ratios {
                Some(ratios) => format!("× {}", label::factor(ratios.rate.median)),
                None if place == 0 => "× 1".to_owned(),
                None => String::new(),
            },
        };
        (most > 0.0 && contest.contenders.len() > 1).then(|| Self {
            title: format!("{}: answers a second", contest.mode),
            scale: Scale::linear(most),
            bars: contest.contenders.iter().enumerate().map(bar).collect(),
        })
    }

    pub(super) fn draw(&self, page: &mut Markup, class: &str, width: f64) {
        let plot = Plot {
            left: 0.0,
            top: 0.0,
            width,
            height: self.bars.len() as f64 * ROW,
        };
        let description: String = self
            .bars
            .iter()
            .map(|bar| format!("{}. ", bar.says()))
            .collect();
        let ratios = self.bars.iter().map(|bar| room(&bar.ratio));
        let ratios = ratios.fold(0.0, f64::max);
        let size = (width, plot.bottom() + BELOW);
        axis::chart(page, class, size, (&self.title, &description), |svg| {
            // Each bar has its number beside it: a grid would only add lines.
            let foot = Plot {
                top: plot.bottom() - FOOT,
                height: FOOT,
                ..plot
            };
            axis::horizontal(svg, &self.scale, &foot, width, "answers a second");
            for (place, bar) in self.bars.iter().enumerate() {
                svg.element("g", &[("class", &contender(place))], |svg| {
                    bar.draw(svg, &self.scale, &plot, place as f64 * ROW, ratios);
                });
            }
        });
    }
}

impl Bar {
    /// In a row that begins at `top`; `ratios` is what the longest ratio needs.
    fn draw(&self, svg: &mut Markup, scale: &Scale, plot: &Plot, top: f64, ratios: f64) {
        let value = match self.rate {
            Some(rate) => format!("{} /s", label::rate(rate.median)),
            None => "no round could be made".to_owned(),
        };
        let gap = if ratios > 0.0 { 2.0 * COLUMN } else { 0.0 };
        let end = plot.right() - ratios - gap;
        let left = end - room(&value) - 2.0 * COLUMN;
        let name = shorten(&self.name, (left / COLUMN) as usize);
        let text = top + LINE;
        axis::text(svg, "name", (0.0, text), &name);
        axis::text(svg, "value end", (end, text), &value);
        axis::text(svg, "value end", (plot.right(), text), &self.ratio);
        let Some(rate) = self.rate else { return };
        let y = text + 7.0;
        // However little it is, it is seen, unless it is nothing.
        let least = if rate.median > 0.0 { 1.0 } else { 0.0 };
        let long = (plot.x(scale, rate.median) - plot.left).max(least);
        let with: Attributes<'_> = &[
            ("class", &"bar"),
            ("x", &At(plot.left)),
            ("y", &At(y)),
            ("width", &At(long)),
            ("height", &At(BAR)),
        ];
        svg.element("rect", with, |svg| svg.line("title", &[], self.says()));
        if rate.high > rate.low {
            let (low, high) = (plot.x(scale, rate.low), plot.x(scale, rate.high));
            let middle = y + BAR / 2.0;
            let whisker = format!(
                "M{l} {m}H{h}M{l} {t}V{b}M{h} {t}V{b}",
                l = At(low),
                h = At(high),
                m = At(middle),
                t = At(middle - 4.0),
                b = At(middle + 4.0)
            );
            // Once for what is around it, once for itself: seen on the bar and beside it.
            for class in ["halo", "whisker"] {
                svg.empty("path", &[("class", &class), ("d", &whisker)]);
            }
        }
    }

    fn says(&self) -> String {
        match self.rate {
            None => format!("{}: no round could be made", self.name),
            Some(rate) => {
                let rate = apart(&rate, label::rate);
                format!("{}: {rate} a second {}", self.name, self.ratio)
            }
        }
    }
}

fn rate(contender: &Contender) -> Option<Spread> {
    Some(contender.figures?.rate_per_s)
}
