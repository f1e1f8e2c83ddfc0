//! Restarting a server.

use super::apparatus::{connected, stream};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{Address, SO_REUSEADDR, SOL_SOCKET, Socket, SocketError};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "address-in-use",
    title: "98 after a restart: the port is kept by connections that are over",
    run,
    python: include_str!("python/address_in_use.py"),
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
    let again = stream(note, "again")?;
    let code = errno(note.step("again.bind(port)", || again.bind(&port)));
    note.expect("in use, though no process has it", code == 98)?;
    allow_reuse(note, "again", &again)?;
    let code = errno(note.step("again.bind(port)", || again.bind(&port)));
    note.saw("flag_on_the_new_server_only", code);
    note.expect(
        "too late: the old server's connections are without it",
        code == 98,
    )?;

    note.right("SO_REUSEADDR before every bind");
    let port = serve_and_stop(note, true)?;
    let again = stream(note, "again")?;
    allow_reuse(note, "again", &again)?;
    let code = errno(note.step("again.bind(port)", || again.bind(&port)));
    note.saw("flag_on_both", code);
    note.expect("bound", code == 0)?;

    note.step("again.listen(1)", || again.listen(1))?;
    let other = stream(note, "other")?;
    allow_reuse(note, "other", &other)?;
    let code = errno(note.step("other.bind(port)", || other.bind(&port)));
    note.expect("not while another one listens there", code == 98)
}

/// A server that served one client, hung up first, and stopped: where it was.
fn serve_and_stop(note: &mut Notebook, reuse: bool) -> anyhow::Result<Address> {
    let server = stream(note, "server")?;
    if reuse {
        allow_reuse(note, "server", &server)?;
    }
    note.make("server.bind(('127.0.0.1', 0))", || {
        server.bind(("127.0.0.1", 0))
    })?;
    note.make("server.listen(1)", || server.listen(1))?;
    let port = note.make("port = server.getsockname()", || server.getsockname())?;
    let (client, conn) = connected(note, &server, ["client", "conn"])?;
    note.step("conn.close()", || conn.close());
    note.step("client.recv(1)", || client.recv(1))?;
    note.step("client.close()", || client.close());
    note.step("server.close()", || server.close());
    Ok(port)
}

fn allow_reuse(note: &mut Notebook, name: &str, socket: &Socket) -> Result<(), SocketError> {
    note.make(
        format!("{name}.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)"),
        || socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1),
    )
}

fn errno(bound: Result<(), SocketError>) -> i32 {
    bound.err().and_then(|raised| raised.errno()).unwrap_or(0)
}
