//! Runs scripts of socket calls here: step for step what `tests/python_socket/differential.py` does.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use onepoll::socket::*;
use serde_json::{Value, json};

/// What a call may take and still have returned at once, when nothing says how long it could wait.
const AT_ONCE: f64 = 0.05;
/// After this long a helper that did not help gives up.
const RESCUE: Duration = Duration::from_millis(50);

pub(crate) fn pattern(seed: u64, n: u64) -> Vec<u8> {
    let period: Vec<u8> = (0..256).map(|i| ((seed + i * 7) % 256) as u8).collect();
    let n = usize::try_from(n).unwrap();
    let mut data = period.repeat(n / 256 + 1);
    data.truncate(n);
    data
}

enum Stop {
    Skip(&'static str),
    Error(SocketError),
}

impl From<SocketError> for Stop {
    fn from(error: SocketError) -> Self {
        Self::Error(error)
    }
}

type Answer = Result<Value, Stop>;

pub(crate) struct Interpreter {
    prefix: String,
    sockets: HashMap<u64, Arc<Socket>>,
    files: HashMap<u64, (SocketFile, Arc<Socket>)>,
    dead: HashSet<u64>,
    both_or_bare: HashSet<u64>,
    ports: HashMap<u16, String>,
    names: HashMap<Vec<u8>, String>,
    helped: Arc<Mutex<Vec<Socket>>>,
}

/// One script, from nothing to nothing.
pub(crate) fn run(prefix: &str, steps: &[Value]) -> Vec<Value> {
    let mut interpreter = Interpreter {
        prefix: prefix.to_owned(),
        sockets: HashMap::new(),
        files: HashMap::new(),
        dead: HashSet::new(),
        both_or_bare: HashSet::new(),
        ports: HashMap::new(),
        names: HashMap::new(),
        helped: Arc::default(),
    };
    let results = steps.iter().map(|step| interpreter.run(step)).collect();
    interpreter.end();
    results
}

impl Interpreter {
    fn say_bytes(data: &[u8]) -> Value {
        if data.len() <= 64 {
            return json!(data.iter().map(|b| format!("{b:02x}")).collect::<String>());
        }
        let total = data.iter().enumerate().fold(0u64, |total, (i, byte)| {
            (total + u64::from(*byte) * (i as u64 + 1)) % 65521
        });
        json!(format!("{} bytes, {total}", data.len()))
    }

    fn say_address(&mut self, address: Option<Address>) -> Value {
        let name = match address {
            None => return Value::Null,
            Some(Address::Unix(name)) => name,
            Some(address) => {
                let number = address.port();
                let next = format!("port {}", self.ports.len());
                let port = match number {
                    0 => json!(0),
                    _ => json!(self.ports.entry(number).or_insert(next)),
                };
                let host = address.to_socket_addr().unwrap().ip().to_string();
                return json!([host, port]);
            }
        };
        let prefix = self.prefix.as_bytes();
        if let Some(at) = name.windows(prefix.len()).position(|w| w == prefix) {
            let said = [&name[..at], b"@", &name[at + prefix.len()..]].concat();
            return json!(said.iter().map(|b| format!("{b:02x}")).collect::<String>());
        }
        if name.is_empty() {
            return json!("");
        }
        let next = format!("name {}", self.names.len());
        json!(self.names.entry(name).or_insert(next))
    }

    fn socket(&self, step: &Value) -> Result<Arc<Socket>, Stop> {
        let key = step["s"].as_u64().unwrap();
        self.sockets
            .get(&key)
            .cloned()
            .ok_or(Stop::Skip("nobody there"))
    }

    /// Looked up for a socket of `family`, before the call is timed.
    fn address(&self, step: &Value, family: Family) -> Result<Address, Stop> {
        let to = &step["to"];
        if let Some(of) = to["of"].as_u64() {
            let there = self.sockets.get(&of).ok_or(Stop::Skip("nobody there"))?;
            return Ok(there.getsockname()?.into_address(family)?);
        }
        if let Some(unix) = to["unix"].as_str() {
            let name = unix.replace('@', &self.prefix);
            return Ok(name.as_str().into_address(family)?);
        }
        let host = to["host"].as_str().unwrap();
        let port = u16::try_from(to["port"].as_u64().unwrap()).unwrap();
        Ok((host, port).into_address(family)?)
    }

    fn run(&mut self, step: &Value) -> Value {
        let sock = step["s"]
            .as_u64()
            .and_then(|s| self.sockets.get(&s))
            .cloned();
        let mut reference = AT_ONCE;
        if let Some(timeout) = sock.as_ref().and_then(|sock| sock.gettimeout())
            && timeout > 0.0
        {
            reference = timeout * 0.8;
        }
        let helper = step.get("helper").cloned();
        if let Some(helper) = &helper {
            reference = reference.min(helper["after_ms"].as_f64().unwrap() / 1000.0 * 0.8);
        }
        let file = step["f"].as_u64().and_then(|f| self.files.get(&f));
        let about = sock.as_ref().or(file.map(|(_, sock)| sock));
        let sets_mode = ["settimeout", "setblocking"].contains(&step["op"].as_str().unwrap());
        if !sets_mode && about.is_some_and(|sock| sock.gettimeout().is_some() && blocks(sock)) {
            // A duplicate was set to blocking, and the descriptor with it.
            return said(Err(Stop::Skip("might wait for ever")));
        }
        if let Err(stop) = self.prepare(step) {
            return said(Err(stop));
        }
        let (done, waits) = mpsc::channel::<()>();
        let thread = helper.map(|helper| {
            let actor = helper["s"]
                .as_u64()
                .and_then(|s| self.sockets.get(&s))
                .cloned();
            let waiting = sock.clone();
            let helped = Arc::clone(&self.helped);
            thread::spawn(move || {
                pause(Duration::from_millis(helper["after_ms"].as_u64().unwrap()));
                if let Some(actor) = actor {
                    act(&helper, &actor, &helped);
                }
                if waits.recv_timeout(RESCUE) == Err(RecvTimeoutError::Timeout)
                    && let Some(waiting) = waiting
                {
                    _ = waiting.shutdown(SHUT_RDWR);
                }
            })
        });
        let data = match (step["seed"].as_u64(), step["n"].as_u64()) {
            (Some(seed), Some(n)) => pattern(seed, n),
            _ => Vec::new(),
        };
        let began = now();
        let answer = self.call(step, &data);
        let waited = began.elapsed().as_secs_f64() >= reference;
        drop(done);
        if let Some(thread) = thread {
            thread.join().unwrap();
        }
        let skipped = matches!(answer, Err(Stop::Skip(_)));
        let mut result = said(answer);
        if !skipped {
            result["waited"] = json!(waited);
        }
        result
    }

    /// What makes a step impossible, or wait for ever.
    fn prepare(&self, step: &Value) -> Result<(), Stop> {
        let for_ever = Err(Stop::Skip("would wait for ever"));
        let might = Err(Stop::Skip("might wait for ever"));
        let op = step["op"].as_str().unwrap();
        if let Some(f) = step["f"].as_u64()
            && op != "makefile"
        {
            let (_, sock) = self.files.get(&f).ok_or(Stop::Skip("nobody there"))?;
            if op != "file_close" && self.dead.contains(&f) {
                return Err(Stop::Skip("it has timed out"));
            }
            if sock.gettimeout().is_none() {
                return might;
            }
            let lossy = op == "file_readline" && self.both_or_bare.contains(&f);
            if lossy && sock.gettimeout() == Some(0.0) {
                return Err(Stop::Skip("Python loses what it has read"));
            }
            return Ok(());
        }
        if step["s"].is_null() {
            return Ok(());
        }
        let sock = self.socket(step)?;
        let blocking = sock.gettimeout().is_none();
        if let Some(of) = step["to"]["of"].as_u64() {
            let there = self.sockets.get(&of).ok_or(Stop::Skip("nobody there"))?;
            there.getsockname()?;
        }
        match op {
            "connect" | "connect_ex" if blocking && step["safe"].is_null() => might,
            "sendto" if blocking && sock.family() == AF_UNIX => might,
            "send" if step.get("helper").is_some() && sock.kind() != SOCK_STREAM => might,
            "fill" if blocking => for_ever,
            "makefile" if sock.kind() != SOCK_STREAM => Err(Stop::Skip("a file of datagrams")),
            "accept" | "recv" | "recv_into" | "recvfrom" | "recvfrom_into"
                if blocking
                    && step.get("helper").is_none()
                    && !ready(&sock, Interest::READABLE) =>
            {
                for_ever
            }
            "send" | "sendall" | "sendto"
                if blocking
                    && step.get("helper").is_none()
                    && !ready(&sock, Interest::WRITABLE) =>
            {
                for_ever
            }
            _ => Ok(()),
        }
    }

    fn call(&mut self, step: &Value, data: &[u8]) -> Answer {
        let int = |key: &str| step[key].as_i64().map_or(0, |n| i32::try_from(n).unwrap());
        let n = || usize::try_from(step["n"].as_u64().unwrap()).unwrap();
        let flags = u32::try_from(int("flags")).unwrap();
        let family = || match step["family"].as_u64() {
            Some(1) => AF_UNIX,
            Some(2) => AF_INET,
            _ => AF_INET6,
        };
        let kind = || Kind::from_number(u32::try_from(int("kind")).unwrap());
        let into = step["into"].as_u64().unwrap_or_default();
        let op = step["op"].as_str().unwrap();
        match op {
            "socket" => {
                let new = Socket::new(family(), kind())?;
                self.sockets.insert(into, Arc::new(new));
                return Ok(Value::Null);
            }
            "socketpair" => {
                let (a, b) = socketpair_with(family(), kind(), 0)?;
                self.sockets.insert(into, Arc::new(a));
                self.sockets.insert(into + 1, Arc::new(b));
                return Ok(Value::Null);
            }
            "setdefaulttimeout" => {
                setdefaulttimeout(step["value"].as_f64())?;
                return Ok(Value::Null);
            }
            "getdefaulttimeout" => return Ok(json!(getdefaulttimeout())),
            _ if op.starts_with("file_") => return self.call_file(step, data),
            _ => {}
        }
        let sock = self.socket(step)?;
        let address = || self.address(step, sock.family());
        Ok(match op {
            "dup" => {
                let new = sock.dup()?;
                self.sockets.insert(into, Arc::new(new));
                Value::Null
            }
            "adopt" => {
                let Some(fd) = sock.detach() else {
                    return Ok(json!("nothing to adopt"));
                };
                let new = Socket::from_fd(fd)?;
                let said = json!([
                    new.family().number(),
                    new.kind().number(),
                    new.proto(),
                    new.gettimeout()
                ]);
                self.sockets.insert(into, Arc::new(new));
                said
            }
            "detach" => json!(sock.detach().is_some()),
            "bind" => json!(sock.bind(address()?)?),
            "listen" => json!(sock.listen(int("n"))?),
            "accept" => {
                let (conn, address) = sock.accept()?;
                let address = self.say_address(Some(address));
                let said = json!([address, conn.gettimeout(), conn.getblocking()]);
                self.sockets.insert(into, Arc::new(conn));
                said
            }
            "connect" => json!(sock.connect(address()?)?),
            "connect_ex" => json!(sock.connect_ex(address()?)?),
            "send" => json!(sock.send_with(data, flags)?),
            "sendall" => json!(sock.sendall(data)?),
            "sendto" => json!(sock.sendto(data, address()?)?),
            "fill" => {
                let data = pattern(
                    0,
                    if sock.kind() == SOCK_STREAM {
                        65536
                    } else {
                        100
                    },
                );
                for _ in 0..5000 {
                    sock.send(&data)?;
                }
                json!("it takes everything")
            }
            "drain" => {
                while !sock.recv_with(65536, MSG_DONTWAIT)?.is_empty() {}
                json!("the end")
            }
            "recv" => Self::say_bytes(&sock.recv_with(n(), flags)?),
            "recv_into" => {
                let mut buffer = vec![0; n()];
                let n = sock.recv_into_with(&mut buffer, flags)?;
                json!([n, Self::say_bytes(&buffer)])
            }
            "recvfrom" => {
                let (data, from) = sock.recvfrom_with(n(), flags)?;
                json!([Self::say_bytes(&data), self.say_address(from)])
            }
            "recvfrom_into" => {
                let mut buffer = vec![0; n()];
                let (n, from) = sock.recvfrom_into_with(&mut buffer, flags)?;
                json!([n, Self::say_bytes(&buffer), self.say_address(from)])
            }
            "shutdown" => json!(sock.shutdown(int("n"))?),
            "close" => {
                sock.close();
                Value::Null
            }
            "fileno" => json!(sock.fileno() >= 0),
            "setblocking" => json!(sock.setblocking(step["value"].as_bool().unwrap())?),
            "settimeout" => json!(sock.settimeout(step["value"].as_f64())?),
            "mode" => json!([sock.gettimeout(), sock.getblocking()]),
            "getsockname" => {
                let address = sock.getsockname()?;
                self.say_address(Some(address))
            }
            "getpeername" => {
                let address = sock.getpeername()?;
                self.say_address(Some(address))
            }
            "getsockopt" if n() > 0 => {
                Self::say_bytes(&sock.getsockopt_bytes(int("level"), int("option"), n())?)
            }
            "getsockopt" => json!(sock.getsockopt(int("level"), int("option"))?),
            "setsockopt" => match step["value"].as_str() {
                Some(hex) => {
                    let bytes: Vec<u8> = (0..hex.len() / 2)
                        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
                        .collect();
                    json!(sock.setsockopt(int("level"), int("option"), bytes)?)
                }
                None => json!(sock.setsockopt(int("level"), int("option"), int("value"))?),
            },
            "makefile" => {
                let mode = step["mode"].as_str().unwrap();
                let file = match step["buffering"].as_u64() {
                    Some(size) => sock.makefile_with(mode, usize::try_from(size).unwrap())?,
                    None => sock.makefile(mode)?,
                };
                let f = step["f"].as_u64().unwrap();
                self.files.insert(f, (file, sock));
                if mode == "rwb" || step["buffering"] == 0 {
                    self.both_or_bare.insert(f);
                } else {
                    self.both_or_bare.remove(&f);
                }
                Value::Null
            }
            other => panic!("no such step: {other}"),
        })
    }

    fn call_file(&mut self, step: &Value, data: &[u8]) -> Answer {
        let f = step["f"].as_u64().unwrap();
        let (file, _) = self.files.get_mut(&f).ok_or(Stop::Skip("nobody there"))?;
        let n = || usize::try_from(step["n"].as_i64().unwrap()).ok();
        let timed_out = |error: &SocketError| error.exception() == Exception::TimeoutError;
        Ok(match step["op"].as_str().unwrap() {
            "file_read" => match file.read(n()) {
                Ok(data) => data.map_or(Value::Null, |data| Self::say_bytes(&data)),
                Err(error) => {
                    if timed_out(&error) {
                        self.dead.insert(f);
                    }
                    return Err(error.into());
                }
            },
            "file_readline" => match file.readline() {
                Ok(data) => Self::say_bytes(&data),
                Err(error) => {
                    if timed_out(&error) {
                        self.dead.insert(f);
                    }
                    return Err(error.into());
                }
            },
            "file_write" => json!(file.write(data)?),
            "file_flush" => json!(file.flush()?),
            "file_close" => json!(file.close()?),
            other => panic!("no such step: {other}"),
        })
    }

    fn end(self) {
        setdefaulttimeout(None).unwrap();
        for sock in self.sockets.values() {
            _ = sock.setblocking(false);
        }
    }
}

fn said(answer: Answer) -> Value {
    match answer {
        Ok(value) => json!({ "ok": value }),
        Err(Stop::Skip(why)) => json!({ "skip": why }),
        Err(Stop::Error(error)) => {
            let mut result = json!({ "error": error.exception().name(), "errno": error.errno() });
            if error.errno().is_some() && error.exception() != Exception::BlockingIOError {
                result["text"] = json!(error.to_string());
            }
            result
        }
    }
}

fn act(helper: &Value, sock: &Socket, helped: &Mutex<Vec<Socket>>) {
    match helper["op"].as_str().unwrap() {
        "send" => {
            let data = pattern(1, helper["n"].as_u64().unwrap());
            _ = sock.send_with(&data, MSG_DONTWAIT);
        }
        "recv" => _ = sock.recv_with(1 << 20, MSG_DONTWAIT),
        "shutdown" => _ = sock.shutdown(SHUT_WR),
        "connect" => {
            let Ok(other) = Socket::new(sock.family(), SOCK_STREAM) else {
                return;
            };
            _ = other.setblocking(false);
            if let Ok(there) = sock.getsockname() {
                _ = other.connect_ex(there);
            }
            helped.lock().unwrap().push(other);
        }
        other => panic!("no such help: {other}"),
    }
}

/// Whether the descriptor blocks, whatever the socket's mode is.
fn blocks(sock: &Socket) -> bool {
    const O_NONBLOCK: u32 = 0o4000;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", sock.fileno()));
    let Ok(info) = info else { return false };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    u32::from_str_radix(flags.unwrap().trim(), 8).unwrap() & O_NONBLOCK == 0
}

/// Whether a call would find something at once.
fn ready(sock: &Socket, interest: Interest) -> bool {
    let fd = sock.fileno();
    if fd < 0 {
        return true;
    }
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1);
    poll.registry()
        .register(&mut SourceFd(&fd), Token(0), interest)
        .unwrap();
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    !events.is_empty()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a stopwatch is what this test is about"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one who wakes others comes later"
)]
fn pause(time: Duration) {
    thread::sleep(time);
}
