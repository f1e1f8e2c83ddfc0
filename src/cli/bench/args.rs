//! The arguments of `bench`.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches, Id, Subcommand};

use super::conditions::Conditions;
use super::heed::{hide_unheeded, why_unheeded};
use super::request::{
    ConnArgs, DepthArgs, ExecArgs, FanoutArgs, MessageArgs, RequestArgs, UdpArgs,
};
use super::target::NamedTarget;
#[cfg(feature = "tls")]
use crate::cli::trust::{IdentityArgs, TlsArgs};
use crate::load::ModeName;

/// Measures servers: sends requests, checks every byte of the answers, reports rates and latencies
///
/// An ENDPOINT is a URL, of any server: `tcp://HOST:PORT`, `HOST:PORT`, `echo://HOST:PORT`,
/// `unix:///PATH`, `udp://HOST:PORT`. Several are measured in turn and compared. `NAME=URL` gives one a name
/// in the result. What is for one server alone stands behind --for and its name: `--for old payload='hi\\n' expect=3`,
/// or in its URL, in quotes: `'old=tcp://HOST:7?payload=hi%0A&expect=3'`. An http:// URL is requested with GET,
/// and all of it is the server's.
///
/// Ctrl-C stops measuring and prints the result so far; a second Ctrl-C ends the program at once.
///
/// Exit codes: 0 done, 1 a run or a request failed, 2 wrong usage, 3 a requirement does not hold, 4 the
/// machine is too busy to compare anything, 130 interrupted.
#[derive(Debug, clap::Args)]
struct Typed {
    #[command(subcommand)]
    mode: ModeArgs,
}

/// What is typed behind `bench`, and which options were.
#[derive(Debug)]
pub struct Args {
    mode: ModeArgs,
    said: Vec<String>,
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            said: said(matches),
            mode: Typed::from_arg_matches(matches)?.mode,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        hide_unheeded(Typed::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        hide_unheeded(Typed::augment_args_for_update(command))
    }
}

/// The names of the options that were typed, without their dashes.
fn said(matches: &ArgMatches) -> Vec<String> {
    let Some((_, mode)) = matches.subcommand() else {
        return Vec::new();
    };
    let is_typed = |id: &&Id| mode.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    let typed = mode.ids().filter(is_typed);
    typed.map(|id| id.as_str().replace('_', "-")).collect()
}

#[derive(Debug, Subcommand)]
enum ModeArgs {
    /// A connection per request: connect, send, receive the whole answer, close
    ///
    /// The latency is that of the whole cycle, including the close. Unless --expect says otherwise, the
    /// server must send back what it received; capital letters are sent, so `upper` passes too.
    Conn {
        #[command(flatten)]
        conn: ConnArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Connections that stay open: send, receive the whole answer, send again
    Echo {
        #[command(flatten)]
        depth: DepthArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Commands a second: send a command line on a connection that stays open, receive its whole output
    Exec {
        #[command(flatten)]
        exec: ExecArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Datagrams: send one, receive the same; counts those that were lost, duplicated or reordered
    ///
    /// A datagram of 8 bytes or more begins with its number. One without an answer within --timeout is lost.
    Udp {
        #[command(flatten)]
        udp: UdpArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// One sender to many members of a chat: deliveries a second, and how long it takes until the first,
    /// the median and the last member has a line
    ///
    /// The chat must send each line to every other member, and may put a name before it. Before measuring,
    /// the sender waits until all members receive its lines. The rate counts deliveries: one for each line
    /// and member. A delivery that takes longer than --timeout is lost. The chat of `onepoll serve` limits
    /// how fast a member may send if it was started with `flood=on`.
    Fanout {
        #[command(flatten)]
        depth: DepthArgs,
        #[command(flatten)]
        fanout: FanoutArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Idle connections: how many are held, why not more, and (with --pid) how much memory each costs
    ///
    /// At the end the kernel is asked where each connection stands: established, and, where the server is on
    /// this machine, accepted by it. echo://, upper:// and http:// endpoints are then asked with one message on each
    /// connection, and others if --payload, --size or --expect says what; a connection without an answer within
    /// --timeout is not held.
    Hold {
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Several modes, one after the other, for all servers
    Compare {
        /// Which modes
        #[arg(
            long,
            value_enum,
            value_name = "MODE,…",
            value_delimiter = ',',
            default_value = "conn,echo"
        )]
        mode: Vec<ModeName>,
        #[command(flatten)]
        conn: ConnArgs,
        #[command(flatten)]
        depth: DepthArgs,
        #[command(flatten)]
        exec: ExecArgs,
        #[command(flatten)]
        udp: UdpArgs,
        #[command(flatten)]
        fanout: FanoutArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct CommonArgs {
    /// [NAME=]URL, such as echo://127.0.0.1:9000, HOST:PORT or unix:///PATH
    #[arg(value_name = "ENDPOINT", required = true)]
    pub(super) targets: Vec<NamedTarget>,
    /// Options of one endpoint alone: its name in the result, and flags of the request without their dashes,
    /// as in `--for old size=1k pid=77`
    #[arg(long = "for", num_args = 2.., value_names = ["NAME", "OPTION=VALUE"])]
    pub(super) own_options: Vec<String>,
    #[command(flatten)]
    message: MessageArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: TlsArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    pub(super) identity: IdentityArgs,
    #[command(flatten)]
    pub(super) conditions: Conditions,
}

impl Args {
    /// The options that were typed, without their dashes.
    pub(super) fn said(&self) -> &[String] {
        &self.said
    }

    /// The modes, what is common to them, and the request, whatever mode was typed.
    pub(super) fn parts(self) -> (Vec<ModeName>, CommonArgs, RequestArgs) {
        let mut request = RequestArgs::default();
        let (modes, common) = match self.mode {
            ModeArgs::Conn { conn, common } => {
                request.conn = conn;
                (vec![ModeName::Conn], common)
            }
            ModeArgs::Echo { depth, common } => {
                request.depth = depth;
                (vec![ModeName::Echo], common)
            }
            ModeArgs::Exec { exec, common } => {
                request.exec = exec;
                (vec![ModeName::Exec], common)
            }
            ModeArgs::Udp { udp, common } => {
                request.udp = udp;
                (vec![ModeName::Udp], common)
            }
            ModeArgs::Fanout {
                depth,
                fanout,
                common,
            } => {
                (request.depth, request.fanout) = (depth, fanout);
                (vec![ModeName::Fanout], common)
            }
            ModeArgs::Hold { common } => (vec![ModeName::Hold], common),
            ModeArgs::Compare {
                mode,
                conn,
                depth,
                exec,
                udp,
                fanout,
                common,
            } => {
                (request.conn, request.depth, request.exec) = (conn, depth, exec);
                (request.udp, request.fanout) = (udp, fanout);
                (mode, common)
            }
        };
        request.message = common.message.clone();
        #[cfg(feature = "tls")]
        {
            request.tls = common.tls.clone();
        }
        (modes, common, request)
    }
}

/// Whether `mode` heeds this option.
pub(super) fn takes(mode: ModeName, option: &str) -> bool {
    if why_unheeded(&[mode], option).is_some() {
        return false;
    }
    let modes = ModeArgs::augment_subcommands(Command::new("bench"));
    let mode = modes.find_subcommand(mode.to_string());
    mode.is_some_and(|mode| {
        mode.get_arguments()
            .any(|arg| arg.get_long() == Some(option))
    })
}
