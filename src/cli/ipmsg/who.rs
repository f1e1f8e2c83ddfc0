use std::process::ExitCode;
use std::time::Duration;

use super::super::{Outcome, complain, is_quiet};
use super::arrival::hear_people;
use super::me::Me;
use super::show::Show;
use crate::config::parse_duration;

/// Lists who says that they are there: address, nickname, user@machine, group and version, with tabs between
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long to wait for answers
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    wait: Duration,
    #[command(flatten)]
    me: Me,
}

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    let mut socket = args.me.enter(&[])?;
    if args.me.is_alone() && !is_quiet() {
        complain("nobody hears an entry at a loopback address: name addresses with --peer");
    }
    hear_people(&mut socket, args.wait, |_| false, |_, _| Ok(()))?;
    let show = Show {
        is_json: args.me.json,
    };
    let (host, _) = socket.host();
    for (at, person) in host.people().filter(|(_, person)| person.has_entered) {
        show.person("person", at, person)?;
    }
    socket.leave().map_err(anyhow::Error::new)?;
    Ok(ExitCode::SUCCESS)
}
