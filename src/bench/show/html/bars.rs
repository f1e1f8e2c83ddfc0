//! Rates beside each other, and how far the rounds lie apart.

use crate::bench::show::html::axis::{self, BELOW, COLUMN, LINE, Plot, room};
use crate::bench::show::html::line_chart::contender;
use crate::bench::show::html::markup::{At, Attributes, Markup};
use crate::bench::show::label::shorten;
use crate::bench::show::rows::beside_bars;
use crate::bench::show::scale::Scale;
use crate::bench::study::comparison::Contest;
use crate::bench::study::statistic::Spread;

/// The height of a bar, and of a row with the name above it.
const BAR: f64 = 14.0;
const ROW: f64 = BAR + LINE + 18.0;

/// From the axis up to the end of its marks.
const FOOT: f64 = 5.0;
/// Between two figures.
const GAP: f64 = 2.0 * COLUMN;

/// One bar for each contender; none if there is nothing to compare: a single contender, or no answer.
pub(super) fn bars(contest: &Contest) -> Option<impl Fn(&mut Markup, &str, f64)> {
    let rates = contest.contenders.iter().filter_map(|one| one.figures);
    let most = rates
        .map(|figures| figures.rate_per_s.high)
        .fold(0.0, f64::max);
    (most > 0.0 && contest.contenders.len() > 1).then(|| {
        let scale = Scale::linear(most);
        move |page: &mut Markup, class: &str, width| draw(contest, &scale, page, class, width)
    })
}

fn draw(contest: &Contest, scale: &Scale, page: &mut Markup, class: &str, width: f64) {
    let plot = Plot {
        left: 0.0,
        top: 0.0,
        width,
        height: contest.contenders.len() as f64 * ROW,
    };
    let title = format!("{}: answers a second", contest.mode);
    let beside = beside_bars(contest);
    let says = |place: usize| {
        let figures = beside
            .iter()
            .map(|column| format!("{} {}", column[0], column[place + 1]));
        let figures: Vec<_> = figures.collect();
        format!("{}: {}", contest.contenders[place].name, figures.join(", "))
    };
    let words = (0..contest.contenders.len()).map(says);
    let description = words.collect::<Vec<_>>().join(". ");
    let size = (width, plot.bottom() + BELOW);
    axis::chart(page, class, size, (&title, &description), |svg| {
        // Each bar has its number beside it: a grid would only add lines.
        let foot = Plot {
            top: plot.bottom() - FOOT,
            height: FOOT,
            ..plot
        };
        axis::horizontal(svg, scale, &foot, width, "answers a second");
        for (place, one) in contest.contenders.iter().enumerate() {
            let text = place as f64 * ROW + LINE;
            svg.element("g", &[("class", &contender(place))], |svg| {
                let mut end = plot.right();
                for column in beside.iter().rev() {
                    axis::text(svg, "value end", (end, text), &column[place + 1]);
                    end -= column[1..]
                        .iter()
                        .map(|cell| room(cell))
                        .fold(0.0, f64::max)
                        + GAP;
                }
                let name = shorten(&one.name, (end / COLUMN) as usize);
                axis::text(svg, "name", (0.0, text), &name);
                if let Some(figures) = one.figures {
                    bar(
                        svg,
                        scale,
                        &plot,
                        text + 7.0,
                        &figures.rate_per_s,
                        &says(place),
                    );
                }
            });
        }
    });
}

/// A bar below `top`, and a whisker where the rounds lie apart.
fn bar(svg: &mut Markup, scale: &Scale, plot: &Plot, top: f64, rate: &Spread, says: &str) {
    // However little it is, it is seen, unless it is nothing.
    let least = if rate.median > 0.0 { 1.0 } else { 0.0 };
    let long = (plot.x(scale, rate.median) - plot.left).max(least);
    let with: Attributes<'_> = &[
        ("class", &"bar"),
        ("x", &At(plot.left)),
        ("y", &At(top)),
        ("width", &At(long)),
        ("height", &At(BAR)),
    ];
    svg.element("rect", with, |svg| svg.line("title", &[], says));
    if rate.high > rate.low {
        let (low, high) = (plot.x(scale, rate.low), plot.x(scale, rate.high));
        let middle = top + BAR / 2.0;
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
