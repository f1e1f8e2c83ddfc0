//! What the differential test cannot see: other threads, whole timeouts, and what is kept after them.

use std::io::{BufRead, ErrorKind, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use onepoll::socket::*;
use rustix::process::Pid;
use rustix::thread::gettid;

use crate::support::DEADLINE;
use crate::support::script::pause;

#[expect(clippy::disallowed_methods, reason = "a stopwatch")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until a thread of ours sleeps in the kernel.
fn sleeps(thread: Pid) {
    let stat = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
    let began = now();
    loop {
        let text = std::fs::read_to_string(&stat).unwrap();
        let (_, after_name) = text.rsplit_once(") ").unwrap();
        if after_name.starts_with('S') {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "it does not sleep: {text}");
        thread::yield_now();
    }
}

#[test]
fn sendall_has_one_timeout_however_often_the_peer_reads() {
    let (a, b) = socketpair().unwrap();
    a.settimeout(0.1).unwrap();
    // Each piece is read long before a timeout of its own would end.
    let reader = thread::spawn(move || {
        while b.recv(4096).is_ok_and(|data| !data.is_empty()) {
            pause(Duration::from_millis(20));
        }
    });
    let began = now();
    let raised = a.sendall(&vec![0; 20_000_000]).unwrap_err();
    assert_eq!(raised.exception(), Exception::TimeoutError);
    assert!(raised.sent() > 0);
    assert!(began.elapsed() >= Duration::from_millis(100));
    drop(a);
    reader.join().unwrap();
}

#[test]
fn several_threads_wait_on_one_socket() {
    let server = create_server(("127.0.0.1", 0)).unwrap();
    let there = server.getsockname().unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| server.accept().unwrap());
        }
        for _ in 0..3 {
            create_connection(there.to_socket_addr().unwrap()).unwrap();
        }
    });
}

#[test]
fn a_socket_closed_while_another_thread_polls_is_ebadf() {
    let (a, b) = socketpair().unwrap();
    a.settimeout(5.0).unwrap();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let a = &a;
        let waiting = scope.spawn(move || {
            tell.send(gettid()).unwrap();
            a.recv(1)
        });
        sleeps(told.recv_timeout(DEADLINE).unwrap());
        a.close();
        // Closing wakes nobody, in Python either; the byte does, and finds the socket closed.
        b.send(b"x").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().errno(), Some(9));
    });
}

#[test]
fn a_file_that_timed_out_keeps_what_it_has_read() {
    let (a, b) = socketpair().unwrap();
    b.settimeout(0.01).unwrap();
    let mut file = b.makefile("rb").unwrap();
    a.send(b"half").unwrap();
    let raised = file.read(Some(8)).unwrap_err();
    assert_eq!(raised.exception(), Exception::TimeoutError);
    assert_eq!(file.buffered(), b"half");
    let raised = file.read(Some(8)).unwrap_err();
    assert_eq!(raised.strerror(), "cannot read from timed out object");
}

#[test]
fn a_file_is_a_reader_and_a_writer_of_rust() {
    let (a, b) = socketpair().unwrap();
    a.sendall(b"one\ntwo\nlast").unwrap();
    a.shutdown(SHUT_WR).unwrap();
    let lines: Result<Vec<String>, _> = b.makefile("rb").unwrap().lines().collect();
    assert_eq!(lines.unwrap(), ["one", "two", "last"]);
    // A socket that takes nothing is no writer that takes zero bytes.
    a.setblocking(false).unwrap();
    let mut file = b.makefile("wb").unwrap();
    b.setblocking(false).unwrap();
    let full = loop {
        match Write::write(&mut file, &[b'x'; 5000]) {
            Ok(n) => assert!(n > 0),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
}

#[test]
fn fault_b17_a_closed_peer_is_an_error_and_no_signal() {
    let (a, b) = socketpair().unwrap();
    b.close();
    for _ in 0..2 {
        let raised = a.send(b"x").unwrap_err();
        assert_eq!(raised.exception(), Exception::BrokenPipeError);
        assert_eq!(raised.errno(), Some(32));
    }
}

#[test]
fn a_unix_queue_that_is_full_refuses_at_once_also_with_a_timeout() {
    // Surprising, and CPython's: only EINPROGRESS is waited for, and Unix sockets never say it.
    let server = Socket::new(AF_UNIX, SOCK_STREAM).unwrap();
    server.bind("").unwrap();
    server.listen(0).unwrap();
    let there = server.getsockname().unwrap();
    let dial = || {
        let s = Socket::new(AF_UNIX, SOCK_STREAM).unwrap();
        s.settimeout(5.0).unwrap();
        let code = s.connect_ex(&there).unwrap();
        (s, code)
    };
    let (_first, code) = dial();
    assert_eq!(code, 0);
    assert_eq!(dial().1, 11);
}

#[test]
fn a_descriptor_set_to_blocking_by_its_twin_blocks() {
    let (a, _b) = socketpair().unwrap();
    a.settimeout(0.01).unwrap();
    let twin = a.dup().unwrap();
    assert_eq!(twin.gettimeout(), Some(0.01));
    // The mode is the socket object's; whether the kernel blocks belongs to both. A timeout still
    // holds, since poll waits first.
    twin.setblocking(true).unwrap();
    assert_eq!(a.recv(1).unwrap_err().exception(), Exception::TimeoutError);
}

#[test]
fn names_that_do_not_fit_are_refused() {
    let s = Socket::new(AF_UNIX, SOCK_STREAM).unwrap();
    let raised = s.bind("x".repeat(108).as_str()).unwrap_err();
    assert_eq!(raised.to_string(), "AF_UNIX path too long");
    let raised = s.bind(("127.0.0.1", 1)).unwrap_err();
    assert_eq!(raised.exception(), Exception::TypeError);
    let s = Socket::new(AF_INET, SOCK_STREAM).unwrap();
    let raised = s.connect(("no.such.host.invalid", 1)).unwrap_err();
    assert_eq!(raised.exception(), Exception::Gaierror);
}

#[test]
fn timeouts_of_the_kernel_are_told_as_they_were_set() {
    let (a, _b) = socketpair().unwrap();
    let timeval =
        |seconds: i64, micros: i64| [seconds.to_ne_bytes(), micros.to_ne_bytes()].concat();
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
        // The kernel counts ticks, 100, 250, 300 or 1000 a second: these are whole ticks of all.
        for value in [timeval(2, 500_000), timeval(0, 0), timeval(0, 300_000)] {
            a.setsockopt(SOL_SOCKET, option, &value[..]).unwrap();
            let told = a.getsockopt_bytes(SOL_SOCKET, option, 16).unwrap();
            assert_eq!(told, value);
        }
        let raised = a.setsockopt(SOL_SOCKET, option, &timeval(0, 1_000_000)[..]);
        assert_eq!(raised.unwrap_err().errno(), Some(33));
    }
}

#[test]
fn a_number_is_adopted_only_if_it_is_an_open_socket() {
    // Zero is a number as others are; ours may be anything, and stays open.
    match Socket::from_fileno(0) {
        Ok(socket) => std::mem::forget(socket),
        Err(raised) => assert_ne!(raised.exception(), Exception::ValueError),
    }
    let raised = Socket::from_fileno(999_999).unwrap_err();
    assert_eq!(raised.errno(), Some(9)); // EBADF
    let file = tempfile::tempfile().unwrap();
    let number = std::os::fd::IntoRawFd::into_raw_fd(file);
    let raised = Socket::from_fileno(number).unwrap_err();
    assert_eq!(raised.errno(), Some(88)); // ENOTSOCK
    assert!(std::fs::exists(format!("/proc/self/fd/{number}")).unwrap()); // and left open
}
