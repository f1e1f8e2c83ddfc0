//! `onepoll talk`: person to person.

mod call;
mod contacts;
mod datagrams;
mod listening;
mod people;
mod said;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use self::call::{Call, Ending, Other};
use self::contacts::{Contacts, resolve};
use self::datagrams::DatagramTalk;
use self::listening::{Listening, listen_udp};
use self::people::People;
use super::access::{Access, AccessArgs};
use super::conversation::{Completions, Conversation, Manner};
use super::way::Way;
use super::{Failure, Outcome};
use crate::client::{ClientError, ServerAddress, TalkDatagrams, TalkForm, TalkStream};
use crate::config::{HostPort, Settle, parse_duration, talk_socket};

/// Talks to one person over a connection, or to several over UDP
///
/// What you type goes to the other side line by line, and what comes from there is shown beside it; either may speak
/// at any time. A line of `q` or `Q` alone hangs up, on both sides. Ctrl-D, or the end of standard input, says nothing
/// more: through pipes what still comes is shown until the other side ends, too; on a terminal it hangs up.
///
/// With --listen somebody may call: one at a time, and it ends when they hang up, unless --keep-open has the next one
/// in; who calls meanwhile waits.
///
/// With --udp each line is a datagram, and several people may talk at once: `from [IP:PORT]` stands before what each
/// says. A line goes to the last who spoke or was spoken to; `NAME: text` to somebody of the --contacts, or at
/// IP:PORT; `NAME:` turns to them. `q` leaves a contact, and is not sent; once more, it ends.
///
/// With --attach you are the person behind a server's `talk` endpoints: `q` hangs up on the peer, and with it ends,
/// unless --keep-open; Ctrl-D leaves the peer where it is, told that nobody is here, until somebody attaches again.
///
/// Nothing that comes moves the cursor or colours the screen. Through pipes it is written as it came.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HOST:PORT, [::1]:PORT, unix:///PATH or a path: who is called, or where to listen
    #[arg(required_unless_present_any = ["contacts", "attach"])]
    address: Option<String>,
    /// Wait at ADDRESS for somebody to call; port 0 lets the system choose one
    #[arg(short, long, requires = "address")]
    listen: bool,
    /// When somebody has hung up, wait for the next
    #[arg(short, long, conflicts_with = "udp")]
    keep_open: bool,
    /// Let callers from the network in, too, not only from this machine: whoever can send a packet here
    #[arg(long, requires = "listen")]
    open: bool,
    /// Send what is typed with nothing appended, and take for a message what comes until nothing more does: for
    /// programs that send no end of line
    #[arg(long, conflicts_with = "udp")]
    bare: bool,
    /// With --bare: for how long nothing more may come when a message is whole: `20ms`, `1s`, `never`
    #[arg(long, value_name = "DURATION", requires = "bare", default_value_t)]
    settle: Settle,
    /// Over UDP
    #[arg(short, long)]
    udp: bool,
    /// Be the person behind the `talk` endpoints of a server of yours, at this Unix socket of it [default: the one in
    /// your runtime directory]
    #[arg(
        long, value_name = "SOCKET", num_args = 0..=1,
        conflicts_with_all = ["address", "listen", "udp", "bare", "contacts", "secret_file", "digest"]
    )]
    attach: Option<Option<PathBuf>>,
    /// With --udp: a TOML file of people, a line `NAME = "HOST:PORT"` each
    #[arg(long, value_name = "FILE", requires = "udp")]
    contacts: Option<PathBuf>,
    /// With --udp: at the end of standard input, end when nothing has come for so long [default: 1s; with --listen:
    /// never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "udp")]
    wait: Option<Duration>,
    /// Lines in and out as they are, also on a terminal
    #[arg(long)]
    plain: bool,
    /// How long to try to connect: `500ms`, `5s`, `1m`
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    access: AccessArgs,
}

/// How long datagrams are waited for when there is nothing more to be said.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Runs it.
pub fn run(args: Args) -> Outcome {
    if args.keep_open && !args.listen && args.attach.is_none() {
        return Err(Failure::usage(
            "--keep-open waits for the next who calls: say --listen or --attach, too",
        ));
    }
    if args.udp {
        return over_udp(&args);
    }
    if let Some(socket) = &args.attach {
        return attach(&args, socket.clone().unwrap_or_else(talk_socket));
    }
    let address = address_of(&args)?;
    if args.listen {
        return listen(&args, &address);
    }
    let way = Way {
        address,
        access: args.access.access()?,
        timeout: args.timeout,
    };
    let stream = way.connect();
    let stream = stream.map_err(|error| anyhow::anyhow!(way.explain(&error)))?;
    let mut conversation = begin(&args, Vec::new())?;
    let stream = TalkStream::new(stream, form(&args));
    let ending = Call::new(stream, Other::Peer, &mut conversation).run()?;
    conversation.end()?;
    conclude(ending)
}

fn listen(args: &Args, address: &ServerAddress) -> Outcome {
    let listening = Listening::at(address, args.open)?;
    let mut conversation = begin(args, Vec::new())?;
    conversation.remark(&format!("listening on {}", listening.address()))?;
    let mut waiting = Some(listening);
    let mut last = Ending::Over;
    while let Some(listening) = waiting.take() {
        let stream = match listening.wait(form(args), &mut conversation)? {
            Ok(stream) => stream,
            Err(ending) => {
                last = ending;
                break;
            }
        };
        // Who calls from now on is refused, or waits.
        waiting = args.keep_open.then_some(listening);
        conversation.remark(&format!("{} is here", stream.peer()))?;
        match Call::new(stream, Other::Peer, &mut conversation).run() {
            Ok(ending @ (Ending::Signal(_) | Ending::NothingMore)) => {
                last = ending;
                break;
            }
            Ok(_) => {}
            // One that breaks is not the last.
            Err(Failure::Run(error)) if args.keep_open => {
                conversation.remark(&format!("{error:#}"))?;
            }
            Err(failure) => return Err(failure),
        }
    }
    conversation.end()?;
    conclude(last)
}

fn attach(args: &Args, socket: PathBuf) -> Outcome {
    let shown = socket.display().to_string();
    // No gate stands before the person.
    let way = Way {
        address: ServerAddress::Unix(socket),
        access: Access::default(),
        timeout: args.timeout,
    };
    let stream = way.connect().map_err(|error| {
        let serve = match &error {
            ClientError::Connect { .. } => "; `onepoll serve talk://ADDRESS` makes one",
            _ => "",
        };
        anyhow::anyhow!("cannot attach at {shown}: {error}{serve}")
    })?;
    let mut conversation = begin(args, Vec::new())?;
    let keep_open = args.keep_open;
    let stream = TalkStream::new(stream, TalkForm::Lines);
    let call = Call::new(stream, Other::Server { keep_open }, &mut conversation);
    let ending = call.run()?;
    conversation.end()?;
    conclude(ending)
}

fn over_udp(args: &Args) -> Outcome {
    let contacts = match &args.contacts {
        Some(book) => Contacts::read(book)?,
        None => Contacts::default(),
    };
    let host = match args.address {
        Some(_) => Some(udp_host(address_of(args)?)?),
        None => None,
    };
    let (datagrams, first) = match host {
        Some(host) if args.listen => (listen_udp(&host, args.open)?, None),
        Some(host) => {
            let first = resolve(&host);
            let first = first.ok_or_else(|| anyhow::anyhow!("{host}: it has no address"))?;
            (TalkDatagrams::new(), Some(first))
        }
        None => (TalkDatagrams::new(), None),
    };
    let wait = args.wait.or((!args.listen).then_some(LAST_WAIT));
    let names = contacts.names().map(str::to_owned).collect();
    let mut conversation = begin(args, names)?;
    if args.listen {
        let at = datagrams.local_addr().map_err(anyhow::Error::new)?;
        conversation.remark(&format!("listening on {at}"))?;
    }
    let people = People::new(contacts, first, args.listen);
    let ending = DatagramTalk::new(datagrams, people, wait, &mut conversation).run()?;
    conversation.end()?;
    conclude(ending)
}

fn udp_host(address: ServerAddress) -> Result<HostPort, Failure> {
    match address {
        ServerAddress::Host(host) => Ok(host),
        ServerAddress::Unix(_) => Err(Failure::usage("over UDP it is HOST:PORT")),
    }
}

fn conclude(ending: Ending) -> Outcome {
    match ending {
        Ending::Over | Ending::NothingMore => Ok(ExitCode::SUCCESS),
        Ending::Signal(2) => Err(Failure::Interrupted),
        Ending::Signal(number) => Ok(ExitCode::from(super::SIGNALLED + number)),
        Ending::Unheard => Ok(ExitCode::from(1)),
    }
}

/// `names` may stand before a line.
fn begin(args: &Args, names: Vec<String>) -> Result<Conversation, Failure> {
    let manner = Manner {
        prompt: "> ",
        complete: Box::new(move |line| complete(&names, line)),
        is_secret: |_| false,
    };
    Conversation::begin(args.plain, manner)
}

/// Which names the beginning of a line may become.
fn complete(names: &[String], line: &str) -> Completions {
    let typed = line.to_lowercase();
    let begun = |name: &&String| name.to_lowercase().starts_with(&typed);
    Completions {
        at: 0,
        words: names
            .iter()
            .filter(begun)
            .map(|name| format!("{name}: "))
            .collect(),
    }
}

fn form(args: &Args) -> TalkForm {
    if args.bare {
        TalkForm::Bare(args.settle)
    } else {
        TalkForm::Lines
    }
}

/// Who is called, or where to listen, where the port may be 0.
fn address_of(args: &Args) -> Result<ServerAddress, Failure> {
    let text = args.address.as_deref().unwrap_or_default();
    match text.parse::<ServerAddress>() {
        Ok(address) => Ok(address),
        Err(wrong) if args.listen => match HostPort::parse(text) {
            Ok(host) => Ok(ServerAddress::Host(host)),
            Err(_) => Err(Failure::usage(wrong)),
        },
        Err(wrong) => Err(Failure::usage(wrong)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_completed_where_it_says_whom_a_line_is_for() {
        let names = ["eva", "Evan", "bob"].map(str::to_owned);
        let words = |line| complete(&names, line).words;
        assert_eq!(words("EV"), ["eva: ", "Evan: "]);
        assert_eq!(words("b"), ["bob: "]);
        assert!(words("hello e").is_empty() && words("eva: b").is_empty());
    }
}
