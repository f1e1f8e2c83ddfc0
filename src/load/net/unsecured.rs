//! Without the feature `tls` there are no sessions: what stands in for them cannot be made.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::load::measure::failures::Failure;
use crate::load::plan::Plan;

/// No ciphertext is read.
pub(crate) const CIPHER_BYTES: usize = 0;

#[derive(Debug)]
pub(crate) struct Sessions(Infallible);

impl Sessions {
    pub(crate) fn of(_plan: &Plan, _says_bye: bool) -> io::Result<Option<Sessions>> {
        Ok(None)
    }

    pub(crate) fn begin(&self) -> Result<Session, Failure> {
        match self.0 {}
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) n: usize,
    pub(crate) may_have_more: bool,
}

#[derive(Debug)]
pub(crate) struct Session(Infallible);

impl Session {
    pub(crate) fn shake_hands(&mut self, _: &OwnedFd, _: &mut [u8]) -> Result<bool, Failure> {
        match self.0 {}
    }

    pub(crate) fn read(
        &mut self,
        _: &OwnedFd,
        _: &mut [u8],
        _: &mut [u8],
    ) -> Result<Option<Opened>, Failure> {
        match self.0 {}
    }

    pub(crate) fn write(&mut self, _: &OwnedFd, _: &[u8]) -> Result<Option<usize>, Failure> {
        match self.0 {}
    }

    pub(crate) fn flush(&mut self, _: &OwnedFd) -> Result<bool, Errno> {
        match self.0 {}
    }

    pub(crate) fn bye(&mut self, _: &OwnedFd) {
        match self.0 {}
    }

    pub(crate) fn binding(&self) -> Option<[u8; 32]> {
        match self.0 {}
    }

    pub(crate) fn why(&self) -> Option<&str> {
        match self.0 {}
    }

    pub(crate) fn agreed(&self) -> Option<String> {
        match self.0 {}
    }
}
