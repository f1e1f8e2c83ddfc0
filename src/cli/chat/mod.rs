//! `onepoll chat`: takes part in a chat.

mod backoff;
mod client;
pub(super) mod connector;
mod heard;
mod incoming;
mod outgoing;
mod people;
mod visit;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::client::{Client, Wishes};
use self::people::People;
use super::access::AccessArgs;
use super::conversation::{Conversation, Manner};
use super::way::Way;
use super::{Failure, Outcome};
use crate::client::{AddressError, ServerAddress};
use crate::config::{chat_socket, parse_duration};
use crate::endpoint::read_secret;
use crate::wire::Secret;

/// Takes part in a chat: reads what others say, and says what you type
///
/// On a terminal the line that you type stays below what comes. Elsewhere, and with --plain, each line of standard
/// input is sent, what comes is written to standard output, and at the end of input the server is told so, and all
/// that it still sends is written.
///
/// Exits with 0 when you leave (`/quit`, Ctrl-D, the end of input), with 1 when the server cannot be reached or turns
/// you away, with 130 after Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HOST:PORT, [::1]:PORT, unix:///PATH or a path; without one, your private socket of `onepoll serve`, where you are
    /// an operator
    #[arg(value_parser = parse_address)]
    address: Option<ServerAddress>,
    /// The name to take, 1 to 32 ASCII letters, digits, `-`, `_` or `.` [default: the server gives one]
    #[arg(long, value_name = "NAME")]
    nick: Option<String>,
    /// The room to go to [default: the server's, lobby]
    #[arg(long, value_name = "ROOM")]
    room: Option<String>,
    /// A file with the token of a name that is yours (`onepoll secret --name`), which only you may be able to read: it
    /// is taken from whoever has it, such as a connection of yours that broke
    #[arg(long, value_name = "FILE", conflicts_with = "nick")]
    login: Option<PathBuf>,
    /// Ring the terminal's bell when somebody says your name, or something to you alone
    #[arg(long)]
    bell: bool,
    /// Lines as they are, without colours and editing
    #[arg(long)]
    plain: bool,
    /// How long a connection may take to be made, proof and TLS included: `500ms`, `5s`, `1m`
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    /// How long to wait before a lost connection is made anew: `500ms`, `1m`, or `never`; twice as long each time it
    /// fails, at most 30s
    #[arg(long, value_name = "DURATION|never", default_value = "1s", value_parser = parse_retry)]
    retry: Retry,
    #[command(flatten)]
    access: AccessArgs,
}

fn parse_address(text: &str) -> Result<ServerAddress, String> {
    text.parse()
        .map_err(|wrong: AddressError| wrong.to_string())
}

/// How long to wait; none: a connection that is lost is lost.
#[derive(Debug, Clone, Copy)]
struct Retry(Option<Duration>);

fn parse_retry(text: &str) -> Result<Retry, String> {
    match text {
        "never" => Ok(Retry(None)),
        text => parse_duration(text).map(|wait| Retry(Some(wait))),
    }
}

/// Takes part until somebody has had enough.
pub fn run(args: Args) -> Outcome {
    for name in args.nick.iter().chain(&args.room) {
        check_name(name)?;
    }
    let login = args.login.as_deref().map(token).transpose()?;
    let way = Arc::new(Way {
        address: args
            .address
            .unwrap_or_else(|| ServerAddress::Unix(chat_socket())),
        access: args.access.access()?,
        timeout: args.timeout,
    });
    // Before the terminal is taken: what is wrong is said as everywhere else.
    let stream = way
        .connect()
        .map_err(|error| Failure::Run(anyhow::Error::msg(way.explain(&error))))?;
    let people = Arc::new(People::default());
    let known = Arc::clone(&people);
    let manner = Manner {
        prompt: "> ",
        complete: Box::new(move |line| known.complete(line)),
        is_secret: |line| line.trim_start().starts_with("/login"),
    };
    let conversation = Conversation::begin(args.plain, manner)?;
    let wishes = Wishes {
        login,
        nick: args.nick,
        room: args.room,
        has_bell: args.bell,
        retry: args.retry.0,
    };
    Client::new(way, stream, conversation, people, wishes).run()
}

/// The token in a file. What is none would be several lines, some of them for the room.
fn token(file: &Path) -> Result<Secret, Failure> {
    let token = read_secret(file).map_err(Failure::usage)?;
    if !token.bytes().iter().all(u8::is_ascii_graphic) {
        return Err(Failure::usage(format_args!(
            "{}: a token is one word, as `onepoll secret --name` prints it",
            file.display()
        )));
    }
    Ok(token)
}

/// What is no name would be a line of its own, or several.
fn check_name(name: &str) -> Result<(), Failure> {
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Failure::usage(format_args!(
            "{}: a name has no white space and is not empty",
            crate::config::quoted(name)
        )));
    }
    Ok(())
}
