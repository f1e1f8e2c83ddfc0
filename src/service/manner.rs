/// What the loop has to know of a service besides its code. It asks once, when a listener opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// What happens to a connection that is owed more and more.
    pub backlog: Backlog,
    /// Whether what a client sent just before it reset the connection still counts. Reading it
    /// costs a system call that most services need not pay, since nobody is left to answer.
    pub reads_after_reset: bool,
    /// Whether it calls [`Turn::wall`](crate::turn::Turn::wall), for which the loop then looks at the
    /// wall clock once a turn.
    pub tells_time: bool,
    /// Whether what its clients and it say to each other is for nobody else: a trace counts such bytes, and
    /// shows none of them. A service that asks its clients for a proof of who they are says so as well, since
    /// nothing may be shown of a client that has not given it.
    pub is_private: bool,
    /// Whether a connection has to log in, with [`Turn::admit`](crate::turn::Turn::admit), before it is
    /// served. Those that have not are counted, and have a deadline from when they were accepted.
    pub is_gated: bool,
    /// Whether its connections share something that a new value would not have, such as a room: then the value
    /// stays while the options of the service do, whatever else changes while the server runs.
    pub is_shared: bool,
}

impl Manner {
    /// That of a service which answers what it is asked.
    pub const ANSWERS: Manner = Manner {
        backlog: Backlog::Pause,
        reads_after_reset: false,
        tells_time: false,
        is_private: false,
        is_gated: false,
        is_shared: false,
    };
}

/// What is done about a connection that is owed too much: whose fault it is decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// Its own: it asks faster than it reads, so it is no longer read.
    Pause,
    /// That of others, who speak faster than it reads: it is disconnected.
    Disconnect,
    /// That of others, too, and it is not disconnected: the oldest whole lines are dropped, and it is told how many.
    DropOldest,
}
