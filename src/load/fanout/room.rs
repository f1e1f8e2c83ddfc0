//! Who is in the room or on the way there: a seat for each member, and the last one for the speaker.

use super::line_matcher::Ear;
use crate::load::dial::Stream;
use crate::load::handshake::Handshake;

/// Where a connection may be; who has gone is not replaced.
///
/// ```text
/// Vacant -> Dialling -> Taken -> Gone
///       `---------`-------------^
/// ```
#[derive(Debug)]
pub(super) enum Seat {
    /// To be dialled.
    Vacant,
    /// Not known to be connected, or not yet known to a server that asks who is there.
    Dialling {
        stream: Stream,
        since: u64,
        proving: Option<Handshake>,
    },
    /// Connected.
    Taken(Guest),
    /// It failed.
    Gone,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) stream: Stream,
    /// Whether it had its helping, and is read again before anything else happens.
    pub(super) is_unread: bool,
    /// How many bytes of the hello were sent.
    pub(super) greeted: usize,
    /// Of the speaker nothing is heard: whether a server lets it hear itself is its own affair.
    pub(super) ear: Ear,
}

/// All seats, and the sums over them.
#[derive(Debug)]
pub(super) struct Room {
    seats: Box<[Seat]>,
    /// Those from here on are vacant: they are dialled one after the other, the speaker last.
    vacant: usize,
    pub(super) dialling: usize,
    /// Members that are connected.
    pub(super) members: usize,
}

impl Room {
    /// For so many members and a speaker.
    pub(super) fn new(members: usize) -> Self {
        Self {
            seats: (0..=members).map(|_| Seat::Vacant).collect(),
            vacant: 0,
            dialling: 0,
            members: 0,
        }
    }

    /// The seat of the speaker.
    pub(super) fn speaker(&self) -> usize {
        self.seats.len() - 1
    }

    /// The seats of the members.
    pub(super) fn listeners(&self) -> usize {
        self.seats.len() - 1
    }

    /// All seats.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// The next seat to dial for.
    pub(super) fn vacant(&self) -> Option<usize> {
        (self.vacant < self.seats.len()).then_some(self.vacant)
    }

    pub(super) fn seat(&self, index: usize) -> &Seat {
        &self.seats[index]
    }

    pub(super) fn seat_mut(&mut self, index: usize) -> &mut Seat {
        &mut self.seats[index]
    }

    #[inline]
    pub(super) fn guest(&mut self, index: usize) -> Option<&mut Guest> {
        match self.seats.get_mut(index) {
            Some(Seat::Taken(guest)) => Some(guest),
            _ => None,
        }
    }

    /// Whether there is somebody to speak.
    pub(super) fn has_speaker(&self) -> bool {
        matches!(self.seats[self.speaker()], Seat::Taken(_))
    }

    /// The vacant seat's connection is on the way.
    pub(super) fn dial(&mut self, stream: Stream, since: u64) {
        self.seats[self.vacant] = Seat::Dialling {
            stream,
            since,
            proving: None,
        };
        self.vacant += 1;
        self.dialling += 1;
    }

    /// One on the way has arrived, before line `due` is said.
    pub(super) fn arrive(&mut self, index: usize, due: u64) {
        let Seat::Dialling { stream, .. } = std::mem::replace(&mut self.seats[index], Seat::Gone)
        else {
            return;
        };
        self.seats[index] = Seat::Taken(Guest {
            stream,
            is_unread: false,
            greeted: 0,
            ear: Ear::new(due),
        });
        self.dialling -= 1;
        self.members += usize::from(index != self.speaker());
    }

    /// Closes a connection and takes it out of the sums; hands out what it has heard, if it was a
    /// member. The only place where one ends.
    pub(super) fn leave(&mut self, index: usize) -> Option<Ear> {
        match std::mem::replace(&mut self.seats[index], Seat::Gone) {
            Seat::Vacant => self.vacant += 1,
            Seat::Dialling { .. } => self.dialling -= 1,
            Seat::Taken(guest) if index != self.speaker() => {
                self.members -= 1;
                return Some(guest.ear);
            }
            Seat::Taken(_) | Seat::Gone => {}
        }
        None
    }
}
