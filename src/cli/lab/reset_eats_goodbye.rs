//! How a closing server destroys its own last words.

use super::apparatus::{hear_out, narrow_pair, tcp_pair, was_reset};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::SHUT_WR;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "reset-eats-goodbye",
    title: "closing with unread input resets the connection, and with it what was just said",
    run,
    python: include_str!("python/reset_eats_goodbye.py"),
    why: "close with unread input sends a reset instead of an end: the peer shall know that it was not \
          heard. A reset does not wait its turn. What still lies in the sender's queue is thrown away; \
          what the receiver's kernel already holds Linux does hand out, but a client that is still \
          sending gets the error first and stops. So: say it, shutdown(SHUT_WR), read and throw away \
          what still comes, up to a limit, and close when the peer has ended too.",
    next: "Take the shutdown and the reading away and run it again: it is in \
           src/cli/lab/reset_eats_goodbye.rs. Watch the R in `tcpdump -i lo tcp`.",
    ours: &[
        (
            "src/reactor/ending.rs",
            "if conn.incoming.has_ended() || !linger && !conn.incoming.may_have_more() {",
        ),
        (
            "src/reactor/ending.rs",
            "conn.stage = Stage::Lingering { why, discarded: 0 };",
        ),
    ],
};

static GOODBYE: [u8; 30_000] = [b'!'; 30_000];

fn run(note: &mut Notebook) -> Done {
    note.wrong("say goodbye and close, with input unread");
    let (client, conn) = tcp_pair(note, ["client", "conn"])?;
    note.step("client.send(b'a long request')", || {
        client.send(b"a long request")
    })?;
    note.step("conn.recv(6)", || conn.recv(6))?;
    note.step("conn.send(b'* too long')", || conn.send(b"* too long"))?;
    note.step("conn.close()", || conn.close());
    was_reset(&client)?;
    let more = note.step("client.send(b'and more')", || client.send(b"and more"));
    let reset = more.is_err_and(|raised| raised.errno() == Some(104));
    note.expect(
        "a client that is still asking gets an error, not the reason",
        reset,
    )?;

    // The accepting end plays the client: to TCP both ends are alike.
    let (conn, client) = narrow_pair(note, ["conn", "client"], 131_072, 4096)?;
    note.step("client.send(b'a long request')", || {
        client.send(b"a long request")
    })?;
    note.step("conn.recv(6)", || conn.recv(6))?;
    let said = note.step("conn.send(b'!' * 30000)", || conn.send(&GOODBYE))?;
    note.step("conn.close()", || conn.close());
    let (heard, end) = hear_out(&client);
    note.step("while some := client.recv(65536): ...", || heard);
    note.saw("heard_of_30000_after_a_reset", heard);
    let reset = end.is_some_and(|raised| raised.errno() == Some(104));
    let destroyed = said == GOODBYE.len() && heard < said;
    note.expect(
        "what was still on its way is destroyed: ConnectionResetError",
        destroyed && reset,
    )?;

    note.right("say it, end our side, discard what still comes, close when the peer has ended");
    let (conn, client) = narrow_pair(note, ["conn", "client"], 131_072, 4096)?;
    note.step("client.send(b'a long request')", || {
        client.send(b"a long request")
    })?;
    note.step("conn.recv(6)", || conn.recv(6))?;
    note.step("conn.send(b'!' * 30000)", || conn.send(&GOODBYE))?;
    note.step("conn.shutdown(SHUT_WR)", || conn.shutdown(SHUT_WR))?;
    note.step("conn.recv(65536)", || conn.recv(65536))?;
    let (heard, end) = hear_out(&client);
    note.step("while some := client.recv(65536): ...", || heard);
    note.saw("heard_of_30000_after_an_end", heard);
    note.step("client.close()", || client.close());
    let last = note.step("conn.recv(65536)", || conn.recv(65536))?;
    let all = heard == GOODBYE.len() && end.is_none() && last.is_empty();
    note.expect("every byte was heard, and then our end", all)
}
