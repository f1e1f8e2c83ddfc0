//! Restarting a server.

use super::apparatus::connected;
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{AF_INET, Address, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, Socket, SocketError};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "address-in-use",
    title: "98 after a restart: the port is kept by connections that are over",
    run,
    why: "The side that closes first keeps the connection for a minute (TIME_WAIT), in case its last packets \
          come late. If that was the server, its port counts as used, and a new server cannot have it, unless \
          both the old and the new server set SO_REUSEADDR before bind: the connections of the old one carry \
          the flag with them. The flag never lets two servers listen on one port at the same time.",
    next: "`ss -tan state time-wait` after each run. SO_REUSEPORT is the option that does let two listen, \
           and the kernel deals the callers out to them.",
    ours: &[("src/reactor/socket.rs", "set_socket_reuseaddr(&fd, true)?;")],
};

fn run(note: &mut Notebook) -> Done {
    note.wrong("bind, as the first example of a book has it");
    let port = serve_and_stop(note, false)?;
    let code = note
        .step("server.bind(port)", || bind(&port, false).map(drop))
        .err();
    let in_use = code.and_then(|raised| raised.errno()) == Some(98);
    note.expect("in use, though no process has it", in_use)?;
    let code = note
        .step("the same, now with SO_REUSEADDR", || {
            bind(&port, true).map(drop)
        })
        .err();
    let too_late = code.and_then(|raised| raised.errno()) == Some(98);
    note.saw("flag_on_the_new_server_only", if too_late { 98 } else { 0 });
    note.expect(
        "too late: the old server's connections are without it",
        too_late,
    )?;

    note.right("SO_REUSEADDR before every bind");
    let port = serve_and_stop(note, true)?;
    let bound = note.step("server.bind(port), with SO_REUSEADDR", || {
        bind(&port, true).map(drop)
    });
    note.saw("flag_on_both", if bound.is_ok() { 0 } else { 98 });
    note.expect("bound", bound.is_ok())?;

    let one = bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>()?.into(), true)?;
    note.step("one.listen()", || one.listen(1))?;
    let port = one.getsockname()?;
    let other = note
        .step("other.bind(the same), with SO_REUSEADDR", || {
            bind(&port, true).map(drop)
        })
        .err();
    let refused = other.and_then(|raised| raised.errno()) == Some(98);
    note.expect("not while another one listens there", refused)
}

/// A server that served one client, hung up first, and stopped: where it was.
fn serve_and_stop(note: &mut Notebook, reuse: bool) -> anyhow::Result<Address> {
    let server = bind(
        &"127.0.0.1:0".parse::<std::net::SocketAddr>()?.into(),
        reuse,
    )?;
    server.listen(1)?;
    let port = server.getsockname()?;
    let (client, conn) = connected(&server)?;
    let with = if reuse { "with" } else { "without" };
    note.step(
        format!("conn.close(); server.close(), {with} the flag"),
        || conn.close(),
    );
    client.recv(1)?;
    Ok(port)
}

fn bind(port: &Address, reuse: bool) -> Result<Socket, SocketError> {
    let s = Socket::new(AF_INET, SOCK_STREAM)?;
    s.setsockopt(SOL_SOCKET, SO_REUSEADDR, reuse)?;
    s.bind(port)?;
    Ok(s)
}
