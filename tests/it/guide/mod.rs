//! The README and the guide, held to what they say: links lead somewhere, limits are those of the code, commands
//! are understood, programs run, and what stands below a command is what it prints.
//!
//! Digits are compared as digits, since times, ports and sizes differ; a line `…` stands for any lines. Figures of
//! `bench` are not compared. Without `python3` or `nc` the tests that need them print why and pass, unless
//! `ONEPOLL_TEST_REQUIRE_ALL=1`.

mod constant;
mod killed_server;
mod off_this_machine;
mod page;
mod run;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onepoll::config::Limits;
use onepoll::service::SERVICES;
use serde_json::Value;

use crate::support::program::skipped;

use constant::{constant, for_each_source};
use page::{
    anchors, bare, blocks, commands, definition, documents, named_experiments, prose, read, rows,
    targets,
};
use run::{Server, agrees, arguments, bounded, elsewhere, said, shell};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const ONEPOLL: &str = env!("CARGO_BIN_EXE_onepoll");

/// Two screens; rustls has 9.5 KB, ripgrep 21.
const README_BYTES_MAX: usize = 9 * 1024;
/// Of one session in the README.
const SESSION_LINES_MAX: usize = 12;

#[test]
fn the_readme_fits_two_screens() {
    let readme = read("README.md");
    assert!(readme.len() <= README_BYTES_MAX, "{} bytes", readme.len());
    for block in blocks(&readme).iter().filter(|b| b.language == "console") {
        assert!(block.lines.len() <= SESSION_LINES_MAX, "{:?}", block.lines);
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for document in documents() {
        for target in targets(&prose(&read(&document))) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = Path::new(&document).parent().unwrap();
            let file = if path.is_empty() {
                PathBuf::from(&document)
            } else {
                folder.join(path)
            };
            assert!(Path::new(ROOT).join(&file).exists(), "{document}: {target}");
            if !anchor.is_empty() {
                let headings = anchors(&read(file.to_str().unwrap()));
                assert!(
                    headings.contains(anchor),
                    "{document}: {target}: {headings:?}"
                );
            }
            links += 1;
        }
    }
    assert!(links > 50, "{links}");
}

#[test]
fn a_page_of_the_guide_has_its_links_in_rustdoc_too() {
    let module = read("src/guide/mod.rs");
    let mut links = 0;
    for page in documents().iter().filter(|name| name.contains("guide/")) {
        let name = Path::new(page).file_stem().unwrap().to_str().unwrap();
        let (_, of_page) = module.split_once(&format!("pub mod {name} {{\n")).unwrap();
        let (of_page, _) = of_page.split_once("\n}\n").unwrap();
        for line in read(page).lines() {
            if let Some((label, _)) = definition(line) {
                let here = format!("    //! [{label}]: ");
                assert!(
                    of_page.lines().any(|l| l.starts_with(&here)),
                    "{page}: {label}"
                );
                links += 1;
            }
        }
    }
    assert!(links > 10, "{links}");
}

#[test]
fn the_limits_are_the_codes() {
    let Value::Object(limits) = serde_json::to_value(Limits::default()).unwrap() else {
        panic!("limits are a table");
    };
    let defaults: BTreeMap<String, String> = limits
        .into_iter()
        .map(|(name, value)| match value {
            // What the descriptors allow.
            Value::Null => (name, "what the descriptors allow".to_owned()),
            Value::String(text) => (name, text),
            other => (name, other.to_string()),
        })
        .collect();
    let written: BTreeMap<String, String> = rows(&read("src/guide/serve.md"), "| name | default |")
        .into_iter()
        .map(|row| (bare(&row[0]), bare(&row[1])))
        .collect();
    assert_eq!(written, defaults);
}

#[test]
fn what_is_fixed_is_the_codes_too() {
    let mut constants = BTreeMap::<String, Vec<String>>::new();
    for_each_source(&Path::new(ROOT).join("src"), &mut |text| {
        for (name, value) in text.lines().filter_map(constant) {
            constants.entry(name).or_default().push(value);
        }
    });
    let written: BTreeMap<String, String> = rows(&read("src/guide/serve.md"), "| name | value |")
        .into_iter()
        .map(|row| (bare(&row[0]), bare(&row[1])))
        .collect();
    for (name, value) in &written {
        let values = constants
            .get(name)
            .unwrap_or_else(|| panic!("no constant {name}"));
        assert!(values.contains(value), "{name} is {values:?}, not {value}");
    }
    // All that stand beside the others.
    for line in read("src/config/limits.rs").lines() {
        if let Some((name, _)) = constant(line) {
            assert!(written.contains_key(&name), "{name} is not in serve.md");
        }
    }
}

#[test]
fn the_loop_is_quoted_as_it_is() {
    let code = read("src/reactor/mod.rs");
    let lines: BTreeSet<&str> = code.lines().map(str::trim).collect();
    let map = blocks(&read("ARCHITECTURE.md"));
    let quoted = map.iter().find(|block| block.language == "rust").unwrap();
    for line in &quoted.lines {
        assert!(lines.contains(line.trim()), "{line}");
    }
    let tour = read("src/guide/reading.md");
    let steps: Vec<&str> = tour
        .lines()
        .filter_map(|line| line.strip_prefix("self."))
        .collect();
    assert_eq!(steps.len(), 6);
    for step in steps {
        let (call, _) = step.split_once(';').unwrap();
        assert!(
            code.contains(&format!("        self.{call}; // ")),
            "{call}"
        );
    }
}

#[test]
fn every_option_of_a_service_is_written_down() {
    let mut written = BTreeSet::new();
    let mut service = String::new();
    for row in rows(
        &read("src/guide/serve.md"),
        "| service | option | default |",
    ) {
        if !row[0].is_empty() {
            service = bare(&row[0]);
        }
        written.insert((service.clone(), bare(&row[1])));
    }
    let mut taken = BTreeSet::from([
        // One of those that every endpoint has, and that means something here only.
        ("command".to_owned(), "auth".to_owned()),
    ]);
    for row in SERVICES {
        for key in row.transports().into_iter().flat_map(|over| row.keys(over)) {
            taken.insert((row.name.to_owned(), (*key).to_owned()));
        }
    }
    assert_eq!(written, taken);
}

#[test]
fn every_flag_is_written_down() {
    let modes = ["conn", "echo", "udp", "fanout", "hold", "exec", "compare"];
    let of_modes = modes.map(|mode| ("src/guide/bench.md", format!("bench {mode}")));
    let others = ["serve", "check"].map(|command| ("src/guide/serve.md", command.to_owned()));
    for (page, command) in of_modes.into_iter().chain(others) {
        let help = said(&shell(&format!("onepoll {command} --help")));
        let page = read(page);
        let flags: Vec<&str> = help
            .lines()
            .filter_map(|line| line.trim_start().split_once("--"))
            .filter(|(before, _)| before.is_empty() || before.starts_with('-'))
            .map(|(_, flag)| flag.split([' ', '[', '.']).next().unwrap())
            .filter(|flag| !["help", "version", "verbose", "quiet"].contains(flag))
            .collect();
        assert!(flags.len() > 1, "{help}");
        for flag in flags {
            assert!(page.contains(&format!("--{flag}")), "{command} --{flag}");
        }
    }
}

#[test]
fn every_configuration_is_accepted() {
    let mut files = 0;
    for document in documents() {
        for block in blocks(&read(&document))
            .iter()
            .filter(|b| b.language == "toml")
        {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("onepoll.toml");
            let text = block.lines.join("\n");
            let text = elsewhere(&text, folder.path());
            fs::write(&file, text).unwrap();
            let output = shell(&format!("onepoll check --config {}", file.display()));
            assert!(output.status.success(), "{document}: {}", said(&output));
            files += 1;
        }
    }
    assert!(files > 0);
}

#[test]
fn every_command_line_is_understood() {
    let mut lines = BTreeSet::new();
    for document in documents() {
        let text = read(&document);
        for block in blocks(&text) {
            for line in &block.lines {
                let line = line.strip_prefix("$ ").unwrap_or(line);
                if line.starts_with("onepoll ")
                    && ["console", "sh"].contains(&block.language.as_str())
                {
                    lines.insert(line.to_owned());
                }
            }
        }
    }
    assert!(lines.len() > 15, "{lines:?}");
    for line in lines {
        for arguments in arguments(&line) {
            // Help comes only after everything before it was understood.
            let end = arguments
                .iter()
                .position(|a| a == "--")
                .unwrap_or(arguments.len());
            let (before, after) = arguments.split_at(end);
            let output = Command::new(ONEPOLL)
                .args(before)
                .arg("--help")
                .args(after)
                .output()
                .unwrap();
            assert!(output.status.success(), "{line}: {}", said(&output));
        }
    }
}

#[test]
fn what_stands_below_a_command_is_what_it_prints() {
    let server = Server::start();
    let mut compared = 0;
    for document in documents() {
        for block in blocks(&read(&document))
            .iter()
            .filter(|b| b.language == "console")
        {
            for (command, shown) in commands(block) {
                // Figures; and what runs until it is told to stop.
                let serves = command.starts_with("onepoll serve")
                    && shown.contains(&"onepoll: ready".to_owned());
                if command.contains("onepoll bench") || serves {
                    continue;
                }
                let needs = ["nc", "python3"]
                    .into_iter()
                    .find(|name| command.split(' ').any(|word| word == *name));
                if needs.is_some_and(skipped) {
                    continue;
                }
                let printed = server.shell(&command);
                let printed: Vec<&str> = printed.trim_end().lines().collect();
                assert!(
                    agrees(&shown, &printed),
                    "{document}: $ {command}\nshown:\n{}\nprinted:\n{}",
                    shown.join("\n"),
                    printed.join("\n")
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 5, "{compared}");
}

#[test]
fn the_experiments_are_shown_as_they_run() {
    let window = read("src/guide/window.md");
    let mut shown = 0;
    for (name, block) in named_experiments(&window) {
        let output = shell(&format!("onepoll lab {name}"));
        assert!(output.status.success());
        let printed = said(&output);
        let (printed, _) = printed.split_once("\n\n  why\n").unwrap();
        let printed: Vec<&str> = printed.trim_end().lines().collect();
        assert!(
            agrees(&block.lines, &printed),
            "{name}:\n{}",
            printed.join("\n")
        );
        shown += 1;
    }
    assert_eq!(shown, 4);
}

#[test]
fn the_experiments_have_one_order() {
    let listed = said(&shell("onepoll lab"));
    let listed: Vec<&str> = listed
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let window = read("src/guide/window.md");
    let written: Vec<String> = rows(&window, "| | experiment |")
        .into_iter()
        .map(|row| bare(&row[1]))
        .collect();
    assert_eq!(written, listed);
}

#[test]
fn every_program_in_python_prints_what_is_shown() {
    if skipped("python3") {
        return;
    }
    let mut programs = 0;
    for document in documents() {
        let text = read(&document);
        let blocks = blocks(&text);
        for (at, block) in blocks.iter().enumerate() {
            // A fragment imports nothing.
            if block.language != "python"
                || !block.lines.iter().any(|line| line.starts_with("import "))
            {
                continue;
            }
            let shown = &blocks[at + 1];
            assert_eq!(shown.language, "text", "{document}: line {}", block.line);
            let output = bounded("python3")
                .args(["-c", &block.lines.join("\n")])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{document}: line {}: {}",
                block.line,
                said(&output)
            );
            assert_eq!(
                said(&output).trim_end(),
                shown.lines.join("\n"),
                "{document}: line {}",
                block.line
            );
            programs += 1;
        }
    }
    assert!(programs >= 9, "{programs}");
}
