//! The pictures of the load generator, of constructed runs: every page is XML, whatever names say;
//! all that is drawn is within its chart; no label lies on another; in a browser, too.
//!
//! The pages stay in `target/tmp/pictures/`, to be looked at. The browser is `chromium`: without it
//! its tests print why and pass, unless `ONEPOLL_TEST_REQUIRE_ALL=1`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use onepoll::bench::show::html::page;
use onepoll::bench::show::terminal;
use onepoll::bench::show::wrap::wrap;
use onepoll::bench::study::comparison::{Comparison, Contest};
use onepoll::load::measure::cpu::CpuTime;
use onepoll::load::measure::failures::Errors;
use onepoll::load::measure::histogram::Latencies;
use onepoll::load::measure::process::Server;
use onepoll::load::measure::series::SecondSeen;
use onepoll::load::run::generator::{Generator, Pauses};
use onepoll::load::run::report::{Held, Hidden, Intended, Report};
use onepoll::load::run::tally::Tally;
use onepoll::load::{Arrivals, Mode, ModeName, ModelName, Plan};

use super::{ECHO, RST as CONN};
use crate::support::program::{self, Said, onepoll, skipped};
use crate::support::script::echo;

/// A run of so many seconds that saw nothing.
fn empty(mode: Mode, seconds: f64) -> Report {
    let endpoint = match mode {
        Mode::Udp { .. } => "udp://127.0.0.1:9100",
        _ => "tcp://127.0.0.1:9100",
    };
    let plan = Plan::new(endpoint.parse().unwrap(), mode);
    let held = Held {
        asked: 50,
        held: 50,
    };
    let cpu = CpuTime {
        used: 600_000_000,
        queued: 0,
        idle: None,
    };
    let turns = latencies(2_000, 15_000.0, 1.5);
    let generator = Generator::new(
        cpu,
        1_000_000_000,
        0,
        &turns,
        &Latencies::new(),
        Pauses::default(),
    );
    let mut report = Report::new(&plan, Tally::new(&plan), held, 0, generator);
    report.elapsed_s = seconds;
    report
}

/// A second without any latency to show.
fn second(answered: u64, errors: u64) -> SecondSeen {
    SecondSeen {
        answered,
        errors,
        p50_us: 0.0,
        p99_us: 0.0,
        max_us: 0.0,
    }
}

/// `count` latencies from `nanos` on: `tail` times as long for each tenth of what is left.
fn latencies(count: u64, nanos: f64, tail: f64) -> Latencies {
    let mut latencies = Latencies::new();
    let steps = count.min(2_000);
    let mut counted = 0;
    for step in 1..=steps {
        // The rare ones one by one.
        let left = (count as f64).powf(-(step as f64) / steps as f64);
        let below = count - (count as f64 * left).round() as u64;
        latencies.record((nanos * left.powf(-tail.log10())) as u64, below - counted);
        counted = below;
    }
    let longest = nanos * ((2 * count) as f64).powf(tail.log10());
    latencies.record(longest as u64, count - counted);
    latencies
}

/// A run at about so many answers a second.
fn run(mode: Mode, seconds: f64, rate: f64, nanos: f64, tail: f64) -> Report {
    let mut report = empty(mode, seconds);
    let count = (rate * seconds) as u64;
    let shown = latencies(count.max(1), nanos, tail);
    report.latency_us = shown.summary();
    report.spectrum = shown.spectrum();
    report.rate_per_s = rate;
    report.requests.asked = count;
    report.requests.answered = count;
    report.phases_us.connect = latencies(1_000, nanos * 0.4, tail).summary();
    report.phases_us.first_byte = latencies(1_000, nanos * 0.5, tail).summary();
    report.seconds = (0..seconds.ceil() as u64)
        .map(|at| {
            let whole = (seconds - at as f64).min(1.0);
            let waves = 1.0 + 0.06 * ((at as f64 * 1.7 + rate).sin());
            SecondSeen {
                p50_us: report.latency_us.p50,
                p99_us: report.latency_us.p99,
                max_us: report.latency_us.max,
                ..second((rate * whole * waves) as u64, 0)
            }
        })
        .collect();
    report
}

fn rounds(report: &Report, times: f64, count: u32) -> Vec<Report> {
    (0..count)
        .map(|n| {
            let mut round = report.clone();
            let noise = f64::from(n) * 2.3 + times * report.rate_per_s;
            round.rate_per_s *= times * (1.0 + 0.03 * noise.sin());
            round
        })
        .collect()
}

fn single(report: Report) -> Comparison {
    let contenders = vec![(report.endpoint.clone(), vec![report.clone()])];
    Comparison::of(vec![Contest::of(report.mode, contenders)])
}

/// Every kind of comparison there is, by the name of its page.
fn gallery() -> &'static [(&'static str, Comparison)] {
    static GALLERY: LazyLock<Vec<(&str, Comparison)>> = LazyLock::new(paint);
    &GALLERY
}

fn paint() -> Vec<(&'static str, Comparison)> {
    let named = |name: &str, reports| (name.to_owned(), reports);
    let good = run(CONN, 10.0, 83_210.0, 420_000.0, 2.2);

    let mut watched = good.clone();
    watched.server = Some(Server {
        pids: vec![4711],
        command: Some("onepoll serve echo://127.0.0.1:9000".to_owned()),
        cpu_share: 0.98,
        sleeps_per_s: 1_204.0,
        per_cpu_s: Some(84_900.0),
        memory_before_bytes: 4 << 20,
        memory_after_bytes: 6 << 20,
        memory_per_connection_bytes: None,
    });

    let mut stalled = run(ECHO, 8.4, 120_000.0, 210_000.0, 3.0);
    for at in [3, 4] {
        stalled.seconds[at].answered = 0;
    }
    stalled.latency_us.max = 2_100_000.0;
    stalled.spectrum.last_mut().unwrap().us = 2_100_000.0;
    stalled.hidden = Some(Hidden {
        stalls: 1,
        stalled_us: 2_100_000.0,
        stall_us: 2_100_000.0,
        not_asked: 252_000,
    });

    let mut silent = empty(CONN, 5.0);
    silent.errors = Errors {
        total: 812,
        refused: 800,
        timeout: 11,
        other: 1,
        ..Errors::default()
    };
    silent.other_error = Some("No route to host (os error 113)".to_owned());
    silent.seconds = vec![second(0, 160); 5];

    let mut failing = good.clone();
    failing.seconds[6].errors = 40;
    failing.seconds[6].answered /= 3;
    failing.errors = Errors {
        total: 40,
        reset: 40,
        ..Errors::default()
    };

    let mut open = run(CONN, 30.0, 2_000.0, 300_000.0, 4.0);
    open.model = ModelName::Open;
    open.schedule = Some(Intended {
        rate_per_s: 2_000.0,
        arrivals: Arrivals::Poisson,
        seed: Some(2_718_281_828),
    });
    open.generator.was_the_limit = true;

    let eight = (0..8)
        .map(|n| {
            let slower = 10f64.powf(f64::from(n) * 0.7);
            let tail = 1.3 + f64::from(n % 3);
            let report = run(CONN, 6.0, 200_000.0 / slower, 10_000.0 * slower, tail);
            let name = match n {
                0 => "onepoll".to_owned(),
                3 => "a server with quite a long name, of which the end matters: 3".to_owned(),
                n => format!("server {n}"),
            };
            (name, vec![report])
        })
        .collect();

    let alike = (0..8)
        .map(|n| {
            let report = run(ECHO, 4.0, 90_000.0 + f64::from(n), 50_000.0, 2.0);
            (format!("tcp://127.0.0.1:910{n}"), vec![report])
        })
        .collect();

    let mut hold = empty(Mode::Hold, 5.0);
    hold.seconds = vec![second(0, 0); 5];
    (hold.connections.asked, hold.connections.held) = (10_000, 9_800);
    hold.phases_us.connect = latencies(9_800, 80_000.0, 3.0).summary();

    let mut slower = run(CONN, 10.0, 60_000.0, 600_000.0, 3.4);
    slower.endpoint = "tcp://127.0.0.1:8080".to_owned();

    let mut hour = run(ECHO, 3_600.0, 50_000.0, 100_000.0, 2.0);
    hour.seconds[1_234].answered = 0;

    vec![
        ("single", single(watched.clone())),
        ("short", single(run(CONN, 1.0, 900.0, 420_000.0, 2.0))),
        ("one", single(run(CONN, 0.001, 1_000.0, 420_000.0, 2.0))),
        ("stall", single(stalled)),
        ("silent", single(silent.clone())),
        ("failing", single(failing)),
        ("open", single(open)),
        ("hour", single(hour)),
        ("hold", single(hold)),
        (
            "compared",
            Comparison::of(vec![
                Contest::of(
                    ModeName::Conn,
                    vec![
                        named("onepoll", rounds(&watched, 1.0, 7)),
                        named("nginx", rounds(&slower, 1.15, 7)),
                        named("asyncio", rounds(&slower, 0.3, 7)),
                    ],
                ),
                Contest::of(
                    ModeName::Echo,
                    vec![
                        named("onepoll", rounds(&run(ECHO, 10.0, 1e5, 4e5, 2.0), 1.0, 7)),
                        named("nginx", rounds(&run(ECHO, 10.0, 1e5, 4e5, 2.1), 1.0, 7)),
                    ],
                ),
            ]),
        ),
        (
            "few",
            Comparison::of(vec![Contest::of(
                ModeName::Conn,
                vec![
                    named("onepoll", rounds(&good, 1.0, 3)),
                    named("slower", rounds(&slower, 1.0, 3)),
                    named("nobody", rounds(&silent, 1.0, 3)),
                    named("never", vec![]),
                ],
            )]),
        ),
        (
            "eight",
            Comparison::of(vec![Contest::of(ModeName::Conn, eight)]),
        ),
        (
            "alike",
            Comparison::of(vec![Contest::of(ModeName::Echo, alike)]),
        ),
        ("nothing", Comparison::of(vec![])),
        (
            "nobody",
            Comparison::of(vec![Contest::of(ModeName::Conn, vec![])]),
        ),
        ("hostile", hostile(&good)),
    ]
}

const HOSTILE: &str =
    "</title></style><script>alert(1)</script>\"'&amp;<!-- \u{1b}[2J\0\u{202e}\u{ffff}]]>";

/// Where everything that comes from outside is against us.
fn hostile(good: &Report) -> Comparison {
    let mut report = good.clone();
    report.endpoint = format!("unix:///{HOSTILE}");
    report.expect = HOSTILE.to_owned();
    report.other_error = Some(HOSTILE.to_owned());
    report.errors.total = 1;
    report.errors.other = 1;
    let contenders = vec![
        (HOSTILE.to_owned(), vec![report.clone()]),
        (
            "名前の長いサーバー、とても長い名前".to_owned(),
            vec![report],
        ),
    ];
    Comparison::of(vec![Contest::of(ModeName::Conn, contenders)])
}

/// A tag or a text of a page.
#[derive(Debug, PartialEq)]
enum Piece<'p> {
    Open(&'p str, Vec<(&'p str, &'p str)>),
    Close(&'p str),
    Text(&'p str),
}

/// A strict reading of the XML that we write, in which a stray `<`, `&` or quote is found out.
fn pieces(page: &str) -> Vec<Piece<'_>> {
    let mut left = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    let mut pieces = Vec::new();
    let mut open = Vec::new();
    while let Some(start) = left.find('<') {
        let (text, rest) = left.split_at(start);
        for (at, _) in text.match_indices('&') {
            let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
            let entity = &text[at..];
            assert!(
                known.iter().any(|known| entity.starts_with(known)),
                "{entity}"
            );
        }
        if !text.trim().is_empty() {
            pieces.push(Piece::Text(text));
        }
        let (tag, after) = rest[1..].split_once('>').expect("a tag ends");
        left = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed in order");
            pieces.push(Piece::Close(name));
            continue;
        }
        let is_empty = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut with = Vec::new();
        while let Some((name, rest)) = attributes.split_once("=\"") {
            let (value, rest) = rest.split_once('"').expect("a quote ends");
            with.push((name.trim(), value));
            attributes = rest;
        }
        assert_eq!(attributes.trim(), "", "{tag}");
        pieces.push(Piece::Open(name, with));
        if is_empty {
            pieces.push(Piece::Close(name));
        } else {
            open.push(name);
        }
    }
    assert_eq!((open.len(), left.trim()), (0, ""));
    pieces
}

fn attribute<'p>(with: &[(&str, &'p str)], name: &str) -> Option<&'p str> {
    with.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

#[test]
fn every_page_is_well_formed_and_fetches_nothing() {
    for (name, comparison) in gallery() {
        let page = page(comparison, &[], None);
        let pieces = pieces(&page);
        for piece in &pieces {
            let Piece::Open(tag, with) = piece else {
                continue;
            };
            let known = [
                "html",
                "head",
                "meta",
                "title",
                "style",
                "body",
                "main",
                "section",
                "h1",
                "h2",
                "h3",
                "p",
                "ul",
                "li",
                "b",
                "figure",
                "figcaption",
                "div",
                "table",
                "thead",
                "tbody",
                "tr",
                "th",
                "td",
                "span",
                "footer",
                "svg",
                "desc",
                "g",
                "line",
                "path",
                "rect",
                "circle",
                "text",
            ];
            assert!(known.contains(tag), "{name}: <{tag}>");
            for (attribute, value) in with {
                let can_fetch =
                    ["href", "src", "style"].contains(attribute) || attribute.starts_with("on");
                assert!(!can_fetch, "{name}: {attribute}={value}");
            }
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "{name}");
        assert!(
            !page.contains("url(") && !page.contains("@import"),
            "{name}"
        );
        let odd = |c: char| (c.is_control() && c != '\n') || "\u{ffff}\u{202e}".contains(c);
        assert!(!page.contains(odd), "{name}");
    }
}

#[test]
fn every_chart_says_in_words_what_it_shows() {
    for (name, comparison) in gallery() {
        let page = page(comparison, &[], None);
        let pieces = pieces(&page);
        for (at, piece) in pieces.iter().enumerate() {
            let Piece::Open("svg", with) = piece else {
                continue;
            };
            assert_eq!(attribute(with, "role"), Some("img"), "{name}");
            assert!(attribute(with, "aria-label").is_some(), "{name}");
            let [title, words, _, desc, more] = &pieces[at + 1..at + 6] else {
                panic!("{name}: an empty chart");
            };
            assert!(
                matches!(title, Piece::Open("title", _)),
                "{name}: {title:?}"
            );
            assert!(matches!(desc, Piece::Open("desc", _)), "{name}: {desc:?}");
            assert!(
                matches!((words, more), (Piece::Text(_), Piece::Text(_))),
                "{name}"
            );
        }
    }
}

/// A rectangle, in pixels.
#[derive(Debug, Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Area {
    fn touches(self, other: Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

#[test]
fn what_is_drawn_is_within_its_chart_and_no_label_lies_on_another() {
    for (name, comparison) in gallery() {
        let page = page(comparison, &[], None);
        let mut size = (0.0, 0.0);
        let mut labels: Vec<(Area, String)> = Vec::new();
        let pieces = pieces(&page);
        for (at, piece) in pieces.iter().enumerate() {
            let Piece::Open(tag, with) = piece else {
                continue;
            };
            let number = |name| attribute(with, name).map(|value| value.parse::<f64>().unwrap());
            if *tag == "svg" {
                size = (number("width").unwrap(), number("height").unwrap());
                assert!(size.0 >= 300.0 && size.1 >= 60.0, "{name}: {size:?}");
                labels.clear();
            }
            for (axis, most) in [
                ("x", size.0),
                ("x1", size.0),
                ("x2", size.0),
                ("cx", size.0),
                ("y", size.1),
                ("y1", size.1),
                ("y2", size.1),
                ("cy", size.1),
            ] {
                if let Some(place) = number(axis) {
                    assert!(
                        (0.0..=most).contains(&place),
                        "{name}: {tag} {with:?} in {size:?}"
                    );
                }
            }
            if let Some(path) = attribute(with, "d") {
                for number in path
                    .split(['M', 'L', 'H', 'V', ' '])
                    .filter(|part| !part.is_empty())
                {
                    let number: f64 = number.parse().unwrap();
                    assert!(
                        (0.0..=size.0.max(size.1)).contains(&number),
                        "{name}: {path}"
                    );
                }
            }
            if let (&"text", Some(Piece::Text(text))) = (tag, pieces.get(at + 1)) {
                let text = text
                    .replace("&quot;", "'")
                    .replace("&#39;", "'")
                    .replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&amp;", "&");
                let wide = text.chars().map(|c| if c.is_ascii() { 7.0 } else { 12.0 });
                let (wide, x, y) = (
                    wide.sum::<f64>(),
                    number("x").unwrap(),
                    number("y").unwrap(),
                );
                let class = attribute(with, "class").unwrap();
                let left = match class {
                    class if class.ends_with("middle") => x - wide / 2.0,
                    class if class.ends_with("end") => x - wide,
                    _ => x,
                };
                let area = Area {
                    left,
                    top: y - 10.0,
                    right: left + wide,
                    bottom: y + 3.0,
                };
                for (other, words) in &labels {
                    assert!(!area.touches(*other), "{name}: {text:?} lies on {words:?}");
                }
                labels.push((area, text));
            }
        }
    }
}

#[test]
fn words_say_how_sure_they_are() {
    let text = |wanted: &str| {
        let (_, comparison) = gallery().iter().find(|(name, _)| *name == wanted).unwrap();
        page(comparison, &[], None)
    };
    let says = |name: &str, what: &str| {
        let page = text(name);
        assert!(page.contains(what), "{name} does not say {what:?}");
    };
    says("compared", "nginx answers 0.81 (");
    says("compared", "cannot be told apart");
    says("compared", "with 95 % confidence");
    says("few", "3 rounds: too few to tell a difference from chance");
    says("few", "never: no round could be made");
    says("eight", "1 round: too few to tell a difference from chance");
    says("silent", "No answer came from tcp://127.0.0.1:9100.");
    says("silent", "812 errors: 800 refused, 11 timed out, 1 other.");
    says("stall", "the closed model HIDES a stall of 2.100 s");
    says("open", "the generator was the limit, since");
    says(
        "open",
        "Open model: 2,000 requests a second, poisson arrivals",
    );
    says("short", "Measured for less than 3 s");
    says("hold", "held 9,800 of 10,000 connections");
    says("failing", "A dot is a second in which something failed.");
}

#[test]
fn a_part_of_a_second_is_not_drawn() {
    let (_, stalled) = gallery().iter().find(|(name, _)| *name == "stall").unwrap();
    let page = page(stalled, &[], None);
    assert!(page.contains("second 8: ") && !page.contains("second 9: "));
    assert!(page.contains("second 4: 0 answers"));
}

#[test]
fn idle_connections_have_no_rate_to_draw() {
    let (_, hold) = gallery().iter().find(|(name, _)| *name == "hold").unwrap();
    let page = page(hold, &[], None);
    assert!(!page.contains("<svg") && !page.contains("Rate over time"));
    let report = &hold.contests[0].contenders[0].reports[0];
    assert_eq!(terminal::report(report, 80), "");
}

#[test]
fn a_terminal_is_never_too_narrow() {
    let mut all = String::new();
    for (name, comparison) in gallery() {
        for width in [40, 60, 80, 200] {
            let mut text = terminal::comparison(comparison, width);
            for contest in &comparison.contests {
                for one in &contest.contenders {
                    for report in &one.reports {
                        text += &terminal::report(report, width);
                    }
                }
            }
            if width < 60 {
                // There its words are broken into lines, as those of the result are.
                text = wrap(&text, width);
            }
            for line in text.lines() {
                let columns: usize = line
                    .chars()
                    .map(|c| 1 + usize::from(c > '\u{2fff}' && c < '\u{ff00}'))
                    .sum();
                assert!(columns <= width, "{name}: {columns} of {width}: {line}");
                assert!(!line.contains(char::is_control), "{name}: {line:?}");
                assert_eq!(line, line.trim_end(), "{name}");
            }
            if width == 80 {
                let _ = writeln!(all, "== {name}\n{text}");
            }
        }
    }
    std::fs::write(folder().join("terminal.txt"), all).unwrap();
}

#[test]
fn a_terminal_sees_percentiles_and_seconds() {
    let (_, stalled) = gallery().iter().find(|(name, _)| *name == "stall").unwrap();
    let text = terminal::report(&stalled.contests[0].contenders[0].reports[0], 80);
    for what in ["50 %", "99.9 %", "all      2.100 s", "·", "· none"] {
        assert!(text.contains(what), "{text}");
    }
    assert_eq!(terminal::report(&empty(CONN, 1.0), 80), "");
}

/// Three requests of a run that leaves a page, or does not.
fn bench(arguments: &[&str]) -> Said {
    let begin = &["bench", "conn", "--count", "3", "--connections", "1"][..];
    onepoll(&[begin, arguments].concat())
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_the_run() {
    // A run would fail, too, and with another code.
    let nobody = "127.0.0.1:9";
    for file in ["/nowhere/at/all.html", "/"] {
        let said = bench(&[nobody, "--html", file]);
        assert_eq!(said.exits(2).out, "");
        let why = format!("onepoll: --html {file}: cannot be written: ");
        assert!(said.err.starts_with(&why), "{}", said.err);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.html");
    let refused = [nobody, "--size", "0", "--html", file.to_str().unwrap()];
    bench(&refused).exits(2);
    assert!(!file.exists());
    std::fs::write(&file, "kept").unwrap();
    bench(&refused).exits(2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn a_run_leaves_a_page_and_shows_a_picture_unless_told_not_to() {
    let address = echo().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.html");
    // What was longer leaves nothing behind.
    std::fs::write(&file, "x".repeat(1 << 20)).unwrap();
    let said = bench(&[&address, "--html", file.to_str().unwrap()]);
    let out = &said.exits(0).out;
    assert!(out.contains("log scale") && out.contains('█'), "{out}");
    let where_it_is = format!("onepoll: the charts are in {}\n", file.display());
    assert_eq!(said.err, where_it_is);
    pieces(std::fs::read_to_string(&file).unwrap().as_str());
    for less in ["--json", "-q"] {
        let said = bench(&[&address, less]);
        assert_eq!(said.exits(0).err, "");
        assert!(!said.out.contains('█'), "{}", said.out);
    }
}

/// Reports what a browser made of the page: texts that overlap or leave the window, charts without
/// a size, and whether the page is wider than the window.
const LOOK: &str = r#"<script>
const shown = [...document.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().width > 0);
const wrong = [];
for (const svg of shown) {
  if (svg.getBoundingClientRect().height < 50) wrong.push("a flat chart");
  const texts = [...svg.querySelectorAll("text")].filter(text => text.textContent.trim());
  const boxes = texts.map(text => [text.getBoundingClientRect(), text.textContent]);
  boxes.forEach(([a, one], n) => {
    if (a.left < -1 || a.right > innerWidth + 1) wrong.push("outside: " + one);
    for (const [b, other] of boxes.slice(0, n))
      if (a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)
        wrong.push(one + " lies on " + other);
  });
}
if (document.documentElement.scrollWidth > innerWidth) wrong.push("wider than the window");
document.title = shown.length + " charts, wrong: " + wrong.join("; ") + ".";
</script></body>"#;

/// In one browser, since starting it takes longest: each page in a frame, in a window and on a phone.
#[test]
fn a_browser_draws_every_page_without_complaint() {
    let folder = folder();
    let mut looking = "<!DOCTYPE html><meta charset=utf-8><title></title>".to_owned();
    let mut as_they_are = looking.clone();
    let mut wanted = String::new();
    for (name, comparison) in gallery() {
        let page = page(comparison, &[], None);
        std::fs::write(folder.join(format!("{name}.html")), &page).unwrap();
        let _ = write!(as_they_are, "<iframe src=\"{name}.html\"></iframe>");
        // The page itself runs no script; this copy may.
        let copy = page
            .replace("default-src &#39;none&#39;; ", "")
            .replace("</body>", LOOK)
            .replace('&', "&amp;")
            .replace('"', "&quot;");
        let charts = page.matches("<svg").count() / 2;
        for width in [1000, 400] {
            let _ = write!(
                looking,
                "<iframe width={width} height=900 title=\"{name} at {width}\" srcdoc=\"{copy}\"></iframe>"
            );
            let _ = writeln!(wanted, "{name} at {width}: {charts} charts, wrong: .");
        }
    }
    looking += "<script>onload = () => document.title = [...document.querySelectorAll('iframe')]
        .map(frame => frame.title + ': ' + frame.contentDocument.title + '\\n').join('')</script>";
    let album = folder.join("looking.album.html");
    std::fs::write(&album, looking).unwrap();
    let Some(said) = browse(&album) else { return };
    let found = said.split("<title>").nth(1);
    let found = found.and_then(|rest| rest.split("</title>").next());
    assert_eq!(found, Some(wanted.as_str()), "{}", album.display());

    let album = folder.join("as-they-are.album.html");
    std::fs::write(&album, as_they_are).unwrap();
    let Some(said) = browse(&album) else { return };
    assert!(!said.contains("CONSOLE"), "{said}");
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The page as a browser has it, and what it complained about; none without one.
fn browse(page: &Path) -> Option<String> {
    if skipped("chromium") {
        return None;
    }
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = Command::new("chromium");
    chromium
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--window-size=1200,1000")
        .arg(format!("file://{}", page.display()));
    let said = program::run(&mut chromium, "");
    Some(said.out + &said.err)
}
