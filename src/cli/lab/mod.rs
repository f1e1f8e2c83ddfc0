//! `onepoll lab`: experiments on live sockets.
//!
//! Knows Python's socket module in Rust and loopback; it does not know the reactor. Each experiment is a
//! file that reads like a protocol: a wrong way beside the right way, and what is seen is checked, so that
//! the explanation cannot claim what the kernel does not do.

mod address_in_use;
mod apparatus;
mod backlog;
mod busy_writable;
mod connect_ex;
mod edge_trigger;
mod emfile;
mod empty_message;
mod half_close;
mod nagle;
mod notebook;
mod partial_write;
mod reset_eats_goodbye;
mod short_read;
mod slow_reader;
mod stale_token;
mod starvation;
mod sticky;
mod timeout_modes;
mod udp_65507;
mod udp_lost;
mod udp_truncation;
mod would_block;

use std::process::ExitCode;

use super::streams::is_reader_gone;
use super::{Failure, Outcome, print};
use crate::config::nearest;
use notebook::{Experiment, Narration, Notebook};

/// The experiments, in the order in which to try them.
const EXPERIMENTS: [Experiment; 21] = [
    // A stream is bytes.
    sticky::EXPERIMENT,
    nagle::EXPERIMENT,
    empty_message::EXPERIMENT,
    // The three modes.
    would_block::EXPERIMENT,
    timeout_modes::EXPERIMENT,
    connect_ex::EXPERIMENT,
    partial_write::EXPERIMENT,
    // One poll for many.
    edge_trigger::EXPERIMENT,
    short_read::EXPERIMENT,
    busy_writable::EXPERIMENT,
    stale_token::EXPERIMENT,
    starvation::EXPERIMENT,
    slow_reader::EXPERIMENT,
    // Coming and going.
    half_close::EXPERIMENT,
    reset_eats_goodbye::EXPERIMENT,
    backlog::EXPERIMENT,
    address_in_use::EXPERIMENT,
    emfile::EXPERIMENT,
    // Datagrams.
    udp_truncation::EXPERIMENT,
    udp_65507::EXPERIMENT,
    udp_lost::EXPERIMENT,
];

/// Try experiments on live sockets: what is done, what is seen, why, and what to try next
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which to run: `onepoll lab` lists them; `all` is all of them
    #[arg(value_name = "EXPERIMENT")]
    names: Vec<String>,
    /// Wait for Enter before each step
    #[arg(long, conflicts_with_all = ["json", "repeat"])]
    step: bool,
    /// Print one JSON object for each run: the steps, the observations, what was claimed of them
    #[arg(long)]
    json: bool,
    /// Print it as a script of plain Python, standard library only, and run nothing
    #[arg(long, conflicts_with_all = ["json", "repeat", "step"])]
    python: bool,
    /// Run each so many times, and print how many went as described
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
}

/// Lists them, or runs those that were named; 1 when one of them did not go as described.
pub fn run(args: Args) -> Outcome {
    if args.names.is_empty() && !args.python {
        return list(args.json);
    }
    let chosen = choose(&args.names)?;
    if args.python {
        return match chosen[..] {
            [one] => script(one),
            _ => Err(Failure::Usage(
                "--python prints one script: name one experiment, such as `onepoll lab sticky --python`"
                    .to_owned(),
            )),
        };
    }
    let pace = match (args.json || args.repeat > 1, args.step) {
        (true, _) => Narration::Silent,
        (false, false) => Narration::Telling,
        (false, true) => Narration::Waiting,
    };
    let mut all_held = true;
    for experiment in chosen {
        let mut held = 0;
        for run in 1..=args.repeat {
            if is_reader_gone() {
                return Ok(exit_code(all_held));
            }
            let note = Notebook::of(experiment, pace)?;
            held += u32::from(note.held());
            if args.json {
                print(note.as_json(run))?;
            } else if !note.held() && pace == Narration::Silent {
                print(note.as_text())?;
            }
        }
        if args.repeat > 1 && !args.json {
            let (name, repeat) = (experiment.name, args.repeat);
            print(format_args!("{name:20} {held} of {repeat} as described"))?;
        }
        all_held &= held == args.repeat;
    }
    Ok(exit_code(all_held))
}

fn exit_code(all_held: bool) -> ExitCode {
    if all_held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The experiment in plain Python, after a word on what it is.
fn script(of: &Experiment) -> Outcome {
    let (name, title, python) = (of.name, of.title, of.python);
    let why = format!("The same as `onepoll lab {name}`, which says why it is so.");
    print(format_args!(
        "#!/usr/bin/env python3\n# {name}: {title}\n# {why} For Linux, Python 3.10 or later.\n{}",
        python.trim_end()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) -> Outcome {
    for Experiment { name, title, .. } in &EXPERIMENTS {
        if json {
            print(serde_json::json!({ "experiment": name, "title": title }))?
        } else {
            print(format_args!("{name:20} {title}"))?
        }
    }
    if !json {
        print(
            "\nonepoll lab NAME... runs them, `all` runs all; --step waits before each step, --python prints a script",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The experiments of these names, in the order they were named.
fn choose(names: &[String]) -> Result<Vec<&'static Experiment>, Failure> {
    let mut chosen = Vec::new();
    for name in names {
        if name == "all" {
            chosen.extend(&EXPERIMENTS);
        } else if let Some(found) = EXPERIMENTS.iter().find(|e| e.name == name) {
            chosen.push(found);
        } else {
            return Err(Failure::Usage(unknown(name)));
        }
    }
    Ok(chosen)
}

fn unknown(name: &str) -> String {
    let known = EXPERIMENTS.map(|experiment| experiment.name);
    let hint = match nearest(name, &known) {
        Some(near) => format!("did you mean {near}?"),
        None => "`onepoll lab` lists them".to_owned(),
    };
    format!("there is no experiment {name:?}; {hint}")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_lines_of_our_code_that_experiments_name_are_there() {
        let mut missing = Vec::new();
        for experiment in &EXPERIMENTS {
            for (file, line) in experiment.ours {
                let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
                let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
                if !text.lines().any(|there| there.trim() == *line) {
                    missing.push(format!("{}: {file} has no {line:?}", experiment.name));
                }
            }
        }
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }

    #[test]
    fn an_experiment_is_short_enough_to_be_read() {
        for experiment in &EXPERIMENTS {
            let file = format!("src/cli/lab/{}.rs", experiment.name.replace('-', "_"));
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file));
            let text = text.unwrap();
            // The texts that it shows are not code.
            let (head, rest) = text.split_once("pub(super) const EXPERIMENT").unwrap();
            let (_, code) = rest.split_once("\n};\n").unwrap();
            let lines = head.lines().count() + code.lines().count();
            assert!(lines <= 72, "{file} has {lines} lines of code");
        }
    }
}
