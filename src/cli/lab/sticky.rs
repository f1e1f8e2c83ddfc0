//! Sticky packets.

use super::apparatus::{arrived, tcp_pair};
use super::notebook::{Done, Experiment, Notebook};
use crate::wire::{Encode, Framed};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "sticky",
    title: "three sends come out of one recv, and one send of two",
    run,
    python: include_str!("python/sticky.py"),
    why: "TCP carries a stream of bytes and keeps no record of where one send ended. recv returns what \
          has come by now, at most as much as was asked for: the reader was late, so three sends were \
          one. What belongs together only the bytes themselves can say, with a length or a newline.",
    next: "`onepoll lab nagle` shows what the sender's side adds. `onepoll serve \
           'greeting://127.0.0.1:8898?greeting=sbzz&greeting=sbzz'` does it to you; with \
           `&framing=i32` it does not. `onepoll lab udp-truncation`: where nothing sticks.",
    ours: &[(
        "src/wire/prefixed.rs",
        "let Some(payload) = unread[header..].get(..len) else {",
    )],
};

fn run(note: &mut Notebook) -> Done {
    let (a, b) = tcp_pair(note, ["a", "b"])?;

    note.wrong("one recv for one send");
    for _ in 0..3 {
        note.step("a.send(b'sbzz')", || a.send(b"sbzz"))?;
    }
    arrived(&b, 12)?;
    let got = note.step("b.recv(1024)", || b.recv(1024))?;
    note.expect("three sends came out of one recv", got == b"sbzzsbzzsbzz")?;

    note.step("a.send(b'hello')", || a.send(b"hello"))?;
    note.step("a.send(b'egg')", || a.send(b"egg"))?;
    arrived(&b, 8)?;
    let first = note.step("b.recv(10)", || b.recv(10))?;
    note.step("b.setblocking(False)", || b.setblocking(false))?;
    let second = note.step("b.recv(10)", || b.recv(10));
    note.expect(
        "nothing is left for the second",
        first == b"helloegg" && second.is_err(),
    )?;

    note.step("a.send(b'hello egg')", || a.send(b"hello egg"))?;
    arrived(&b, 9)?;
    let first = note.step("b.recv(2)", || b.recv(2))?;
    let second = note.step("b.recv(10)", || b.recv(10))?;
    note.expect(
        "one send came out of two recvs",
        first == b"he" && second == b"llo egg",
    )?;

    note.right("a length before each message: struct.pack('i', len(m)) + m");
    note.make("b.setblocking(True)", || b.setblocking(true))?;
    let said: [&[u8]; 4] = [b"sbzz", b"hello", b"egg", b"hello egg"];
    for message in said {
        let mut framed = Vec::new();
        Framed::new(message)?.encode(&mut framed);
        let python = format!("a.sendall(b'{}')", framed.escape_ascii());
        note.step(python, || a.sendall(&framed))?;
    }
    let mut f = note.make("f = b.makefile('rb')", || b.makefile("rb"))?;
    let mut heard = Vec::new();
    for _ in said {
        let length = f.read(Some(4))?.unwrap_or_default();
        let length = length
            .first_chunk()
            .map_or(0, |four| u32::from_le_bytes(*four));
        let python = "f.read(*struct.unpack('i', f.read(4)))";
        let message = note.step(python, || f.read(Some(length as usize)))?;
        heard.push(message.unwrap_or_default());
    }
    note.saw("whole_messages", heard.len());
    note.expect("every message came out whole", heard == said)
}
