use super::{NoOptions, OverStreams, Row, Service};
use crate::buf::ReadBuf;
use crate::config::Transport;
use crate::turn::{Fault, Turn};

/// Its row in the table.
pub(super) const ROW: Row = Row {
    name: "discard",
    summary: "nothing back (RFC 863)",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |_: &NoOptions, _| Box::new(Discard),
    }),
    datagrams: None,
};

/// Any bytes, and no answer (T0; RFC 863).
#[derive(Debug)]
pub struct Discard;

impl Service for Discard {
    fn input(&mut self, _t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        Ok(())
    }
}
