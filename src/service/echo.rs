use super::{DatagramTurn, Datagrams, NoOptions, OverDatagrams, OverStreams, Row, Service};
use crate::buf::ReadBuf;
use crate::config::Transport;
use crate::turn::{Fault, Turn};

/// Its row in the table.
pub(super) const ROW: Row = Row {
    name: "echo",
    summary: "the same bytes back (RFC 862)",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |_: &NoOptions, _| Box::new(Echo),
    }),
    datagrams: Some(&OverDatagrams {
        build: |_: &NoOptions, _| Box::new(Echo),
    }),
};

/// The same bytes, in order (T1, U1; RFC 862).
#[derive(Debug)]
pub struct Echo;

impl Service for Echo {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        t.reply_all(input);
        Ok(())
    }
}

impl Datagrams for Echo {
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, bytes: &[u8]) {
        t.answer(bytes);
    }
}
