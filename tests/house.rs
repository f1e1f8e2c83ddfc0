//! The order of the house: each folder imports only those before it.

use std::fs;
use std::path::Path;

/// Each folder, and whom it may import.
const ROOMS: &[(&str, &[&str])] = &[
    // Pages of Markdown.
    ("guide", &[]),
    ("config", &[]),
    ("wire", &[]),
    ("buf", &["wire"]),
    ("turn", &["config", "wire", "buf"]),
    ("service", &["config", "wire", "buf", "turn"]),
    // `adopt.rs` is the one file of `unsafe`; it imports nobody.
    (
        "reactor",
        &["adopt", "config", "wire", "buf", "turn", "service"],
    ),
    (
        "endpoint",
        &["config", "wire", "buf", "turn", "service", "reactor"],
    ),
    ("socket", &["adopt", "config", "wire", "buf"]),
    ("client", &["config", "wire", "buf", "socket"]),
    ("load", &["config", "wire", "buf"]),
    (
        "cli",
        &[
            "config", "wire", "buf", "turn", "service", "reactor", "endpoint", "socket", "client",
            "load",
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
fn what_adopts_descriptors_imports_nobody() {
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
