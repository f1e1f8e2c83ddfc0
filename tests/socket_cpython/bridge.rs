//! Lends our sockets to a Python program: what `tests/python_socket/shim/socket.py` stands on.
//!
//! Python connects to a Unix socket, once per thread, so that several calls can wait at the same time;
//! each connection has a thread here, and all share the sockets. A message is two lengths, a JSON object
//! and bytes. A descriptor travels beside it (`SCM_RIGHTS`): Python holds a duplicate of every socket's,
//! for `fileno()`, `select` and `os.close`.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use onepoll::socket::*;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde_json::{Value, json};

/// Where Python connects.
pub(crate) const PATH_VARIABLE: &str = "ONEPOLL_SOCKET_BRIDGE";

/// Serves until the one who asked goes away: whoever connects first.
pub(crate) fn serve(path: &str) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    let lent = Arc::new(Lent::default());
    let (first, _) = listener.accept()?;
    let others = Arc::clone(&lent);
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let lent = Arc::clone(&others);
            thread::spawn(move || answer_all(stream, &lent));
        }
    });
    // It never asks for anything; its end is ours.
    answer_all(first, &lent);
    Ok(())
}

/// What Python holds numbers of.
#[derive(Default)]
struct Lent {
    sockets: Mutex<HashMap<u64, Arc<Socket>>>,
    files: Mutex<HashMap<u64, Arc<Mutex<SocketFile>>>>,
    next: AtomicU64,
}

/// An answer: a value, bytes, and sockets whose descriptors go with it.
#[derive(Default)]
struct Answer {
    value: Value,
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

fn answer_all(mut stream: UnixStream, lent: &Lent) {
    while let Ok((request, bytes, fd)) = receive(&mut stream) {
        let answer = lent
            .answer(&request, &bytes, fd)
            .unwrap_or_else(|error| Answer {
                value: json!({
                    "error": error.exception().name(),
                    "errno": error.errno(),
                    "text": error.strerror(),
                    "sent": error.sent(),
                }),
                ..Answer::default()
            });
        if send(&mut stream, &answer).is_err() {
            return;
        }
    }
}

fn receive(stream: &mut UnixStream) -> io::Result<(Value, Vec<u8>, Option<OwnedFd>)> {
    let mut lengths = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut head = [IoSliceMut::new(&mut lengths)];
    let flags = RecvFlags::WAITALL | RecvFlags::CMSG_CLOEXEC;
    if recvmsg(&*stream, &mut head, &mut control, flags)?.bytes != lengths.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.last();
        }
    }
    let len = |at: usize| u32::from_le_bytes(*lengths[at..].first_chunk().unwrap()) as usize;
    let mut text = vec![0; len(0)];
    stream.read_exact(&mut text)?;
    let mut bytes = vec![0; len(4)];
    stream.read_exact(&mut bytes)?;
    Ok((serde_json::from_slice(&text)?, bytes, fd))
}

fn send(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let text = answer.value.to_string();
    let len = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let head = [len(text.len()), len(answer.bytes.len())].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = answer.fds.iter().map(AsFd::as_fd).collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let head = [IoSlice::new(&head)];
    sendmsg(&*stream, &head, &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(text.as_bytes())?;
    stream.write_all(&answer.bytes)
}

impl Lent {
    fn answer(
        &self,
        request: &Value,
        bytes: &[u8],
        fd: Option<OwnedFd>,
    ) -> Result<Answer, SocketError> {
        let int = |key: &str| {
            let n = request[key].as_i64().unwrap_or_default();
            i32::try_from(n).unwrap_or_default()
        };
        let size = |key: &str| usize::try_from(request[key].as_u64().unwrap_or_default()).unwrap();
        let flags = u32::try_from(int("flags")).unwrap_or_default();
        let family = |key: &str| match int(key) {
            1 => Ok(AF_UNIX),
            2 => Ok(AF_INET),
            10 => Ok(AF_INET6),
            // EAFNOSUPPORT
            _ => Err(SocketError::from_errno(97)),
        };
        let kind = || Kind::from_number(u32::try_from(int("kind")).unwrap_or_default());
        let op = request["op"].as_str().unwrap();
        match op {
            "socket" => {
                let Some(fd) = fd else {
                    let new = Socket::with_protocol(family("family")?, kind(), int("proto"))?;
                    return self.lend(vec![new], None);
                };
                // Python has its descriptor already.
                let mut answer = self.lend(vec![Socket::from_fd(fd)?], None)?;
                answer.fds.clear();
                return Ok(answer);
            }
            "socketpair" => {
                let (a, b) = socketpair_with(family("family")?, kind(), int("proto"))?;
                return self.lend(vec![a, b], None);
            }
            "create_connection" => {
                let host = (request["host"].as_str().unwrap(), port(request));
                let source = request["source"].as_object().map(|_| {
                    let source = &request["source"];
                    (source["host"].as_str().unwrap(), port(source))
                });
                let new = match &request["timeout"] {
                    Value::String(word) if word == "default" => {
                        create_connection_with(host, default_mode()?, source)?
                    }
                    timeout => create_connection_with(host, seconds(timeout), source)?,
                };
                return self.lend(vec![new], None);
            }
            "create_server" => {
                let options = ServerOptions {
                    family: family("family")?,
                    backlog: request["backlog"].as_i64().map(|_| int("backlog")),
                    reuse_port: request["reuse_port"] == true,
                    dualstack_ipv6: request["dualstack_ipv6"] == true,
                };
                let new = create_server_with(Written(&request["address"]), options)?;
                return self.lend(vec![new], None);
            }
            "has_dualstack_ipv6" => return said(json!(has_dualstack_ipv6())),
            "setdefaulttimeout" => {
                setdefaulttimeout(seconds(&request["value"]))?;
                return said(Value::Null);
            }
            "getdefaulttimeout" => return said(json!(getdefaulttimeout())),
            _ => {}
        }
        if let Some(number) = request["f"].as_u64() {
            return self.answer_file(number, op, request, bytes);
        }
        let number = request["s"].as_u64().unwrap();
        if op == "forget" {
            locked(&self.sockets).remove(&number);
            return said(Value::Null);
        }
        let sock = Arc::clone(&locked(&self.sockets)[&number]);
        let address = || Written(&request["address"]);
        said(match op {
            "accept" => {
                let (conn, address) = sock.accept()?;
                return self.lend(vec![conn], Some(address));
            }
            "dup" => return self.lend(vec![sock.dup()?], None),
            "bind" => json!(sock.bind(address())?),
            "listen" => json!(
                sock.listen(
                    request["backlog"]
                        .as_i64()
                        .map_or(BACKLOG, |_| int("backlog"))
                )?
            ),
            "connect" => json!(sock.connect(address())?),
            "connect_ex" => json!(sock.connect_ex(address())?),
            "recv" => return data(sock.recv_with(size("n"), flags)?, Value::Null),
            "recv_into" => {
                let mut buffer = vec![0; size("n")];
                let n = sock.recv_into_with(&mut buffer, flags)?;
                buffer.truncate(n);
                return data(buffer, json!(n));
            }
            "recvfrom" => {
                let (bytes, from) = sock.recvfrom_with(size("n"), flags)?;
                return data(bytes, written(from));
            }
            "recvfrom_into" => {
                let mut buffer = vec![0; size("n")];
                let (n, from) = sock.recvfrom_into_with(&mut buffer, flags)?;
                buffer.truncate(n);
                return data(buffer, written(from));
            }
            "send" => json!(sock.send_with(bytes, flags)?),
            "sendall" => json!(sock.sendall_with(bytes, flags)?),
            "sendto" => json!(sock.sendto_with(bytes, flags, address())?),
            "shutdown" => json!(sock.shutdown(int("how"))?),
            "getsockname" => written(Some(sock.getsockname()?)),
            "getpeername" => written(Some(sock.getpeername()?)),
            "getsockopt" if size("buflen") > 0 => {
                let bytes = sock.getsockopt_bytes(int("level"), int("option"), size("buflen"))?;
                return data(bytes, Value::Null);
            }
            "getsockopt" => json!(sock.getsockopt(int("level"), int("option"))?),
            "setsockopt" if request["value"].is_null() => {
                json!(sock.setsockopt(int("level"), int("option"), bytes)?)
            }
            "setsockopt" => json!(sock.setsockopt(int("level"), int("option"), int("value"))?),
            "setblocking" => json!(sock.setblocking(request["value"] == true)?),
            "settimeout" => json!(sock.settimeout(seconds(&request["value"]))?),
            "gettimeout" => json!(sock.gettimeout()),
            "getblocking" => json!(sock.getblocking()),
            "close" => {
                sock.close();
                json!(sock.fileno() >= 0)
            }
            "detach" => json!(sock.detach().is_some()),
            "makefile" => {
                let mode = request["mode"].as_str().unwrap();
                let file = match request["buffering"].as_u64() {
                    Some(_) => sock.makefile_with(mode, size("buffering"))?,
                    None => sock.makefile(mode)?,
                };
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                locked(&self.files).insert(number, Arc::new(Mutex::new(file)));
                json!(number)
            }
            other => panic!("no such request: {other}"),
        })
    }

    fn answer_file(
        &self,
        number: u64,
        op: &str,
        request: &Value,
        bytes: &[u8],
    ) -> Result<Answer, SocketError> {
        if op == "forget" {
            locked(&self.files).remove(&number);
            return said(Value::Null);
        }
        let file = Arc::clone(&locked(&self.files)[&number]);
        let mut file = locked(&file);
        let size = request["n"].as_u64().map(|n| usize::try_from(n).unwrap());
        let maybe = |read: Option<Vec<u8>>| match read {
            None => said(Value::Null),
            Some(bytes) => data(bytes, json!(true)),
        };
        match op {
            "read" => maybe(file.read(size)?),
            "read1" => maybe(file.read1(size)?),
            "readline" => maybe(Some(file.readline_within(size.unwrap_or(usize::MAX))?)),
            "write" => said(json!(file.write(bytes)?)),
            "flush" => said(json!(file.flush()?)),
            "close" => said(json!(file.close()?)),
            other => panic!("no such request: {other}"),
        }
    }

    /// Gives sockets numbers, and tells what they are.
    fn lend(&self, new: Vec<Socket>, from: Option<Address>) -> Result<Answer, SocketError> {
        let mut answer = Answer::default();
        let mut told = Vec::new();
        for sock in new {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            told.push(json!([
                number,
                sock.family().number(),
                sock.kind().number(),
                sock.proto()
            ]));
            // The mode of both descriptors is one: `dup` sets it to what it is.
            let twin = sock.dup()?.detach();
            answer.fds.push(twin.expect("it was born just now"));
            locked(&self.sockets).insert(number, Arc::new(sock));
        }
        answer.value = json!({"ok": {"new": told, "address": written(from)}});
        Ok(answer)
    }
}

/// An address as Python wrote it: `{"inet": [host, port, flow, scope]}` or `{"unix": hex}`.
struct Written<'a>(&'a Value);

impl IntoAddress for Written<'_> {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        if let Some(hex) = self.0["unix"].as_str() {
            let name: Vec<u8> = (0..hex.len() / 2)
                .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
                .collect();
            return name.as_slice().into_address(family);
        }
        let parts = &self.0["inet"];
        let number = |i: usize| u32::try_from(parts[i].as_u64().unwrap_or_default()).unwrap();
        let port = u16::try_from(number(1)).unwrap();
        (parts[0].as_str().unwrap(), port, number(2), number(3)).into_address(family)
    }
}

fn written(address: Option<Address>) -> Value {
    match address {
        None => Value::Null,
        Some(Address::Inet(v4)) => json!({"inet": [v4.ip().to_string(), v4.port()]}),
        Some(Address::Inet6(v6)) => {
            json!({"inet": [v6.ip().to_string(), v6.port(), v6.flowinfo(), v6.scope_id()]})
        }
        Some(Address::Unix(name)) => {
            json!({"unix": name.iter().map(|b| format!("{b:02x}")).collect::<String>()})
        }
    }
}

fn port(of: &Value) -> u16 {
    u16::try_from(of["port"].as_u64().unwrap()).unwrap()
}

/// `None`, or seconds as `repr` wrote them, "nan" and "inf" too.
fn seconds(value: &Value) -> Option<f64> {
    value.as_str().map(|text| text.parse().unwrap())
}

fn default_mode() -> Result<Timeout, SocketError> {
    Timeout::from_seconds(getdefaulttimeout())
}

fn said(value: Value) -> Result<Answer, SocketError> {
    Ok(Answer {
        value: json!({ "ok": value }),
        ..Answer::default()
    })
}

fn data(bytes: Vec<u8>, value: Value) -> Result<Answer, SocketError> {
    Ok(Answer {
        value: json!({ "ok": value }),
        bytes,
        fds: Vec::new(),
    })
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
