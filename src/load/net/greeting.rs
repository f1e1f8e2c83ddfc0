//! What a server sends before it is asked: where any bytes are an answer, a greeting would be taken for one.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::load::plan::Plan;
use crate::load::plan::expect::Expect;
use crate::load::plan::mode::ModeName;
use crate::load::plan::target::TargetAddress;

/// As long as it may take to greet: a server that speaks first does so at once.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);
/// So much of it is worth showing.
const SHOWN_BYTES: usize = 64;

/// Whether any bytes are an answer, and a greeting would be taken for one that is right.
pub(crate) fn takes_any(plan: &Plan) -> bool {
    matches!(
        plan.expect,
        Expect::Until(_) | Expect::Bytes(_) | Expect::Eof
    )
}

/// Listens on one connection for so long, and asks nothing: the first bytes, if any come. None of a plan that awaits them, or
/// that proves itself first, with a secret or through TLS.
pub(crate) fn greeting(plan: &Plan, target: &TargetAddress, silence: Duration) -> Option<Vec<u8>> {
    let asks = matches!(
        plan.mode.name(),
        ModeName::Conn | ModeName::Echo | ModeName::Exec
    );
    if plan.await_greeting.is_some() || !asks || plan.hmac_key.is_some() || plan.is_secured() {
        return None;
    }
    let mut first = vec![0; SHOWN_BYTES];
    let read = match target {
        TargetAddress::Tcp(address) => {
            let mut stream = TcpStream::connect_timeout(address, plan.timeout).ok()?;
            stream.set_read_timeout(Some(silence)).ok()?;
            stream.read(&mut first)
        }
        TargetAddress::Unix(path) => {
            let mut stream = UnixStream::connect(path).ok()?;
            stream.set_read_timeout(Some(silence)).ok()?;
            stream.read(&mut first)
        }
        TargetAddress::Udp(_) => return None,
    };
    first.truncate(read.ok()?);
    (!first.is_empty()).then_some(first)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::load::plan::mode::Mode;
    use crate::load::plan::target::Endpoint;

    #[test]
    fn what_comes_unasked_is_heard_where_it_could_be_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for line in ["220 hello\r\n", "", "220 hello\r\n"] {
                let (mut peer, _) = listener.accept().unwrap();
                peer.write_all(line.as_bytes()).unwrap();
            }
        });
        let endpoint: Endpoint = address.to_string().parse().unwrap();
        let mut plan = Plan::new(endpoint, Mode::Echo { depth: 1 });
        let target = TargetAddress::Tcp(address);
        // What comes, comes sooner; what does not is an end.
        let patient = Duration::from_secs(60);
        // What is awaited, nobody has to be told of.
        plan.await_greeting = Some(Expect::Bytes(1));
        assert_eq!(greeting(&plan, &target, patient), None);
        plan.await_greeting = None;
        assert!(!takes_any(&plan));
        plan.expect = Expect::Until(b"\n".to_vec());
        assert_eq!(
            greeting(&plan, &target, patient),
            Some(b"220 hello\r\n".to_vec())
        );
        assert_eq!(greeting(&plan, &target, patient), None);
        plan.mode = Mode::Hold;
        assert_eq!(greeting(&plan, &target, patient), None);
        assert!(takes_any(&plan));
        (plan.mode, plan.expect) = (Mode::Echo { depth: 1 }, Expect::Bytes(3));
        assert_eq!(
            greeting(&plan, &target, patient),
            Some(b"220 hello\r\n".to_vec())
        );
        server.join().unwrap();
    }
}
