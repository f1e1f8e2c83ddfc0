//! `onepoll time`: asks a time server.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use super::terminal::safe_to_show;
use super::{Failure, Outcome, print_bytes};
use crate::client::{AddressError, ClientError, ServerAddress, ask_time};
use crate::config::{ServerUrl, Transport, parse_duration};

/// Asks a time server over UDP, again when a datagram is lost
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HOST:PORT or [::1]:PORT
    #[arg(value_parser = parse_address)]
    address: ServerAddress,
    /// A strftime format; without one the server chooses: %Y-%m-%d %x
    #[arg(default_value = "", hide_default_value = true)]
    format: String,
    /// How long to go on asking, in all: `500ms`, `5s`, `1m`
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    timeout: Duration,
    /// Prints the answer and how it came as JSON
    #[arg(long)]
    json: bool,
}

/// An address, unless it says that it is asked otherwise than over UDP.
fn parse_address(text: &str) -> Result<ServerAddress, String> {
    if ServerUrl::of(text).transport() == Some(Transport::Tcp) {
        return Err("a time server is asked over UDP: write HOST:PORT".to_owned());
    }
    text.parse()
        .map_err(|wrong: AddressError| wrong.to_string())
}

/// Asks, and prints the answer.
pub fn run(args: Args) -> Outcome {
    let answer = ask_time(&args.address, args.format.as_bytes(), args.timeout).map_err(
        |error| match error {
            ClientError::Request(why) => Failure::Usage(why.to_owned()),
            error => Failure::Run(error.into()),
        },
    )?;
    let mut text = if args.json {
        serde_json::json!({
            "schema": 1,
            "answer": String::from_utf8_lossy(&answer.bytes),
            "from": answer.from.to_string(),
            "tries": answer.tries,
            "elapsed_us": u64::try_from(answer.elapsed.as_micros()).unwrap_or(u64::MAX),
        })
        .to_string()
        .into_bytes()
    } else if io::stdout().is_terminal() {
        safe_to_show(&answer.bytes)
    } else {
        answer.bytes
    };
    text.push(b'\n');
    print_bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}
