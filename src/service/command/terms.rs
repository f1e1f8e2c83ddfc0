use std::env;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;
use std::time::Duration;

use super::options::{CommandOutput, Options};
use super::programs::Programs;
use crate::config::limits::COMMAND_OUTPUT_BYTES_MAX;
use crate::config::{Confinement, Limits, Settle};
use crate::service::Checked as _;
use crate::service::Encoding;
use crate::wire::CommandFraming;

/// What is kept free below the largest `i32` for the line that says that output was cut.
const NOTICE_BYTES_MAX: usize = 256;

/// What holds for every command of an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) framing: CommandFraming,
    pub(super) ack: Option<Vec<u8>>,
    pub(super) output: CommandOutput,
    pub(super) encoding: Encoding,
    pub(super) settle: Settle,
    pub(super) timeout: Duration,
    pub(super) max_output: usize,
    /// Of a command in C5; none: as long as it likes.
    pub(super) stream_timeout: Option<Duration>,
    /// A connection that is owed so much is not sent more.
    pub(super) out_pause: usize,
    /// The longest request, in bytes.
    pub(super) request: usize,
    /// The only programs that are run; none: any line, by the shell.
    pub(super) programs: Option<Programs>,
    /// Where commands run, unless a request says.
    pub(super) directory: Option<Vec<u8>>,
    /// Variables that a request may set besides the usual.
    pub(super) variables: Vec<String>,
    /// What commands have of them as the server has it.
    pub(super) environment: Vec<Vec<u8>>,
    /// Within what they run.
    pub(super) confinement: Option<Arc<Confinement>>,
}

impl Terms {
    pub(super) fn new(options: &Options, limits: &Limits) -> Terms {
        let policy = options.policy().unwrap_or_default();
        let max_output = options.max_output.unwrap_or(limits.command_output);
        Terms {
            framing: options.framing.of_lines(),
            ack: options.ack.as_ref().map(|word| word.as_bytes().to_vec()),
            output: options.output,
            encoding: options.encoding,
            settle: options.settle,
            timeout: options.timeout.unwrap_or(limits.command_timeout),
            max_output: max_output.min(COMMAND_OUTPUT_BYTES_MAX - NOTICE_BYTES_MAX),
            stream_timeout: options.timeout,
            out_pause: limits.out_pause,
            request: limits.frame,
            programs: (!policy.programs.is_empty()).then(|| {
                Programs::parse(&policy.programs).expect("options are checked before they are used")
            }),
            directory: policy
                .directory
                .map(|path| path.into_os_string().into_vec()),
            environment: policy
                .variables
                .iter()
                .filter_map(|name| of_server(name))
                .collect(),
            confinement: (!policy.confinement.is_none()).then(|| Arc::new(policy.confinement)),
            variables: policy.variables,
        }
    }

    /// Whether standard output leaves as it comes. It cannot while standard error may replace it.
    pub(super) fn streams(&self) -> bool {
        self.framing == CommandFraming::Raw && self.output == CommandOutput::Both
    }
}

/// A variable as the server has it, if it has it.
fn of_server(name: &str) -> Option<Vec<u8>> {
    let value = env::var_os(name)?.into_vec();
    Some([name.as_bytes(), b"=", &value].concat())
}
