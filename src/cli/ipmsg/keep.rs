use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::super::Failure;
use super::super::files::{Partial, Place};
use crate::client::{IpmsgBell, IpmsgFetch, IpmsgFetchError};
use crate::config::random_bytes;
use crate::ipmsg::IpmsgMessage;
use crate::wire::{FileName, IpmsgEntry, IpmsgFile, IpmsgFileRequest, Names};

/// How many names are tried for a file whose own is taken.
const NAMES_MAX: u32 = 100;

/// How often a file is asked for that does not come whole, each time from where it ended.
const TRIES: u32 = 3;

/// A directory into which files are fetched, and nothing outside of it.
#[derive(Debug)]
pub(super) struct Keeping {
    place: Arc<Place>,
    path: PathBuf,
    running: Cell<usize>,
    told: Receiver<(Wanted, Kept)>,
    tell: Sender<(Wanted, Kept)>,
}

/// A file that was offered, and is to be fetched.
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
    /// It is not, and why.
    Failed(String),
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
    pub(super) fn open(path: &Path) -> io::Result<Keeping> {
        let (tell, told) = channel();
        Ok(Keeping {
            place: Arc::new(Place::open(path)?),
            path: path.to_owned(),
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

    /// Fetches one on a thread of its own.
    pub(super) fn begin(
        &self,
        wanted: Wanted,
        me: IpmsgEntry,
        bound: IpAddr,
        bell: IpmsgBell,
    ) -> Result<(), Failure> {
        let (place, path, tell) = (
            Arc::clone(&self.place),
            self.path.clone(),
            self.tell.clone(),
        );
        let begun = thread::Builder::new().spawn(move || {
            let kept = match fetch(&place, &wanted, &me, bound) {
                Ok(name) => Kept::As(path.join(name).to_string_lossy().into_owned()),
                Err(why) => Kept::Failed(why),
            };
            let _ = tell.send((wanted, kept));
            bell.ring();
        });
        begun.map_err(anyhow::Error::new)?;
        self.running.set(self.running.get() + 1);
        Ok(())
    }
}

/// Fetches a file, and says what it is called here.
fn fetch(place: &Place, wanted: &Wanted, me: &IpmsgEntry, bound: IpAddr) -> Result<String, String> {
    let name = FileName::new(&wanted.file.name, Names::Basename);
    let name = name.map_err(|wrong| wrong.to_string())?;
    let said = |error: io::Error| error.to_string();
    let directory = place.make(&name).map_err(said)?;
    // The file of another message may have the same name, and what `fetch` keeps of one, too.
    let own = format!(
        "ipmsg-{:08x}",
        u32::from_le_bytes(random_bytes().map_err(said)?)
    );
    let mut partial = Partial::make(&directory, &own).map_err(said)?;
    let mut tries = 0;
    while let Err(error) = go_on(&mut partial, wanted, me, bound) {
        tries += 1;
        if tries == TRIES {
            // Nobody would go on with it later: the packet that offers it again has another number.
            partial.remove();
            return Err(error.to_string());
        }
    }
    let free = (0..NAMES_MAX).map(|n| match n {
        0 => name.as_str().to_owned(),
        n => numbered(name.as_str(), n),
    });
    for free in free {
        match partial.finish(&free, place.file_mode, false) {
            Ok(()) => return Ok(free),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                partial.remove();
                return Err(said(error));
            }
        }
    }
    partial.remove();
    Err(format!("{NAMES_MAX} files of that name are there"))
}

/// Fetches what has not come yet.
fn go_on(
    partial: &mut Partial,
    wanted: &Wanted,
    me: &IpmsgEntry,
    bound: IpAddr,
) -> Result<(), IpmsgFetchError> {
    let request = IpmsgFileRequest {
        packet: wanted.number,
        id: wanted.file.id,
        offset: partial.len(),
        is_directory: false,
    };
    let size = wanted.file.size;
    let fetch = IpmsgFetch::ask(wanted.from, bound, me, wanted.number, request, size)?;
    fetch.read(|piece| partial.write(piece))
}

/// `a.txt` as `a-2.txt`.
fn numbered(name: &str, n: u32) -> String {
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => format!("{stem}-{}.{ending}", n + 1),
        _ => format!("{name}-{}", n + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_gets_a_number_before_its_ending() {
        assert_eq!(numbered("a.txt", 1), "a-2.txt");
        assert_eq!(numbered("README", 2), "README-3");
        assert_eq!(numbered("a.tar.gz", 1), "a.tar-2.gz");
    }
}
