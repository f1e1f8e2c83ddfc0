use super::Service;
use crate::buf::ReadBuf;
use crate::turn::{Fault, Turn};

/// Any bytes, and no answer (T0; RFC 863).
#[derive(Debug)]
pub struct Discard;

impl Service for Discard {
    fn input(&mut self, _t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        Ok(())
    }
}
