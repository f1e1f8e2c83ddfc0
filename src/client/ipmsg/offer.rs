use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};

use super::bell::IpmsgBell;
use crate::ipmsg::{IpmsgOmitted, IpmsgWalk, IpmsgWalked};
use crate::wire::{
    Decode, FileName, IPMSG_REQUEST_BYTES_MAX, IpmsgEncoding, IpmsgFile, IpmsgFileKind,
    IpmsgFileRequest, IpmsgFileRequests, Names,
};

/// How long a request may take from its first byte to its last.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// After how long a silence a request is over that has no end.
const SETTLE: Duration = Duration::from_millis(20);

/// How long a reader may take nothing.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How many connections are served at once.
const CONNECTIONS_MAX: usize = 16;

/// How many bytes are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Files and directories that are offered to one host, and served to it over TCP from the port of the datagrams.
#[derive(Debug)]
pub struct IpmsgOffer {
    terms: Arc<Terms>,
    listener: TcpListener,
    fetched: Receiver<IpmsgOffered>,
    tell: Sender<IpmsgOffered>,
}

/// What became of a request for one of the files.
#[derive(Debug)]
pub enum IpmsgOffered {
    /// The file or directory of this id went, to its end.
    Fetched(u32),
    /// This was not sent of a directory.
    Omitted(IpmsgOmitted),
    /// It was not served, or not to its end, and why.
    Failed(String),
}

#[derive(Debug)]
struct Terms {
    files: Vec<(IpmsgFile, PathBuf)>,
    /// The host that they are offered to; none before that was sent.
    to: Mutex<Option<Offered>>,
    bell: IpmsgBell,
    served: Mutex<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Offered {
    packet: u32,
    to: IpAddr,
    /// What that host reads.
    encoding: IpmsgEncoding,
}

impl IpmsgOffer {
    /// Listens where the datagrams come, for those that ask for these files.
    pub fn listen(
        at: SocketAddr,
        files: Vec<(IpmsgFile, PathBuf)>,
        bell: IpmsgBell,
    ) -> io::Result<IpmsgOffer> {
        let listener = TcpListener::bind(at)?;
        let (tell, fetched) = channel();
        Ok(IpmsgOffer {
            terms: Arc::new(Terms {
                files,
                to: Mutex::new(None),
                bell,
                served: Mutex::new(0),
            }),
            listener,
            fetched,
            tell,
        })
    }

    /// The files, as they are offered.
    pub fn files(&self) -> Vec<IpmsgFile> {
        let files = self.terms.files.iter();
        files.map(|(file, _)| file.clone()).collect()
    }

    /// Serves them to this host, which they were offered to by this packet and which reads names in this encoding, on
    /// threads that end with the process.
    pub fn serve(&self, packet: u32, to: IpAddr, encoding: IpmsgEncoding) -> io::Result<()> {
        *lock(&self.terms.to) = Some(Offered {
            packet,
            to: to.to_canonical(),
            encoding,
        });
        let (listener, terms) = (self.listener.try_clone()?, Arc::clone(&self.terms));
        let tell = self.tell.clone();
        thread::Builder::new().spawn(move || {
            for connection in listener.incoming() {
                let Ok(connection) = connection else {
                    return;
                };
                accept(connection, &terms, &tell);
            }
        })?;
        Ok(())
    }

    /// What became of requests since it was asked.
    pub fn news(&self) -> Vec<IpmsgOffered> {
        self.fetched.try_iter().collect()
    }

    /// The ids of all of them.
    pub fn ids(&self) -> BTreeSet<u32> {
        self.terms.files.iter().map(|(file, _)| file.id).collect()
    }
}

fn accept(connection: TcpStream, terms: &Arc<Terms>, tell: &Sender<IpmsgOffered>) {
    {
        let mut served = lock(&terms.served);
        if *served >= CONNECTIONS_MAX {
            return;
        }
        *served += 1;
    }
    let (terms, tell) = (Arc::clone(terms), tell.clone());
    thread::spawn(move || {
        let outcome = serve(&connection, &terms, &tell);
        let _ = tell.send(match outcome {
            Ok(id) => IpmsgOffered::Fetched(id),
            Err(error) => IpmsgOffered::Failed(error.to_string()),
        });
        *lock(&terms.served) -= 1;
        terms.bell.ring();
    });
}

/// Opens a directory that was named, and is followed wherever it leads: what it is called, and what is in it.
pub fn ipmsg_walk(path: &Path, name: &str, encoding: IpmsgEncoding) -> io::Result<IpmsgWalk> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty())?;
    let name = FileName::new(name, Names::Refuse).map_err(io::Error::other)?;
    Ok(IpmsgWalk::new(directory, name, encoding))
}

/// Serves one connection, and says which file or directory went.
fn serve(
    mut connection: &TcpStream,
    terms: &Terms,
    tell: &Sender<IpmsgOffered>,
) -> io::Result<u32> {
    let peer = connection.peer_addr()?;
    let offered = *lock(&terms.to);
    let is_it = |offered: &Offered| is_same_host(offered.to, peer.ip().to_canonical());
    let Some(terms_of_it) = offered.filter(is_it) else {
        return Err(io::Error::other(format!(
            "{peer} asked for files that were not offered to it"
        )));
    };
    let request = read_request(connection)?;
    let is_directory = |file: &IpmsgFile| file.kind == IpmsgFileKind::Directory;
    let place = terms.files.iter().find(|(file, _)| {
        (request.packet, request.id, request.is_directory)
            == (terms_of_it.packet, file.id, is_directory(file))
    });
    let Some((offered, path)) = place else {
        let what = if request.is_directory {
            "directory"
        } else {
            "file"
        };
        return Err(io::Error::other(format!(
            "{peer} asked for something else: {what} {} of packet {}",
            request.id, request.packet
        )));
    };
    connection.set_write_timeout(Some(STALL_MAX))?;
    if is_directory(offered) {
        let walk = ipmsg_walk(path, &offered.name, terms_of_it.encoding)?;
        send_directory(connection, walk, tell)?;
    } else {
        let mut file = File::open(path)?;
        let left = offered.size.checked_sub(request.offset);
        let left =
            left.ok_or_else(|| io::Error::other("the offset is behind the end of the file"))?;
        file.seek(SeekFrom::Start(request.offset))?;
        send_file(&mut connection, &file, left, &path.to_string_lossy())?;
    }
    connection.shutdown(std::net::Shutdown::Write)?;
    // It has come when the other end has nothing more to say: a reset would be one that stopped early.
    connection.set_read_timeout(Some(STALL_MAX))?;
    while connection.read(&mut [0; 1024])? > 0 {}
    Ok(offered.id)
}

/// Sends so many bytes of a file, and no more.
fn send_file(out: &mut impl Write, file: &File, left: u64, path: &str) -> io::Result<()> {
    let mut file = file.take(left);
    let mut piece = vec![0; PIECE_BYTES];
    while file.limit() > 0 {
        let n = file.read(&mut piece)?;
        if n == 0 {
            // The other end knows how many there were to be, and sees that these are not all.
            let why = format!("{path} became shorter while it was sent");
            return Err(io::Error::other(why));
        }
        out.write_all(&piece[..n])?;
    }
    Ok(())
}

/// Sends a directory with what is in it. What one file lacks ends it: nothing in the format could say it, and made-up
/// bytes would be taken for the file's.
fn send_directory(
    connection: &TcpStream,
    mut walk: IpmsgWalk,
    tell: &Sender<IpmsgOffered>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(PIECE_BYTES, connection);
    let mut head = Vec::new();
    loop {
        let walked = walk.step(&mut head)?;
        out.write_all(&head)?;
        head.clear();
        match walked {
            IpmsgWalked::File(found) => {
                send_file(&mut out, &found.file.into(), found.size, &found.path)?;
            }
            IpmsgWalked::Omitted(omitted) => {
                let _ = tell.send(IpmsgOffered::Omitted(omitted));
            }
            IpmsgWalked::Over => return out.flush(),
            IpmsgWalked::Entered | IpmsgWalked::Left => {}
        }
    }
}

/// Whether both are addresses of one host, as every address of loopback is: a program that is bound to one of them may
/// connect from another.
fn is_same_host(one: IpAddr, other: IpAddr) -> bool {
    one == other || (one.is_loopback() && other.is_loopback())
}

fn read_request(mut connection: &TcpStream) -> io::Result<IpmsgFileRequest> {
    connection.set_read_timeout(Some(REQUEST_WITHIN))?;
    let mut unread = Vec::new();
    let mut buffer = [0; IPMSG_REQUEST_BYTES_MAX];
    loop {
        let is_over = match connection.read(&mut buffer) {
            Ok(n) => {
                unread.extend_from_slice(&buffer[..n]);
                n == 0
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !unread.is_empty() => true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
            Err(error) => return Err(error),
        };
        let mut decoder = IpmsgFileRequests;
        let request = if is_over {
            decoder.decode_eof(&unread)
        } else {
            decoder.decode(&unread)
        };
        match request.map_err(io::Error::other)? {
            Some((request, _)) => return Ok(request),
            None if is_over => return Err(io::ErrorKind::UnexpectedEof.into()),
            None if may_be_whole(&unread) => connection.set_read_timeout(Some(SETTLE))?,
            None => {}
        }
    }
}

/// Whether it would be a request, if nothing more came.
fn may_be_whole(unread: &[u8]) -> bool {
    IpmsgFileRequests.decode_eof(unread).is_ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
