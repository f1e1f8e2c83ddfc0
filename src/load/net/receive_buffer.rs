//! The kernel's buffer of datagrams that came and were not read yet: how large it is, and what found no room in it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;

use rustix::fs::fstat;
use rustix::io::Result;
use rustix::net::sockopt::{set_socket_recv_buffer_size, socket_recv_buffer_size};

/// How large such a buffer is, in bytes as the kernel counts them: with what it needs itself to keep a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BufferSize {
    /// So many were wanted.
    pub(crate) wanted: u64,
    /// So many there are; fewer where `net.core.rmem_max` does not let us have more (socket(7)).
    pub(crate) given: u64,
}

/// Makes room for so many datagrams of so many bytes each, but never less than there was.
pub(crate) fn make_room(socket: impl AsFd, datagrams: usize, bytes: usize) -> Result<BufferSize> {
    let socket = socket.as_fd();
    let wanted = datagrams.saturating_mul(charged(bytes));
    if wanted > socket_recv_buffer_size(socket)? {
        // The kernel doubles what it is told, for what it needs itself; a number has 31 bits.
        set_socket_recv_buffer_size(socket, (wanted / 2).min(i32::MAX as usize / 2))?;
    }
    Ok(BufferSize {
        wanted: wanted as u64,
        given: socket_recv_buffer_size(socket)? as u64,
    })
}

/// What the kernel counts a datagram of so many bytes as, at the most: they and their headers lie in a block of a power of two,
/// and beside it is a record of them.
fn charged(bytes: usize) -> usize {
    2 * (bytes + 512)
}

/// How many datagrams the kernel has dropped since there was no room for them in the buffer of this UDP socket; none where it
/// does not tell.
///
/// `SO_RXQ_OVFL` tells the same number, but only beside a datagram that comes later: of those behind the last one
/// that was read, nothing would be known. Reading the table takes time in which nothing is sent or received.
pub(crate) fn dropped(socket: impl AsFd) -> Option<u64> {
    let inode = fstat(socket).ok()?.st_ino.to_string();
    let tables = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];
    let opened = tables.iter().filter_map(|table| fs::File::open(table).ok());
    let lines = opened.flat_map(|table| BufReader::new(table).lines().map_while(|line| line.ok()));
    lines.skip(1).find_map(|line| dropped_by(&inode, &line))
}

/// The drops of the socket with this inode, if a line of the table is about it.
fn dropped_by(inode: &str, line: &str) -> Option<u64> {
    // sl local remote st queues timer retrnsmt uid timeout inode ref pointer drops
    let mut columns = line.split_ascii_whitespace().skip(9);
    (columns.next()? == inode).then(|| columns.nth(2)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_for_its_own_socket_and_the_rest_is_there() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let full = UdpSocket::bind(address).unwrap();
            let beside = UdpSocket::bind(address).unwrap();
            set_socket_recv_buffer_size(&full, 1).unwrap();
            full.set_nonblocking(true).unwrap();
            assert_eq!(dropped(&full), Some(0));
            for _ in 0..100 {
                beside
                    .send_to(&[7; 1_000], full.local_addr().unwrap())
                    .unwrap();
            }
            let mut datagram = [0; 1_001];
            let read = std::iter::from_fn(|| full.recv(&mut datagram).ok()).count() as u64;
            assert!(read < 100, "{read}");
            assert_eq!(dropped(&full), Some(100 - read));
            assert_eq!(dropped(&beside), Some(0));
        }
    }

    #[test]
    fn there_is_room_for_what_was_wanted_and_never_less_than_before() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let usual = socket_recv_buffer_size(&socket).unwrap() as u64;
        let size = make_room(&socket, 1, 64).unwrap();
        assert_eq!((size.wanted, size.given), (1_152, usual));
        // As much as the kernel lets anybody have without being asked.
        for bytes in [1, 64, 512, 1_400, 9_000] {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let count = usual as usize / charged(bytes);
            let size = make_room(&socket, count, bytes).unwrap();
            assert!(size.given >= size.wanted, "{size:?}");
            let beside = UdpSocket::bind("127.0.0.1:0").unwrap();
            for _ in 0..count {
                beside
                    .send_to(&vec![7; bytes], socket.local_addr().unwrap())
                    .unwrap();
            }
            assert_eq!(dropped(&socket), Some(0), "{bytes}");
        }
        let size = make_room(&socket, 1 << 20, 65_507).unwrap();
        assert!(size.given >= usual && size.given < size.wanted, "{size:?}");
    }

    #[test]
    fn a_line_of_another_socket_or_of_another_shape_says_nothing() {
        let line = " 41: 0100007F:2328 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 12";
        assert_eq!(dropped_by("4711", line), Some(12));
        assert_eq!(dropped_by("471", line), None);
        assert_eq!(dropped_by("4711", &line[..line.len() - 3]), None);
        assert_eq!(dropped_by("4711", ""), None);
    }
}
