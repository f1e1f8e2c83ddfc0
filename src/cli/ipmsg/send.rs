use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::super::{Failure, Outcome};
use super::arrival::hear_people;
use super::me::Me;
use super::omitted::Omitted;
use super::show::{Show, name};
use super::target::{Target, parse_target};
use crate::client::{IpmsgOffer, IpmsgOffered, IpmsgSocket, ipmsg_walk};
use crate::config::parse_duration;
use crate::ipmsg::{IpmsgNews, IpmsgWalk, IpmsgWalked};
use crate::wire::{IPMSG_FILES_MAX, IpmsgEncoding, IpmsgFile, IpmsgFileKind};

/// How long to wait for a word of the other end before it is written to. It shows then what it reads; and some programs
/// serve no files to hosts that they do not know.
const GREETING_MAX: Duration = Duration::from_millis(500);

/// How long others of the same name have, when one has answered.
const NAMESAKE_MAX: Duration = Duration::from_millis(200);

/// The id of the first file: iptux has ids below 10,000 for files that it offers to everybody.
const FIRST_FILE: u32 = 10_000;

/// Sends a message; the exit code is 0 only if the other end has acknowledged it
///
/// Without an acknowledgement the message is sent again, --tries times in all, and then the exit code is 1. With --file
/// it is 0 only if every file and directory was fetched and nothing left out of one, with --read only if the other end
/// says that the message was read. What is left out of a directory is said: links and what else is no regular file,
/// hidden and unreadable files, and names that could not be fetched.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A nickname, user or machine that answers an entry, or an address such as 192.168.1.5 or HOST:PORT
    #[arg(value_name = "NAME|ADDRESS", value_parser = parse_target)]
    to: Target,
    /// What to say; with --file it may be empty
    text: String,
    /// A file or a directory that is offered with it, and served until it was fetched; may be repeated
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// How long files are served
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    serve_for: Duration,
    /// Waits until the other end says that the message was read, too
    #[arg(long)]
    read: bool,
    /// How long to wait in all for what is to be acknowledged
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    /// How long to wait for people to say what they are called
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    wait: Duration,
    #[command(flatten)]
    me: Me,
}

/// What has become of it so far.
#[derive(Debug, Default)]
struct Sent {
    is_acknowledged: bool,
    is_read: bool,
    fetched: BTreeSet<u32>,
}

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    if args.text.is_empty() && args.file.is_empty() {
        return Err(Failure::usage("there is nothing to say: the text is empty"));
    }
    if args.file.len() > IPMSG_FILES_MAX {
        return Err(Failure::usage(format_args!(
            "one message offers {IPMSG_FILES_MAX} files at most"
        )));
    }
    let mut omitted = Omitted::default();
    let files = args.file.iter().zip(FIRST_FILE..);
    let files = files.map(|(path, id)| describe(path, id, &mut omitted));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let at = match &args.to {
        Target::Place(place) => vec![*place],
        Target::Name(_) => Vec::new(),
    };
    let mut socket = args.me.enter(&at)?;
    let outcome = send(&args, files, &mut omitted, &mut socket);
    omitted.say_more();
    // Whatever became of it, nobody is left behind in the lists of others.
    let left = socket.leave().map_err(anyhow::Error::new);
    let code = outcome?;
    left?;
    Ok(code)
}

fn send(
    args: &Args,
    files: Vec<(IpmsgFile, PathBuf)>,
    omitted: &mut Omitted,
    socket: &mut IpmsgSocket,
) -> Result<ExitCode, Failure> {
    let to = find(args, socket)?;
    let offer = if files.is_empty() {
        None
    } else {
        let at = socket.local_address();
        let offer = IpmsgOffer::listen(at, files, socket.bell());
        Some(offer.map_err(|error| anyhow::anyhow!("cannot serve files at tcp {at}: {error}"))?)
    };
    let offered = offer.as_ref().map(IpmsgOffer::files).unwrap_or_default();
    let (host, now) = socket.host();
    let text = args.text.replace("\r\n", "\n");
    let encoding = host.encoding_of(to);
    let number = host.send(now, to, &text, &offered, args.read);
    let number = number.map_err(|error| anyhow::anyhow!("{to}: {error}"))?;
    if let Some(offer) = &offer {
        let served = offer.serve(number, to.ip(), encoding);
        served.map_err(anyhow::Error::new)?;
    }
    let show = Show {
        is_json: args.me.json,
    };
    let ids = offer.as_ref().map(IpmsgOffer::ids).unwrap_or_default();
    let mut sent = Sent::default();
    let mut until = now + args.timeout;
    let mut excuse = None;
    loop {
        if sent.is_acknowledged && (sent.is_read || !args.read) && sent.fetched == ids {
            return Ok(omitted.code());
        }
        let news = socket.wait(Some(until)).map_err(anyhow::Error::new)?;
        for news in offer.iter().flat_map(IpmsgOffer::news) {
            match news {
                IpmsgOffered::Fetched(id) => {
                    if sent.fetched.insert(id) {
                        let name = offered.iter().find(|file| file.id == id);
                        let name = name.map_or("", |file| file.name.as_str());
                        let event = json!({"schema": 1, "event": "fetched", "to": to.to_string(), "name": name});
                        show.outcome(&event, &format!("{to} has fetched {name}"))?;
                    }
                }
                IpmsgOffered::Omitted(one) => omitted.tell(one),
                IpmsgOffered::Failed(why) => excuse = Some(why),
            }
        }
        match news {
            Some(IpmsgNews::Acknowledged { number: of, .. }) if of == number => {
                sent.is_acknowledged = true;
                let event = json!({"schema": 1, "event": "acknowledged", "to": to.to_string(), "number": number});
                show.outcome(&event, &format!("{to} has acknowledged it"))?;
                if !ids.is_empty() {
                    until = now + args.serve_for.max(args.timeout);
                }
            }
            Some(IpmsgNews::WasRead { number: of, .. }) if of == number && !sent.is_read => {
                sent.is_read = true;
                let event =
                    json!({"schema": 1, "event": "read", "to": to.to_string(), "number": number});
                show.outcome(&event, &format!("{to} has read it (it says)"))?;
            }
            Some(IpmsgNews::Unanswered {
                number: of, tries, ..
            }) if of == number => {
                return Err(unanswered(socket, to, tries));
            }
            Some(IpmsgNews::Released { number: of, .. }) if of == number => {
                return Err(anyhow::anyhow!("{to} does not want the files").into());
            }
            Some(_) => {}
            None if socket.now() < until => {}
            None => return Err(in_vain(args, &sent, to, excuse)),
        }
    }
}

/// Why it is not as it should be when the time is over.
fn in_vain(args: &Args, sent: &Sent, to: SocketAddr, excuse: Option<String>) -> Failure {
    let timeout = args.timeout;
    let why = if !sent.is_acknowledged {
        format!("{to} has not acknowledged it within {timeout:?}")
    } else if args.read && !sent.is_read {
        format!("{to} has acknowledged it, and has not read it within {timeout:?}")
    } else {
        let left = args.file.len() - sent.fetched.len();
        let within = args.serve_for.max(timeout);
        let excuse = excuse.map(|why| format!(": {why}")).unwrap_or_default();
        format!(
            "{to} has acknowledged it, and has not fetched {left} of the files within {within:?}{excuse}"
        )
    };
    anyhow::anyhow!(why).into()
}

fn unanswered(socket: &IpmsgSocket, to: SocketAddr, tries: u32) -> Failure {
    let times = match tries {
        1 => "once".to_owned(),
        tries => format!("{tries} times"),
    };
    let failed = match socket.failure(to.ip()) {
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "; nothing listens there".to_owned()
        }
        Some(error) => format!("; the last time: {error}"),
        None => String::new(),
    };
    let why = format!("{to} has not acknowledged it: it was sent {times}{failed}");
    anyhow::anyhow!(why).into()
}

/// Where it goes, when the other end had the time to say that it is there.
fn find(args: &Args, socket: &mut IpmsgSocket) -> Result<SocketAddr, Failure> {
    match &args.to {
        Target::Place(place) => {
            let has_entered = |socket: &mut IpmsgSocket| socket.host().0.person(*place).is_some();
            hear_people(socket, GREETING_MAX, has_entered, |_, _| Ok(()))?;
            Ok(*place)
        }
        Target::Name(called) => {
            // When one has answered, others of the same name have a moment more.
            let mut first = None;
            let is_enough = |socket: &mut IpmsgSocket| {
                let (host, now) = socket.host();
                let is_there = host.people().any(|(_, person)| person.is_called(called));
                let since = is_there.then(|| *first.get_or_insert(now));
                since.is_some_and(|since| now >= since + NAMESAKE_MAX)
            };
            hear_people(socket, args.wait, is_enough, |_, _| Ok(()))?;
            let (host, _) = socket.host();
            let people = host.people();
            let found: Vec<_> = people
                .filter(|(_, person)| person.is_called(called))
                .collect();
            match &found[..] {
                [(at, _)] => Ok(*at),
                [] => {
                    let known: Vec<String> = host.people().map(|(_, p)| name(&p.entry)).collect();
                    let known = if known.is_empty() {
                        "nobody".to_owned()
                    } else {
                        known.join(", ")
                    };
                    Err(anyhow::anyhow!(
                        "nobody called {called} answers within {:?}; who does: {known}",
                        args.wait
                    )
                    .into())
                }
                several => {
                    let places: Vec<String> =
                        several.iter().map(|(at, _)| at.to_string()).collect();
                    Err(anyhow::anyhow!(
                        "several are called {called}: write one of the addresses {}",
                        places.join(", ")
                    )
                    .into())
                }
            }
        }
    }
}

/// What is offered of what was named.
fn describe(path: &Path, id: u32, omitted: &mut Omitted) -> Result<(IpmsgFile, PathBuf), Failure> {
    let wrong =
        |why: &dyn std::fmt::Display| Failure::usage(format_args!("{}: {why}", path.display()));
    let found = fs::metadata(path).map_err(|error| wrong(&error))?;
    let kind = if found.is_file() {
        IpmsgFileKind::File
    } else if found.is_dir() {
        IpmsgFileKind::Directory
    } else {
        return Err(wrong(&"it is neither a regular file nor a directory"));
    };
    // `.` and `..` have names, too.
    let canonical = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().map_err(|error| wrong(&error))?,
    };
    let name = canonical.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| wrong(&"it has no name, or one that is not UTF-8"))?;
    let size = match kind {
        IpmsgFileKind::Directory => {
            let walk = ipmsg_walk(path, name, IpmsgEncoding::Utf8);
            let size = walk.and_then(|walk| size_of(walk, omitted));
            size.map_err(|error| wrong(&error))?
        }
        _ => found.len(),
    };
    let modified = found.modified().ok();
    let modified = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let file = IpmsgFile {
        id,
        name: name.to_owned(),
        size,
        modified: modified.unwrap_or_default().as_secs(),
        kind,
    };
    Ok((file, path.to_owned()))
}

/// How many bytes the files of a directory have in all, as iptux counts it too.
fn size_of(mut walk: IpmsgWalk, omitted: &mut Omitted) -> io::Result<u64> {
    let mut heads = Vec::new();
    let mut size = 0_u64;
    loop {
        heads.clear();
        match walk.step(&mut heads)? {
            IpmsgWalked::File(file) => size = size.saturating_add(file.size),
            IpmsgWalked::Omitted(one) => omitted.tell(one),
            IpmsgWalked::Over => return Ok(size),
            IpmsgWalked::Entered | IpmsgWalked::Left => {}
        }
    }
}
