//! A page of Markdown taken apart: blocks of code, links, tables.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::ROOT;

/// A fenced block, or one that is indented.
pub(super) struct Block {
    pub(super) language: String,
    pub(super) lines: Vec<String>,
    pub(super) line: usize,
}

pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut open {
            Some(block) if block.language == "indented" => match line.strip_prefix("    ") {
                Some(code) => block.lines.push(code.to_owned()),
                None => {
                    let mut block = open.take().unwrap();
                    block.language = "sh".to_owned();
                    blocks.push(block);
                }
            },
            Some(_) if line.starts_with("```") => blocks.extend(open.take()),
            Some(block) => block.lines.push(line.to_owned()),
            None => {
                let language = match (line.strip_prefix("```"), line.strip_prefix("    ")) {
                    (Some(language), _) => language,
                    (None, Some(_)) => "indented",
                    (None, None) => continue,
                };
                open = Some(Block {
                    language: language.to_owned(),
                    lines: line
                        .strip_prefix("    ")
                        .map(str::to_owned)
                        .into_iter()
                        .collect(),
                    line: number + 1,
                });
            }
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

/// A console's commands, each with the lines below it.
pub(super) fn commands(block: &Block) -> Vec<(String, Vec<String>)> {
    let mut commands = Vec::<(String, Vec<String>)>::new();
    for line in &block.lines {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((_, shown))) => shown.push(line.clone()),
            (None, None) => panic!("a console begins with a command: {line}"),
        }
    }
    commands
}

/// The experiments that are shown behind a summary.
pub(super) fn named_experiments(text: &str) -> Vec<(String, Block)> {
    text.split("<summary><code>onepoll lab ")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once("</code>").unwrap();
            (name.to_owned(), blocks(rest).into_iter().next().unwrap())
        })
        .collect()
}

/// The README, the pages that it leads to, and the others in this repository.
pub(super) fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "src/guide/", "tests/mutants/"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                found.push(format!("{folder}{name}"));
            }
        }
    }
    found.sort();
    assert!(found.len() > 8, "{found:?}");
    found
}

pub(super) fn read(document: &str) -> String {
    let path = Path::new(ROOT).join(document);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is not code.
pub(super) fn prose(text: &str) -> String {
    let mut in_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if !in_code && !line.starts_with("    ") {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Where its links lead: `[…](TARGET)`, and `[LABEL]: TARGET`.
pub(super) fn targets(prose: &str) -> Vec<String> {
    let inline = prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let inline = inline.map(|(target, _)| target.to_owned());
    let defined = prose.lines().filter_map(definition);
    inline
        .chain(defined.map(|(_, target)| target.to_owned()))
        .collect()
}

/// `[LABEL]: TARGET`
pub(super) fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}

/// The anchors of its headings, as GitHub and rustdoc make them.
pub(super) fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// The rows of the table that begins so.
pub(super) fn rows(text: &str, head: &str) -> Vec<Vec<String>> {
    let table = text.lines().skip_while(|line| !line.starts_with(head));
    let rows: Vec<Vec<String>> = table
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table begins with {head}");
    rows
}

pub(super) fn bare(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}
