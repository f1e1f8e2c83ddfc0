use std::net::SocketAddr;

/// Where a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Over TCP.
    pub(crate) stream: SocketAddr,
    /// Over UDP, where it serves that.
    pub(crate) datagram: Option<SocketAddr>,
    /// A chat, where it serves one beside.
    pub(crate) room: Option<SocketAddr>,
}

impl Addresses {
    /// Over TCP alone.
    pub(crate) fn tcp(stream: SocketAddr) -> Addresses {
        Addresses {
            stream,
            datagram: None,
            room: None,
        }
    }

    /// Over UDP, too.
    pub(crate) fn and_udp(self, datagram: SocketAddr) -> Addresses {
        Addresses {
            datagram: Some(datagram),
            ..self
        }
    }

    /// With a chat beside.
    pub(crate) fn and_room(self, room: SocketAddr) -> Addresses {
        Addresses {
            room: Some(room),
            ..self
        }
    }

    /// As a child says it: three words, `-` for what it does not serve.
    pub(crate) fn line(self) -> String {
        let word = |at: Option<SocketAddr>| at.map_or("-".into(), |at| at.to_string());
        format!(
            "{} {} {}",
            self.stream,
            word(self.datagram),
            word(self.room)
        )
    }

    /// What [`line`](Addresses::line) says.
    pub(crate) fn read(line: &str) -> Option<Addresses> {
        let mut words = line.split(' ').map(|word| word.parse().ok());
        Some(Addresses {
            stream: words.next()??,
            datagram: words.next()?,
            room: words.next()?,
        })
    }
}
