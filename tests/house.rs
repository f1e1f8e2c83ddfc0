//! The order of the house: each folder imports only those before it, and no files import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each folder, and what it may import.
const ROOMS: &[(&str, &[&str])] = &[
    // Pages of Markdown.
    ("guide", &[]),
    ("config", &[]),
    ("wire", &[]),
    // Rustls, for both ends.
    ("tls", &["config", "wire"]),
    // One host of IPMSG, for the service and the client.
    ("ipmsg", &["wire"]),
    ("buf", &["wire"]),
    ("turn", &["config", "wire", "buf"]),
    ("service", &["config", "wire", "ipmsg", "buf", "turn"]),
    // `adopt.rs` is the one file of `unsafe`; it imports no folder.
    (
        "reactor",
        &["adopt", "config", "wire", "tls", "buf", "turn", "service"],
    ),
    (
        "endpoint",
        &["config", "wire", "tls", "buf", "turn", "service", "reactor"],
    ),
    ("socket", &["adopt", "config", "wire", "buf"]),
    (
        "client",
        &["config", "wire", "tls", "ipmsg", "buf", "socket"],
    ),
    ("load", &["config", "wire", "tls", "buf"]),
    ("bench", &["config", "wire", "load"]),
    (
        "cli",
        &[
            "config", "wire", "tls", "ipmsg", "buf", "turn", "service", "reactor", "endpoint",
            "socket", "client", "load", "bench",
        ],
    ),
];

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for (room, allowed) in ROOMS {
        for_each_source(&Path::new("src").join(room), &mut |path, text| {
            for (number, line) in text.lines().enumerate() {
                for imported in crate_paths(line) {
                    if imported != *room && !allowed.contains(&imported) {
                        wrong.push(format!(
                            "{}:{}: {room} imports {imported}",
                            path.display(),
                            number + 1
                        ));
                    }
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_reactor_and_the_load_generator_see_mio() {
    for (room, _) in ROOMS
        .iter()
        .filter(|(room, _)| !["reactor", "load"].contains(room))
    {
        for_each_source(&Path::new("src").join(room), &mut |path, text| {
            let seen = text
                .lines()
                .find(|line| !is_comment(line) && line.contains("mio::"));
            assert_eq!(seen, None, "{}", path.display());
        });
    }
}

#[test]
fn what_adopts_descriptors_imports_nothing() {
    let text = fs::read_to_string("src/adopt.rs").unwrap();
    assert_eq!(text.lines().flat_map(crate_paths).next(), None);
}

#[test]
fn every_room_is_in_the_order() {
    for entry in fs::read_dir("src").unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let known = ROOMS.iter().any(|(room, _)| *room == name);
        assert!(
            known || !entry.file_type().unwrap().is_dir(),
            "src/{name} has no place in the order"
        );
    }
}

#[test]
fn no_files_import_each_other() {
    let mut wrong = Vec::new();
    for root in ["src", "benches"] {
        let mut texts = Vec::new();
        for_each_source(Path::new(root), &mut |path, text| {
            texts.push((path.to_owned(), text.to_owned()));
        });
        let house = House::of(root, &texts);
        wrong.extend(house.circles());
    }
    let lines: Vec<String> = wrong.iter().map(|circle| arrows(circle)).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn a_circle_is_found_and_what_is_none_is_not() {
    let found = |texts: &[(&str, &str)]| {
        let texts = texts
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()));
        let circles = House::of("src", &texts.collect::<Vec<_>>()).circles();
        circles
            .iter()
            .map(|circle| arrows(circle))
            .collect::<Vec<_>>()
    };
    let a = ("src/room/a.rs", "use super::b::B;");
    // Over several lines, in a path of an expression, and through a signpost.
    for b in [
        "use std::fmt;\nuse crate::{\n    room::{\n        a::{A, C as D},\n    },\n};",
        "fn f() { super::a::f() }",
        "use super::A;",
    ] {
        let signpost = ("src/room/mod.rs", "mod a;\nmod b;\npub use a::A;");
        let circle = "src/room/a.rs -> src/room/b.rs -> src/room/a.rs";
        assert_eq!(found(&[a, ("src/room/b.rs", b), signpost]), [circle], "{b}");
    }
    // In a comment, in the tests below, or as a signpost it is no import.
    for b in [
        "//! [`super::a::A`]",
        "#[cfg(test)]\nmod tests {\n    use crate::room::a::A;\n}",
        "pub use super::a::A;",
    ] {
        assert_eq!(found(&[a, ("src/room/b.rs", b)]), [""; 0], "{b}");
    }
    // Nor is that something is visible from above.
    let above = ("src/room/mod.rs", "use self::b::c::C;");
    let seen = ("src/room/b/c.rs", "pub(in super::super) enum C {}");
    assert_eq!(
        found(&[above, seen, ("src/room/b/mod.rs", "mod c;")]),
        [""; 0]
    );
    // A page of a type of the folder may name that type, and no other thing of it.
    let folder = (
        "src/room/mod.rs",
        "mod page;\nuse page::Page;\npub struct Room;\nconst N: u8 = 1;",
    );
    let page = ("src/room/page.rs", "use super::Room;\nimpl<T> Room<T> {}");
    assert_eq!(found(&[folder, page]), [""; 0]);
    for page in ["use super::Room;", "use super::{N, Room};\nimpl Room {}"] {
        let circle = "src/room/mod.rs -> src/room/page.rs -> src/room/mod.rs";
        assert_eq!(
            found(&[folder, ("src/room/page.rs", page)]),
            [circle],
            "{page}"
        );
    }
}

/// The modules below a folder, by their paths in it, and what each imports.
struct House {
    modules: BTreeMap<Vec<String>, Module>,
}

struct Module {
    file: PathBuf,
    code: String,
    uses: Vec<Use>,
}

/// One path of a `use`, under which name it is known, and whether the line is a signpost (`pub use`).
struct Use {
    path: Vec<String>,
    name: String,
    is_signpost: bool,
}

impl House {
    fn of(root: &str, texts: &[(PathBuf, String)]) -> House {
        let module = |(path, text): &(PathBuf, String)| {
            let mut name: Vec<String> = path
                .strip_prefix(root)
                .unwrap()
                .with_extension("")
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            if ["mod", "lib"].contains(&name.last().unwrap().as_str()) {
                name.pop();
            }
            let code = code(text);
            let (uses, code) = uses(&code);
            let file = path.clone();
            (name, Module { file, code, uses })
        };
        House {
            modules: texts.iter().map(module).collect(),
        }
    }

    /// The module that a path written in `here` leads to, and what it names there; none if it leads
    /// out of the house.
    fn resolve(&self, here: &[String], path: &[String]) -> Option<(Vec<String>, Option<String>)> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => here.to_vec(),
            "super" => here[..here.len().checked_sub(1)?].to_vec(),
            child => [here, &[child.to_owned()]].concat(),
        };
        while let Some((step, after)) = rest.split_first() {
            match step.as_str() {
                "super" => drop(at.pop()?),
                step => {
                    at.push(step.to_owned());
                    if !self.modules.contains_key(&at) {
                        at.pop();
                        let item = Some(step.to_owned());
                        return self.modules.contains_key(&at).then_some((at, item));
                    }
                }
            }
            rest = after;
        }
        self.modules.contains_key(&at).then_some((at, None))
    }

    /// The module where what a path names is to be found, behind all signposts, and its name there.
    fn leads_to(&self, here: &[String], path: &[String]) -> Option<(Vec<String>, String)> {
        let (mut at, mut item) = self.resolve(here, path)?;
        let mut seen = BTreeSet::new();
        while let Some(name) = &item
            && seen.insert((at.clone(), name.clone()))
            && let Some(to) = self.modules[&at].uses.iter().find(|to| to.name == *name)
            && let Some(next) = self.resolve(&at, &to.path)
            && next.0 != *here
        {
            (at, item) = next;
        }
        Some((at, item.unwrap_or_default()))
    }

    /// The modules that this one imports.
    fn imports(&self, here: &Vec<String>) -> BTreeSet<Vec<String>> {
        let module = &self.modules[here];
        let written = module.uses.iter().filter(|to| !to.is_signpost);
        let named = paths(&module.code);
        let all = written.map(|to| &to.path).chain(&named);
        let is_page_of = |item: &str| {
            let mut heads = module.code.lines().filter(|line| line.starts_with("impl"));
            heads.any(|head| !head.contains(" for ") && words(head).any(|word| word == item))
        };
        all.filter_map(|path| self.leads_to(here, path))
            .filter(|(to, item)| to != here && !(here.starts_with(to) && is_page_of(item)))
            .map(|(to, _)| to)
            .collect()
    }

    /// A shortest circle through each file that is in one, each circle once.
    fn circles(&self) -> Vec<Vec<PathBuf>> {
        let imports: BTreeMap<_, _> = self
            .modules
            .keys()
            .map(|name| (name, self.imports(name)))
            .collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for start in self.modules.keys() {
            // Breadth first, so that the first way back is a shortest one.
            let mut ways = std::collections::VecDeque::from([vec![start]]);
            let mut reached = BTreeSet::new();
            let circle = loop {
                let Some(way) = ways.pop_front() else {
                    break None;
                };
                let last = way[way.len() - 1];
                if imports[last].contains(start) {
                    break Some(way);
                }
                for next in &imports[last] {
                    if reached.insert(next) {
                        ways.push_back([&way[..], &[next]].concat());
                    }
                }
            };
            let Some(circle) = circle else { continue };
            if seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()) {
                let file = |name: &&Vec<String>| self.modules[*name].file.clone();
                circles.push(circle.iter().map(file).collect());
            }
        }
        circles
    }
}

fn arrows(circle: &[PathBuf]) -> String {
    let around = circle.iter().chain(circle.first());
    let names: Vec<String> = around.map(|file| file.display().to_string()).collect();
    names.join(" -> ")
}

/// A file without its comments, and without its tests, which stand last.
fn code(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..tests].lines().filter(|line| !is_comment(line));
    let code = lines.map(|line| line.split(" // ").next().unwrap_or(line));
    // Whom something is visible to is no import of it.
    code.collect::<Vec<_>>()
        .join("\n")
        .replace("pub(in super::super)", "pub")
}

/// The `use` lines of code, and the code without them.
fn uses(code: &str) -> (Vec<Use>, String) {
    let (mut found, mut left) = (Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let (before, tree) = line.split_once("use ").unwrap_or((line, ""));
        let is_signpost = before.trim_start().starts_with("pub");
        if tree.is_empty() || !is_signpost && !before.trim().is_empty() {
            left = left + line + "\n";
            continue;
        }
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            tree += lines.next().unwrap_or(";").trim_start();
        }
        expand(
            "",
            tree.split(';').next().unwrap_or_default(),
            &mut |path, name| {
                let path = path
                    .split("::")
                    .filter(|step| !step.is_empty())
                    .map(str::to_owned)
                    .collect();
                let name = name.to_owned();
                found.push(Use {
                    path,
                    name,
                    is_signpost,
                });
            },
        );
    }
    (found, left)
}

/// `a::{b::C, d as e}` as `a::b::C` and `a::d`, with their names here, `C` and `e`.
fn expand(before: &str, tree: &str, found: &mut impl FnMut(&str, &str)) {
    let Some((path, inner)) = tree.trim().split_once('{') else {
        let (path, name) = tree.trim().split_once(" as ").unwrap_or((tree.trim(), ""));
        let path = format!("{before}{path}");
        let path = path.strip_suffix("::self").unwrap_or(&path);
        let last = path.rsplit("::").next().unwrap_or_default();
        return found(path, if name.is_empty() { last } else { name });
    };
    let before = format!("{before}{path}");
    let (mut depth, mut from) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                if !inner[from..at].trim().is_empty() {
                    expand(&before, &inner[from..at], found);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// Each path in code that leads through the house. Not a folder's own `child::run`: it is made of its
/// files, as `mod child` says.
fn paths(code: &str) -> Vec<Vec<String>> {
    let runs = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let steps = runs.map(|run| run.split("::").map(str::to_owned).collect::<Vec<_>>());
    let leads = |path: &Vec<String>| ["crate", "self", "super"].contains(&path[0].as_str());
    steps.filter(|path| path.len() > 1 && leads(path)).collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The first step of each `crate::…` path in a line of code.
fn crate_paths(line: &str) -> impl Iterator<Item = &str> {
    let code = if is_comment(line) { "" } else { line };
    code.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        Some(&rest[..end])
    })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn for_each_source(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_source(&path, visit);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            visit(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
