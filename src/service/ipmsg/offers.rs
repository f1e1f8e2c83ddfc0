use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::ipmsg::{IpmsgHost, IpmsgWalk};
use crate::service::file::{Found, OpenRoot};
use crate::wire::{
    FileName, IPMSG_FILES_MAX, IpmsgEncoding, IpmsgFile, IpmsgFileKind, IpmsgFileRequest, Names,
};

/// How many offers are remembered; what was offered before them can no longer be fetched.
const OFFERS_MAX: usize = 64;

/// How many people are asked at once whether they are there.
const ASKED_MAX: usize = 64;

/// How often one address is shown the list.
const LIST_AFTER: Duration = Duration::from_secs(5);

/// The id of the first file: iptux has ids below 10,000 for other files.
const FIRST_FILE: u32 = 10_000;

/// How many bytes the names in one list have: with numbers and the rest they fit a datagram.
const NAMES_BYTES_MAX: usize = 4096;

/// What is said before the list.
const FOLLOWS: &str = "files follow";

/// The files and directories of a root, and who was offered them.
#[derive(Debug, Default)]
pub(super) struct Offers {
    root: Option<OpenRoot>,
    /// Messages that are to be acknowledged before a list is sent. Anybody can ask for one in somebody else's name; who
    /// acknowledges a number that nobody can guess is there, and has asked (fault E5).
    asked: BTreeMap<u32, SocketAddr>,
    /// When each address was asked last.
    when: BTreeMap<IpAddr, Duration>,
    made: VecDeque<Offer>,
}

#[derive(Debug)]
struct Offer {
    number: u32,
    to: IpAddr,
    /// What that host reads.
    encoding: IpmsgEncoding,
    names: Vec<(FileName, IpmsgFileKind)>,
}

/// What was offered, and is asked for.
#[derive(Debug)]
pub(super) enum Wanted {
    File(Found),
    Directory(IpmsgWalk),
}

impl Offers {
    /// Opens the root.
    pub(super) fn open(&mut self, path: &Path) -> Result<(), String> {
        self.root = Some(OpenRoot::open(path)?);
        Ok(())
    }

    /// Whether there are files to be offered.
    pub(super) fn is_open(&self) -> bool {
        self.root.is_some()
    }

    /// Somebody asks for the list: they are told that it follows, and it does when they acknowledge that.
    pub(super) fn asked(&mut self, now: Duration, host: &mut IpmsgHost, from: SocketAddr) {
        self.when
            .retain(|_, at| now.saturating_sub(*at) < LIST_AFTER);
        if self.asked.len() >= ASKED_MAX
            || self.when.len() >= ASKED_MAX
            || self.when.contains_key(&from.ip())
        {
            return;
        }
        if let Ok(number) = host.send(now, from, FOLLOWS, &[], false) {
            self.when.insert(from.ip(), now);
            self.asked.insert(number, from);
        }
    }

    /// This was acknowledged; perhaps a list is to follow.
    pub(super) fn acknowledged(
        &mut self,
        now: Duration,
        host: &mut IpmsgHost,
        number: u32,
        to: SocketAddr,
    ) {
        let (Some(asked), Some(root)) = (self.asked.remove(&number), &self.root) else {
            return;
        };
        let (files, names) = list(root);
        let text = match files.len() {
            0 => "there are no files",
            _ => "",
        };
        if let Ok(number) = host.send(now, asked, text, &files, false) {
            if self.made.len() == OFFERS_MAX {
                self.made.pop_front();
            }
            self.made.push_back(Offer {
                number,
                to: to.ip(),
                encoding: host.encoding_of(asked),
                names,
            });
        }
    }

    /// What this number says will not be answered, or is not wanted.
    pub(super) fn forget(&mut self, number: u32) {
        self.asked.remove(&number);
        self.made.retain(|offer| offer.number != number);
    }

    /// Opens what is asked for, if it was offered to this host.
    pub(super) fn find(&self, peer: IpAddr, request: IpmsgFileRequest) -> Result<Wanted, String> {
        let root = self.root.as_ref().ok_or("no files are offered here")?;
        let is_it = |offer: &&Offer| offer.number == request.packet && is_same_host(offer.to, peer);
        let offer = self.made.iter().find(is_it);
        let offer = offer.ok_or("no such packet has offered files to this host")?;
        let place = request.id.checked_sub(FIRST_FILE);
        let offered = place.and_then(|place| offer.names.get(place as usize));
        let is_asked_for = |(_, kind): &&(FileName, IpmsgFileKind)| {
            request.is_directory == (*kind == IpmsgFileKind::Directory)
        };
        let (name, _) = offered.filter(is_asked_for).ok_or_else(|| {
            let what = if request.is_directory {
                "directory"
            } else {
                "file"
            };
            format!("that packet has not offered such a {what}")
        })?;
        if request.is_directory {
            let directory = root
                .find_directory(name)
                .map_err(|error| error.to_string())?;
            let walk = IpmsgWalk::new(directory, name.clone(), offer.encoding);
            return Ok(Wanted::Directory(walk));
        }
        let found = root.find(name).map_err(|error| error.to_string())?;
        if request.offset > found.size {
            return Err("the offset is behind the end of the file".to_owned());
        }
        Ok(Wanted::File(found))
    }
}

/// What is right beneath the root, as much as fits one message. How large a directory is in all is not known before it
/// was read, which would take too long: 0 is said.
fn list(root: &OpenRoot) -> (Vec<IpmsgFile>, Vec<(FileName, IpmsgFileKind)>) {
    let mut room = NAMES_BYTES_MAX;
    let mut files = Vec::new();
    let mut names = Vec::new();
    for name in root.names(10 * IPMSG_FILES_MAX) {
        let Ok(name) = FileName::new(&name, Names::Refuse) else {
            continue;
        };
        // Twice: a colon is doubled.
        let bytes = 2 * name.as_str().len() + 64;
        if bytes > room || files.len() == IPMSG_FILES_MAX {
            continue;
        }
        let (size, modified, kind) = match root.find(&name) {
            Ok(found) => (found.size, found.modified, IpmsgFileKind::File),
            Err(_) if root.find_directory(&name).is_ok() => (0, 0, IpmsgFileKind::Directory),
            Err(_) => continue,
        };
        room -= bytes;
        files.push(IpmsgFile {
            id: FIRST_FILE + files.len() as u32,
            name: name.as_str().to_owned(),
            size,
            modified,
            kind,
        });
        names.push((name, kind));
    }
    (files, names)
}

/// Whether both are addresses of one host, as every address of loopback is: a program that is bound to one of them may
/// connect from another.
fn is_same_host(one: IpAddr, other: IpAddr) -> bool {
    one == other || (one.is_loopback() && other.is_loopback())
}
