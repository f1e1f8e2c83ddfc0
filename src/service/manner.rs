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
}

impl Manner {
    /// That of a service which answers what it is asked.
    pub const ANSWERS: Manner = Manner {
        backlog: Backlog::Pause,
        reads_after_reset: false,
        tells_time: false,
    };
}

/// What is done about a connection that is owed too much: whose fault it is decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// Its own: it asks faster than it reads, so it is no longer read.
    Pause,
    /// That of others, who speak faster than it reads: it is disconnected.
    Disconnect,
}
