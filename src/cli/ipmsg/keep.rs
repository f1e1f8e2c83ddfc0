use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::super::Failure;
use super::super::files::{Partial, Place};
use super::incoming::{Arrived, Incoming};
use super::numbered::{NAMES_MAX, names, own_name};
use crate::client::{IpmsgBell, IpmsgFetch, IpmsgFetchError};
use crate::ipmsg::IpmsgMessage;
use crate::wire::{
    FileName, IpmsgEntry, IpmsgFile, IpmsgFileKind, IpmsgFileRequest, IpmsgTree, Names,
};

/// How often a file is asked for that does not come whole, each time from where it ended.
const TRIES: u32 = 3;

/// How long those have that are stopped, to put on the disk what is whole.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);

/// A directory into which files and directories are fetched, and nothing outside of it.
#[derive(Debug)]
pub(super) struct Keeping {
    place: Arc<Place>,
    path: PathBuf,
    /// How many bytes a directory may have in all.
    bytes_max: u64,
    stops: Arc<AtomicBool>,
    running: Cell<usize>,
    told: Receiver<(Wanted, Kept)>,
    tell: Sender<(Wanted, Kept)>,
}

/// A file or a directory that was offered, and is to be fetched.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) from: SocketAddr,
    pub(super) number: u32,
    pub(super) file: IpmsgFile,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Kept {
    /// It is there under this name.
    As(String),
    /// The directory is there under this name, with that much in it; and if that is not all, why.
    Directory(String, Arrived, Option<String>),
    /// It is not, and why.
    Failed(String),
}

impl Kept {
    /// Whether all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Kept::As(_) => true,
            Kept::Directory(_, arrived, problem) => problem.is_none() && arrived.omitted_count == 0,
            Kept::Failed(_) => false,
        }
    }
}

impl Wanted {
    pub(super) fn new(message: &IpmsgMessage, file: &IpmsgFile) -> Wanted {
        Wanted {
            from: message.from,
            number: message.number,
            file: file.clone(),
        }
    }
}

impl Keeping {
    pub(super) fn open(path: &Path, bytes_max: u64) -> io::Result<Keeping> {
        let (tell, told) = channel();
        Ok(Keeping {
            place: Arc::new(Place::open(path)?),
            path: path.to_owned(),
            bytes_max,
            stops: Arc::default(),
            running: Cell::new(0),
            told,
            tell,
        })
    }

    /// How many are being fetched.
    pub(super) fn running(&self) -> usize {
        self.running.get()
    }

    /// What came of some since it was asked.
    pub(super) fn finished(&self) -> Vec<(Wanted, Kept)> {
        let finished: Vec<_> = self.told.try_iter().collect();
        self.running.set(self.running.get() - finished.len());
        finished
    }

    /// Stops those that are being fetched; what came of them, each by itself.
    pub(super) fn stop(&self) -> Vec<(Wanted, Kept)> {
        self.stops.store(true, Ordering::Relaxed);
        let mut stopped = Vec::new();
        while self.running.get() > 0
            && let Ok(one) = self.told.recv_timeout(STOPPED_WITHIN)
        {
            self.running.set(self.running.get() - 1);
            stopped.push(one);
        }
        stopped
    }

    /// Fetches one on a thread of its own.
    pub(super) fn begin(
        &self,
        wanted: Wanted,
        me: IpmsgEntry,
        bound: IpAddr,
        bell: IpmsgBell,
    ) -> Result<(), Failure> {
        let fetch = Fetch {
            place: Arc::clone(&self.place),
            stops: Arc::clone(&self.stops),
            bytes_max: self.bytes_max,
            me,
            bound,
        };
        let (path, tell) = (self.path.clone(), self.tell.clone());
        let begun = thread::Builder::new().spawn(move || {
            let kept = match wanted.file.kind {
                IpmsgFileKind::Directory => fetch.directory(&wanted, &path),
                _ => fetch.file(&wanted, &path),
            };
            let _ = tell.send((wanted, kept.unwrap_or_else(Kept::Failed)));
            bell.ring();
        });
        begun.map_err(anyhow::Error::new)?;
        self.running.set(self.running.get() + 1);
        Ok(())
    }
}

/// What one that is fetched needs.
struct Fetch {
    place: Arc<Place>,
    stops: Arc<AtomicBool>,
    bytes_max: u64,
    me: IpmsgEntry,
    bound: IpAddr,
}

impl Fetch {
    /// Fetches a file, and says what it is called here.
    fn file(&self, wanted: &Wanted, path: &Path) -> Result<Kept, String> {
        let name = FileName::new(&wanted.file.name, Names::Basename);
        let name = name.map_err(|wrong| wrong.to_string())?;
        let said = |error: io::Error| error.to_string();
        let directory = self.place.make(&name).map_err(said)?;
        // The file of another message may have the same name, and what `fetch` keeps of one, too.
        let own = own_name().map_err(said)?;
        // Nobody would go on with it later: the packet that offers it again has another number.
        let partial = Partial::make(&directory, &own).map_err(said)?;
        let mut partial = partial.for_once();
        let mut tries = 0;
        while let Err(error) = self.go_on(&mut partial, wanted) {
            tries += 1;
            if tries == TRIES || matches!(error, IpmsgFetchError::Stopped) {
                return Err(error.to_string());
            }
        }
        for free in names(name.as_str()) {
            match partial.finish(&free, self.place.file_mode, false) {
                Ok(()) => return Ok(Kept::As(beneath(path, &free))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(said(error)),
            }
        }
        Err(format!("{NAMES_MAX} files of that name are there"))
    }

    /// Fetches what has not come yet.
    fn go_on(&self, partial: &mut Partial, wanted: &Wanted) -> Result<(), IpmsgFetchError> {
        let offset = partial.len();
        let left = wanted.file.size.saturating_sub(offset);
        let fetch = self.ask(wanted, offset)?;
        fetch.read(left, |piece| partial.write(piece))
    }

    /// Fetches a directory, and says what it is called here. It is asked for once: no program goes on with one, and what
    /// came of it the first time would come again.
    fn directory(&self, wanted: &Wanted, path: &Path) -> Result<Kept, String> {
        let mut incoming = Incoming::new(&self.place, &wanted.file.name)?;
        let tree = IpmsgTree::new(self.bytes_max);
        let fetched = self
            .ask(wanted, 0)
            .and_then(|fetch| fetch.read_tree(tree, |part| incoming.take(part)));
        let (arrived, stored) = incoming.finish();
        let problem = fetched.err().map(|error| error.to_string());
        let problem = problem.or(stored.err().map(|error| error.to_string()));
        match (&arrived.name, problem) {
            (Some(name), problem) => Ok(Kept::Directory(beneath(path, name), arrived, problem)),
            (None, problem) => Err(problem.unwrap_or_else(|| "nothing came".to_owned())),
        }
    }

    fn ask(&self, wanted: &Wanted, offset: u64) -> Result<IpmsgFetch<'_>, IpmsgFetchError> {
        let request = IpmsgFileRequest {
            packet: wanted.number,
            id: wanted.file.id,
            offset,
            is_directory: wanted.file.kind == IpmsgFileKind::Directory,
        };
        let (me, stops) = (&self.me, &self.stops);
        IpmsgFetch::ask(wanted.from, self.bound, me, wanted.number, request, stops)
    }
}

fn beneath(path: &Path, name: &str) -> String {
    path.join(name).to_string_lossy().into_owned()
}
