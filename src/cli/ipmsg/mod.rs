//! `onepoll ipmsg`: messages to, and from, whoever runs Feige or IPMSG on this network (U4).
//!
//! Nothing that comes is verified: who wrote it is what they say. What is shown acts on no terminal.

mod arrival;
mod incoming;
mod keep;
mod listen;
mod me;
mod numbered;
mod omitted;
mod send;
mod show;
mod target;
mod who;

use clap::Subcommand;

use super::Outcome;

/// Sends and shows messages of Feige and IPMSG, and tells who is there
///
/// One program at a time can have port 2425 of an address. What people on a network say in this protocol is not
/// verified by anything, and is shown as that.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Listen(listen::Args),
    Who(who::Args),
    Send(Box<send::Args>),
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    match args.what {
        What::Listen(args) => listen::run(args),
        What::Who(args) => who::run(args),
        What::Send(args) => send::run(*args),
    }
}
