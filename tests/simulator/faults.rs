use crate::random::Random;

/// How often each fault happens, in 256ths. Each seed chooses which faults there are and how many
/// ("swarm"): with all of them at once, most states are never reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// A read returns less than there is; the rest comes later, with an edge of its own.
    pub(crate) read_short: u8,
    /// A read finds nothing yet; an edge follows.
    pub(crate) read_again: u8,
    /// A signal interrupts a read.
    pub(crate) read_interrupted: u8,
    /// The socket takes less than there is room for; an edge follows.
    pub(crate) write_short: u8,
    /// The socket takes nothing; an edge follows.
    pub(crate) write_again: u8,
    /// A signal interrupts a write.
    pub(crate) write_interrupted: u8,
    /// `accept` fails for one connection, or with a signal.
    pub(crate) accept_one: u8,
    /// `accept` fails for lack of something.
    pub(crate) accept_lack: u8,
    /// Descriptors run out for a while.
    pub(crate) no_descriptors: u8,
    /// A socket cannot be watched.
    pub(crate) watch: u8,
    /// An event about nothing.
    pub(crate) spurious: u8,
    /// An event of a socket that was closed, but that another process still holds.
    pub(crate) ghost: u8,
    /// Events come in another order.
    pub(crate) shuffle: u8,
    /// Not all events come at once.
    pub(crate) few: u8,
    /// The poll wakes for nothing.
    pub(crate) early: u8,
    /// The poll oversleeps.
    pub(crate) late: u8,
    /// A datagram cannot be sent.
    pub(crate) send: u8,
    /// A datagram cannot be received.
    pub(crate) receive: u8,
    /// A command cannot be started.
    pub(crate) spawn: u8,
    /// A child that works on files does not come to its end; set by the seeds that have such.
    pub(crate) errand: u8,
    /// A client does something while the loop works.
    pub(crate) meanwhile: u8,
    /// A client connects to a Unix socket.
    pub(crate) local: u8,
}

impl Faults {
    pub(crate) fn swarm(random: &mut Random) -> Faults {
        let mut faults = Faults::default();
        let all = [
            &mut faults.read_short,
            &mut faults.read_again,
            &mut faults.read_interrupted,
            &mut faults.write_short,
            &mut faults.write_again,
            &mut faults.write_interrupted,
            &mut faults.accept_one,
            &mut faults.accept_lack,
            &mut faults.no_descriptors,
            &mut faults.watch,
            &mut faults.spurious,
            &mut faults.ghost,
            &mut faults.shuffle,
            &mut faults.few,
            &mut faults.early,
            &mut faults.late,
            &mut faults.send,
            &mut faults.receive,
            &mut faults.spawn,
            &mut faults.meanwhile,
        ];
        for rate in all {
            if random.once_in(2) {
                *rate = random.pick(&[2, 8, 32, 128]);
            }
        }
        // These end what they meet, so they stay rare.
        faults.watch = faults.watch.min(8);
        faults.accept_one = faults.accept_one.min(32);
        faults
    }
}
