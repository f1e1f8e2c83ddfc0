use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::bell::IpmsgBell;
use crate::wire::{
    Decode, IPMSG_REQUEST_BYTES_MAX, IpmsgFile, IpmsgFileRequest, IpmsgFileRequests,
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

/// Files that are offered to one host, and served to it over TCP from the port of the datagrams.
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
    /// The file of this id went, to its end.
    Fetched(u32),
    /// It was not served, or not to its end, and why.
    Failed(String),
}

#[derive(Debug)]
struct Terms {
    files: Vec<(IpmsgFile, PathBuf)>,
    /// The packet that offers them, and to which host; none before it was sent.
    to: Mutex<Option<(u32, IpAddr)>>,
    bell: IpmsgBell,
    served: Mutex<usize>,
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

    /// Serves them to this host, which they were offered to by this packet, on threads that end with the process.
    pub fn serve(&self, packet: u32, to: IpAddr) -> io::Result<()> {
        *lock(&self.terms.to) = Some((packet, to.to_canonical()));
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
        let outcome = serve(&connection, &terms);
        let _ = tell.send(match outcome {
            Ok(id) => IpmsgOffered::Fetched(id),
            Err(error) => IpmsgOffered::Failed(error.to_string()),
        });
        *lock(&terms.served) -= 1;
        terms.bell.ring();
    });
}

/// Serves one connection, and says which file went.
fn serve(mut connection: &TcpStream, terms: &Terms) -> io::Result<u32> {
    let peer = connection.peer_addr()?;
    let offered = *lock(&terms.to);
    let Some((packet, _)) = offered.filter(|(_, to)| is_same_host(*to, peer.ip().to_canonical()))
    else {
        return Err(io::Error::other(format!(
            "{peer} asked for files that were not offered to it"
        )));
    };
    let request = read_request(connection)?;
    let place = terms.files.iter().find(|(file, _)| {
        (request.packet, request.id, request.is_directory) == (packet, file.id, false)
    });
    let Some((offered, path)) = place else {
        return Err(io::Error::other(format!(
            "{peer} asked for something else: file {} of packet {}",
            request.id, request.packet
        )));
    };
    let mut file = File::open(path)?;
    let left = offered.size.checked_sub(request.offset);
    let left = left.ok_or_else(|| io::Error::other("the offset is behind the end of the file"))?;
    file.seek(SeekFrom::Start(request.offset))?;
    connection.set_write_timeout(Some(STALL_MAX))?;
    let mut file = file.take(left);
    let mut piece = vec![0; PIECE_BYTES];
    let mut sent = 0;
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            break;
        }
        connection.write_all(&piece[..n])?;
        sent += n as u64;
    }
    connection.shutdown(std::net::Shutdown::Write)?;
    if sent < left {
        return Err(io::Error::other(format!(
            "{} became shorter while it was sent",
            path.display()
        )));
    }
    // It has come when the other end has nothing more to say: a reset would be one that stopped early.
    connection.set_read_timeout(Some(STALL_MAX))?;
    while connection.read(&mut piece)? > 0 {}
    Ok(offered.id)
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
