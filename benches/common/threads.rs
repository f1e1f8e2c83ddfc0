//! A thread per connection, with the standard library only: what is written first.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use super::addresses::Addresses;

/// A thread needs no more; the default of 2 MiB is only reserved, but 1,000 of them add up.
const STACK_BYTES: usize = 128 * 1024;

/// Serves until the process ends.
pub(crate) fn run(tell: impl FnOnce(Addresses)) -> io::Result<()> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let listener = TcpListener::bind(any)?;
    let datagrams = UdpSocket::bind(any)?;
    tell(Addresses::tcp(listener.local_addr()?).and_udp(datagrams.local_addr()?));
    thread::spawn(move || {
        let mut buf = vec![0; 64 * 1024];
        loop {
            if let Ok((n, from)) = datagrams.recv_from(&mut buf) {
                let _ = datagrams.send_to(&buf[..n], from);
            }
        }
    });
    for stream in listener.incoming() {
        let stream = stream?;
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn(move || serve(stream))?;
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buf)? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n])?,
        }
    }
}
