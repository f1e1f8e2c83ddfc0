//! How a launcher is told what to do, and how it says that it could not.
//!
//! Both go through one file without a name (memfd_create(2)), which the launcher has as descriptor 3 and closes by
//! becoming the command. It takes an order of any length without anybody waiting, and what stands in it at the end is
//! the launcher's word: no command ever has it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, pread, pwrite};

use crate::turn::{ERRNO, Order, REFUSAL};

/// Where a launcher finds its order.
pub(super) const ORDER_DESCRIPTOR: i32 = 3;

/// What is read of a reason.
const REASON_BYTES_MAX: usize = 4096;

/// An order, for a launcher to read.
pub(super) fn written(order: &Order) -> io::Result<OwnedFd> {
    file_of(&serde_json::to_vec(order)?)
}

/// A file without a name, to be read from its beginning.
pub(super) fn file_of(text: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("onepoll-order", MemfdFlags::CLOEXEC)?;
    let mut at = 0;
    while at < text.len() {
        match pwrite(&file, &text[at..], at as u64) {
            Ok(n) => at += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(file)
}

/// Why the launcher that had this order did not become the command; nothing, if it did.
pub(super) fn refusal(order: &OwnedFd) -> Option<io::Error> {
    let mut text = [0; REASON_BYTES_MAX];
    let n = pread(order, &mut text, 0).ok()?;
    let (first, reason) = text[..n].split_first()?;
    let reason = String::from_utf8_lossy(reason);
    let errno = reason
        .strip_prefix(ERRNO)
        .and_then(|errno| errno.parse().ok());
    let error = match errno {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(reason.into_owned()),
    };
    (*first == REFUSAL).then_some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_no_refusal_and_a_refusal_is_read() {
        let order = Order {
            server: 1,
            mark: "1-2-3-4".into(),
            program: b"/bin/sh".to_vec(),
            arguments: vec![vec![b'x'; 1 << 20]],
            environment: Vec::new(),
            directory: None,
            confinement: crate::config::Confinement::default(),
        };
        let file = written(&order).unwrap();
        assert!(refusal(&file).is_none());
        let mut text = vec![0; 8 << 20];
        let n = pread(&file, &mut text, 0).unwrap();
        assert_eq!(serde_json::from_slice::<Order>(&text[..n]).unwrap(), order);
        rustix::fs::ftruncate(&file, 0).unwrap();
        assert!(refusal(&file).is_none());
        pwrite(&file, b"!no such user", 0).unwrap();
        assert_eq!(refusal(&file).unwrap().to_string(), "no such user");
        rustix::fs::ftruncate(&file, 0).unwrap();
        pwrite(&file, b"!=2", 0).unwrap();
        assert_eq!(refusal(&file).unwrap().raw_os_error(), Some(2));
    }
}
