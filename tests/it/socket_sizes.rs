//! A size that a caller names is what may come, not what it costs.

use std::fs;

use onepoll::socket::*;

const HUGE: usize = 1 << 31;
/// More than a piece, less than the buffers of a pair of sockets.
const LARGE: usize = 150_000;

/// Pages that this thread has touched for the first time.
fn page_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The second field is a name in brackets, which may hold blanks; minflt is the tenth.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(7).unwrap().parse().unwrap()
}

/// What `call` returns, which must not touch memory that nothing came into.
fn cheap<T>(call: impl FnOnce() -> T) -> T {
    let before = page_faults();
    let result = call();
    let touched = page_faults() - before;
    assert!(touched < 200, "{touched} pages were touched");
    result
}

fn tcp_pair() -> (Socket, Socket) {
    let server = create_server(("127.0.0.1", 0)).unwrap();
    let there = server.getsockname().unwrap();
    let client = create_connection(there.to_socket_addr().unwrap()).unwrap();
    (client, server.accept().unwrap().0)
}

fn datagrams(family: Family) -> (Socket, Socket) {
    let (a, b) = (
        Socket::new(family, SOCK_DGRAM).unwrap(),
        Socket::new(family, SOCK_DGRAM).unwrap(),
    );
    if family == AF_UNIX {
        // An empty name asks the kernel for one.
        b.bind("").unwrap();
    } else {
        b.bind(("127.0.0.1", 0)).unwrap();
    }
    a.connect(b.getsockname().unwrap()).unwrap();
    (a, b)
}

#[test]
fn every_receiving_call_costs_what_came() {
    let pairs = [
        tcp_pair(),
        socketpair().unwrap(),
        datagrams(AF_INET),
        datagrams(AF_UNIX),
    ];
    for (from, to) in pairs {
        for _ in 0..2 {
            from.send(b"x").unwrap();
        }
        let peeked = cheap(|| to.recv_with(HUGE, MSG_PEEK)).unwrap();
        assert_eq!(peeked[..1], *b"x");
        let one = cheap(|| to.recv(HUGE)).unwrap();
        assert!(one.capacity() <= 4096, "{}", one.capacity());
        if one.len() == 1 {
            let (two, _) = cheap(|| to.recvfrom(HUGE)).unwrap();
            assert_eq!(two, b"x");
            assert!(two.capacity() <= 4096, "{}", two.capacity());
        } else {
            assert_eq!(one, b"xx");
        }
    }
}

#[test]
fn a_stream_gives_all_that_has_come_in_one_call_however_much_it_is() {
    let sent: Vec<u8> = (0..LARGE).map(|n| (n % 251) as u8).collect();
    let (from, to) = socketpair().unwrap();
    for size in [LARGE, LARGE + 1, HUGE, usize::MAX] {
        from.sendall(&sent).unwrap();
        assert!(to.recv_with(size, MSG_PEEK).unwrap() == sent, "{size}");
        assert!(to.recv(size).unwrap() == sent, "{size}");
        from.sendall(&sent).unwrap();
        assert!(to.recvfrom(size).unwrap().0 == sent, "{size}");
    }
    // Not a byte more than was asked for.
    from.sendall(&sent).unwrap();
    let some = to.recv(LARGE - 1).unwrap();
    assert!(some == sent[..LARGE - 1]);
    assert_eq!(to.recv(HUGE).unwrap(), sent[LARGE - 1..]);
}

#[test]
fn msg_waitall_waits_for_all_of_a_large_size_and_ends_with_the_stream() {
    let (from, to) = socketpair().unwrap();
    let sender = std::thread::spawn(move || {
        for _ in 0..10 {
            from.sendall(&vec![7; LARGE]).unwrap();
        }
    });
    assert_eq!(
        to.recv_with(9 * LARGE, MSG_WAITALL).unwrap().len(),
        9 * LARGE
    );
    assert_eq!(
        cheap(|| to.recv_with(HUGE, MSG_WAITALL)).unwrap().len(),
        LARGE
    );
    sender.join().unwrap();
}

#[test]
fn a_file_reads_what_came_and_not_what_might() {
    let (from, to) = tcp_pair();
    let mut file = to.makefile("rb").unwrap();
    from.send(b"line\nrest").unwrap();
    assert_eq!(cheap(|| file.readline_within(HUGE)).unwrap(), b"line\n");
    drop(from);
    assert_eq!(cheap(|| file.read(Some(HUGE))).unwrap().unwrap(), b"rest");

    let (from, to) = tcp_pair();
    for buffering in [0, HUGE] {
        let mut file = to.makefile_with("rb", buffering).unwrap();
        from.send(b"ab").unwrap();
        assert_eq!(cheap(|| file.read1(Some(2))).unwrap().unwrap(), b"ab");
        assert!(file.buffered().is_empty());
    }
}

#[test]
fn a_datagram_larger_than_a_piece_is_whole() {
    let (from, to) = datagrams(AF_UNIX);
    let sent = vec![3; 100_000];
    from.send(&sent).unwrap();
    assert!(to.recv(HUGE).unwrap() == sent);
    from.send(&sent).unwrap();
    assert_eq!(to.recv(10).unwrap().len(), 10);
    from.send(b"next").unwrap();
    assert_eq!(to.recv(HUGE).unwrap(), b"next");
}
