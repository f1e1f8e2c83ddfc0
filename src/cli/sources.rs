//! Where `serve` and `check` take their endpoints from: a file, the arguments, the default table.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use super::Failure;
use crate::config::limits::PROCESSES_MAX;
use crate::config::{BusOptions, ConfigError, Limits, Lookups, command_socket};
use crate::endpoint::{
    ConfigFile, Endpoint, Judged, Log, LogFormat, add_companions, default_endpoints, look_up_bus,
};
use crate::service::Bus;

/// As much of a wrong file is looked at: one that is larger is no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The arguments that say what is to be served.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Sources {
    /// A TOML file: `endpoint` tables, `limits`, `log` and `bus`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// So many processes serve the same endpoints, each with a loop of its own, beneath one that looks after them (1);
    /// `processes` of the file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(PROCESSES_MAX)))]
    pub processes: Option<u32>,

    /// Become this user when everything is bound, a name or a number; `user` of the file
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,

    /// Have this group then (that of the user); `group` of the file
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    /// SERVICE[+TRANSPORT]://ADDRESS[?OPTION=VALUE&…]; these come after the file's
    ///
    /// Without any, here or in the file, the default table is served.
    #[arg(value_name = "ENDPOINT")]
    pub endpoints: Vec<String>,
}

/// What is to be served, read and each by itself valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Whether nobody asked for these: then what cannot be bound is skipped, else it is an error.
    pub is_default_table: bool,
    /// The limits.
    pub limits: Limits,
    /// How to log.
    pub log: Log,
    /// The bus by which other servers share the rooms, if there is one.
    pub bus: Option<BusOptions>,
    /// How many processes serve the endpoints.
    pub processes: u32,
    /// Who serves, when everything is bound; none: who started the server.
    pub user: Option<String>,
    /// With which group.
    pub group: Option<String>,
}

impl Configuration {
    /// A file that says the same.
    pub fn to_file(&self) -> ConfigFile {
        let Configuration {
            endpoints,
            limits,
            log,
            bus,
            processes,
            user,
            group,
            ..
        } = self.clone();
        ConfigFile {
            endpoints,
            limits,
            log,
            bus,
            processes: Some(processes).filter(|processes| *processes > 1),
            user,
            group,
        }
    }

    /// What each process has of the limits.
    pub(super) fn limits_of_one(&self) -> Limits {
        self.limits.share_of(self.processes)
    }

    /// The bus, if it names one: its hosts are resolved and its files are read.
    pub(super) fn look_up_bus(
        &self,
        lookups: &mut Lookups,
    ) -> Result<Option<Arc<Bus>>, ConfigError> {
        let bus = self.bus.as_ref().map(|bus| look_up_bus(bus, lookups));
        Ok(bus.transpose()?.map(Arc::new))
    }

    /// Refuses what its number of processes cannot serve.
    pub(super) fn judge<'e>(&self, judged: Judged<'e>) -> Judged<'e> {
        judged.among(self.processes, self.bus.is_some(), self.is_default_table)
    }
}

impl Sources {
    /// Reads them all; the failure has a line for each argument that is wrong.
    pub fn read(&self, lookups: &mut Lookups) -> Result<Configuration, Failure> {
        self.complete(self.file(lookups)?)
    }

    /// What the file says, if there is one.
    pub(super) fn file(&self, lookups: &mut Lookups) -> Result<ConfigFile, Failure> {
        Ok(match &self.config {
            Some(path) => ConfigFile::read(path, lookups)?,
            None => ConfigFile::default(),
        })
    }

    /// They once more, as arguments of this program.
    pub(super) fn as_arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        if let Some(path) = &self.config {
            arguments.extend(["--config".into(), path.into()]);
        }
        for (flag, value) in [("--user", &self.user), ("--group", &self.group)] {
            if let Some(value) = value {
                arguments.extend([flag.into(), value.into()]);
            }
        }
        if let Some(processes) = self.processes {
            arguments.extend(["--processes".into(), processes.to_string().into()]);
        }
        arguments.push("--".into());
        arguments.extend(self.endpoints.iter().map(Into::into));
        arguments
    }

    /// How to log, as far as a file says so that something is wrong with.
    pub(super) fn log_of_a_wrong_file(&self) -> Log {
        let is_json = |path: &PathBuf| {
            // A second look is for what can be looked at twice, and has an end.
            if !fs::metadata(path).ok()?.is_file() {
                return None;
            }
            let mut text = String::new();
            let mut file = fs::File::open(path).ok()?.take(FILE_BYTES_MAX);
            file.read_to_string(&mut text).ok()?;
            let file: toml::Table = text.parse().ok()?;
            Some(file.get("log")?.get("format")?.as_str()? == "json")
        };
        let is_json = self.config.as_ref().and_then(is_json);
        Log {
            format: match is_json {
                Some(true) => LogFormat::Json,
                _ => LogFormat::Text,
            },
            ..Log::default()
        }
    }

    /// The file's, with what the arguments add.
    pub(super) fn complete(&self, file: ConfigFile) -> Result<Configuration, Failure> {
        let mut endpoints = file.endpoints;
        let mut wrong = Vec::new();
        for url in &self.endpoints {
            match url.parse() {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(problem) => wrong.push(problem.to_string()),
            }
        }
        if !wrong.is_empty() {
            return Err(Failure::Usage(wrong.join("\n")));
        }
        let is_default_table = endpoints.is_empty();
        let user = self.user.clone().or(file.user);
        if is_default_table {
            endpoints = default_endpoints(&command_socket());
            // The private directory is that of who starts the server, and nobody else can enter it.
            endpoints.retain(|endpoint| user.is_none() || !endpoint.is_private());
        }
        let asked = endpoints.len();
        add_companions(&mut endpoints);
        let out_of_reach = endpoints[asked..]
            .iter()
            .find(|endpoint| endpoint.is_private());
        if let (Some(user), Some(companion)) = (&user, out_of_reach) {
            return Err(Failure::usage(format_args!(
                "endpoint `{companion}` goes with one that was asked for, and is where user {user} cannot get: say `attach=PATH`, in a directory of theirs"
            )));
        }
        Ok(Configuration {
            endpoints,
            is_default_table,
            limits: file.limits,
            log: file.log,
            bus: file.bus,
            processes: self.processes.or(file.processes).unwrap_or(1),
            user,
            group: self.group.clone().or(file.group),
        })
    }
}
