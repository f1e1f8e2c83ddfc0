use super::{DatagramTurn, Datagrams, Service};
use crate::buf::ReadBuf;
use crate::turn::{Fault, Turn};

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
