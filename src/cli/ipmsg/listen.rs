use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::super::bench::Interrupt;
use super::super::{Failure, Outcome, complain, is_quiet};
use super::incoming::Arrived;
use super::keep::{Keeping, Kept, Wanted};
use super::me::Me;
use super::show::Show;
use crate::client::IpmsgSocket;
use crate::config::{format_size, parse_duration, parse_size};
use crate::ipmsg::{IpmsgNews, IpmsgOmitted};
use crate::wire::IpmsgFileKind;

/// How many files are fetched at once; the others wait.
const FETCHES_MAX: usize = 4;

/// How many wait at most; what is offered then is not fetched.
const WAITING_MAX: usize = 1000;

/// Shows the messages that come, until it is interrupted
///
/// Every message that asks for it is acknowledged, and shown once however often it comes. A line says who wrote it, as
/// they say themselves, and from where; further lines of a message are indented.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Fetches what is offered into this directory, files and directories, and replaces nothing there
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// How large a file may be that is fetched, or all files of a directory together
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    max_file: u64,
    /// Ends when so many messages were shown, and what they offer was fetched
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Ends after this time
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    within: Option<Duration>,
    /// Shows who comes and goes, too
    #[arg(long)]
    people: bool,
    #[command(flatten)]
    me: Me,
}

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    let keeping = args.output.as_ref().map(|path| {
        Keeping::open(path, args.max_file)
            .with_context(|| format!("cannot fetch into {}", path.display()))
    });
    let keeping = keeping.transpose()?;
    let interrupt = Interrupt::take().map_err(anyhow::Error::new)?;
    let mut socket = args.me.enter(&[])?;
    if !is_quiet() {
        complain(format_args!("listening at udp {}", socket.local_address()));
    }
    let outcome = listen(&args, keeping, &interrupt, &mut socket);
    let left = socket.leave().map_err(anyhow::Error::new);
    let code = outcome?;
    left?;
    Ok(code)
}

fn listen(
    args: &Args,
    keeping: Option<Keeping>,
    interrupt: &Interrupt,
    socket: &mut IpmsgSocket,
) -> Result<ExitCode, Failure> {
    let show = Show {
        is_json: args.me.json,
    };
    let until = args.within.map(|within| socket.now() + within);
    let mut shown = 0;
    let mut waiting: VecDeque<Wanted> = VecDeque::new();
    let mut code = ExitCode::SUCCESS;
    loop {
        let is_busy = keeping
            .as_ref()
            .is_some_and(|keeping| keeping.running() > 0);
        let has_all = args.count.is_some_and(|count| shown >= count);
        let is_late = until.is_some_and(|until| until <= socket.now());
        if interrupt.came() || is_late || (has_all && !is_busy && waiting.is_empty()) {
            for (wanted, kept) in keeping.iter().flat_map(Keeping::stop) {
                code = ExitCode::from(1);
                tell(show, &wanted, &kept)?;
            }
            return Ok(interrupt.code_or(code));
        }
        let news = socket.wait(until).map_err(anyhow::Error::new)?;
        match news {
            Some(IpmsgNews::Message(message)) => {
                if has_all {
                    continue;
                }
                show.message(&message)?;
                shown += 1;
                if message.wants_reading_told {
                    let (host, now) = socket.host();
                    host.read(now, &message);
                }
                if !message.are_all_files {
                    complain("the list of files of that message cannot be read to its end");
                }
                for file in message.files.iter().filter(|_| keeping.is_some()) {
                    let why = if matches!(file.kind, IpmsgFileKind::Other(_)) {
                        Some("it is neither a file nor a directory".to_owned())
                    } else if file.size > args.max_file {
                        Some(format!("it has more than {}", format_size(args.max_file)))
                    } else if waiting.len() >= WAITING_MAX {
                        Some(format!("{WAITING_MAX} files wait already"))
                    } else {
                        None
                    };
                    let wanted = Wanted::new(&message, file);
                    match why {
                        None => waiting.push_back(wanted),
                        Some(why) => {
                            code = ExitCode::from(1);
                            tell(show, &wanted, &Kept::Failed(why))?;
                        }
                    }
                }
            }
            Some(IpmsgNews::Entered(at)) if args.people => {
                if let Some(person) = socket.host().0.person(at) {
                    show.person("entered", at, person)?;
                }
            }
            Some(IpmsgNews::Left(at, person)) if args.people => {
                show.person("left", at, &person)?;
            }
            _ => {}
        }
        let Some(keeping) = &keeping else {
            continue;
        };
        for (wanted, kept) in keeping.finished() {
            if !kept.is_whole() {
                code = ExitCode::from(1);
            }
            tell(show, &wanted, &kept)?;
        }
        while keeping.running() < FETCHES_MAX
            && let Some(wanted) = waiting.pop_front()
        {
            let bound = socket.local_address().ip();
            let me = socket.host().0.settings().me.clone();
            keeping.begin(wanted, me, bound, socket.bell())?;
        }
    }
}

fn tell(show: Show, wanted: &Wanted, kept: &Kept) -> Result<(), Failure> {
    let (from, name) = (wanted.from.to_string(), &wanted.file.name);
    match kept {
        Kept::As(path) => {
            let event = json!({
                "schema": 1, "event": "file", "from": from, "verified": false,
                "number": wanted.number, "name": name, "size": wanted.file.size, "path": path,
            });
            show.outcome(&event, &format!("    fetched {name} from {from}: {path}"))
        }
        Kept::Directory(path, arrived, problem) => {
            let Arrived {
                files,
                bytes,
                omitted,
                omitted_count,
                ..
            } = arrived;
            let told: Vec<_> = omitted
                .iter()
                .map(|one| json!({ "path": one.path, "why": one.why }))
                .collect();
            let event_name = match problem {
                None => "directory",
                Some(_) => "directory-failed",
            };
            let event = json!({
                "schema": 1, "event": event_name, "from": from, "verified": false,
                "number": wanted.number, "name": name, "path": path, "files": files, "bytes": bytes,
                "omitted": told, "omitted-count": omitted_count, "error": problem,
            });
            let came = match files {
                1 => format!("1 file, {bytes} bytes"),
                files => format!("{files} files, {bytes} bytes"),
            };
            let mut lines = vec![match problem {
                None => format!("    fetched {name} from {from}: {path}, {came}"),
                Some(why) => {
                    format!("    {name} of {from} did not come whole: {why}; in {path}: {came}")
                }
            }];
            let left_out = |one: &IpmsgOmitted| format!("    left out {}: {}", one.path, one.why);
            lines.extend(omitted.iter().map(left_out));
            let more = omitted_count - omitted.len() as u64;
            if more > 0 {
                lines.push(format!("    left out {more} more"));
            }
            show.outcomes(&event, &lines)
        }
        Kept::Failed(why) => {
            let event = json!({
                "schema": 1, "event": "file-failed", "from": from, "verified": false,
                "number": wanted.number, "name": name, "error": why,
            });
            show.outcome(
                &event,
                &format!("    {name} of {from} was not fetched: {why}"),
            )
        }
    }
}
