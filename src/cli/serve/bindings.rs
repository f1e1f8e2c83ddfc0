//! From a configuration to its sockets: bound, inherited, or those of the server that is taken over.

use std::path::PathBuf;

use anyhow::Context as _;
use log::Level;
use zeroize::Zeroizing;

use super::learnt::Learnt;
use super::open_socket::ControlPath;
use super::remark::remark;
use super::taking_over;
use crate::cli::check::unclaimed;
use crate::cli::logging::announce;
use crate::cli::verdict::Verdict;
use crate::cli::{Configuration, Failure};
use crate::client::TakeOver;
use crate::config::Lookups;
use crate::endpoint::{Bound, Control, Handed, Intent, Judged, SocketFile};

/// All sockets of a configuration, none of which is served yet.
#[derive(Debug)]
pub(super) struct Bindings {
    pub(super) bound: Vec<Bound>,
    /// Sockets beside each of these, for other processes.
    pub(super) beside: Vec<Vec<Bound>>,
    pub(super) connections_max: u32,
    /// What the files and hosts were that the configuration names.
    pub(super) learnt: Learnt,
    /// The same in full, where other processes are told.
    pub(super) record: Option<Zeroizing<String>>,
    /// Those files.
    pub(super) files: Vec<PathBuf>,
    /// The server that is taken over.
    pub(super) asked: Option<TakeOver>,
    /// Its sockets that no endpoint asked for.
    pub(super) handed: Handed,
    /// Its control socket.
    pub(super) control: Option<Control>,
}

impl Bindings {
    /// Binds what was asked for, or nothing if any of it cannot be served; `takes_over` what another server has.
    pub(super) fn of(
        configuration: &Configuration,
        nofile: u64,
        lookups: Lookups,
        takes_over: Option<&ControlPath>,
    ) -> Result<Bindings, Failure> {
        let (endpoints, limits) = (&configuration.endpoints, &configuration.limits_of_one());
        let judged = configuration.judge(Judged::at_start(endpoints, limits, nofile, lookups));
        let record = judged.lookups().record();
        let learnt = Learnt::of(&record);
        let record = (configuration.processes > 1).then_some(record);
        let mut files: Vec<PathBuf> = judged.lookups().paths().map(Into::into).collect();
        files.sort_unstable();
        files.dedup();
        let (mut asked, mut handed, mut control) = (None, Handed::default(), None);
        let opening = match takes_over {
            Some(_) if judged.is_hopeless() && !configuration.is_default_table => judged.refuse(),
            takes_over => {
                if let Some(path) = takes_over {
                    let (server, sockets) = taking_over::ask(path)?;
                    (asked, handed) = (Some(server), sockets);
                    control = path.take(&mut handed)?;
                }
                judged.bind(Intent::Serve, &mut handed)
            }
        };
        let verdict = Verdict::of(configuration, &opening);
        for problem in &verdict.skipped {
            announce(Level::Warn, &format!("{problem}; skipped"), None);
        }
        if let Some(failure) = verdict.failure() {
            return Err(failure);
        }
        opening.attempts.iter().for_each(remark);
        for name in &opening.unclaimed {
            announce(Level::Warn, &unclaimed(name), None);
        }
        // By the user that has bound them: the kernel lets no other bind beside them.
        let processes = configuration.processes;
        let mut beside = Vec::new();
        for bound in &opening.bound {
            let sockets = bound.beside(processes, &mut handed);
            beside.push(sockets.with_context(|| {
                let endpoint = &bound.endpoint;
                format!("{endpoint}: cannot have a socket for each of {processes} processes")
            })?);
        }
        Ok(Bindings {
            bound: opening.bound,
            beside,
            connections_max: opening.connections_max?,
            learnt,
            record,
            files,
            asked,
            handed,
            control,
        })
    }

    /// The files of its Unix sockets.
    pub(super) fn socket_files(&self) -> impl Iterator<Item = &SocketFile> {
        let bound = self.bound.iter().filter_map(|bound| bound.file.as_ref());
        bound.chain(self.control.as_ref().map(|control| &control.file))
    }
}
