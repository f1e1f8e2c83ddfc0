use std::collections::HashMap;

use crate::turn::ConnId;

/// What a member waits for, whose input is held meanwhile.
#[derive(Debug)]
pub(super) enum Waits {
    /// Whether a name is free.
    Claim,
    /// That all it said is kept; this is answered then.
    Kept(Vec<u8>),
    /// What other servers answer.
    Answer,
    /// Room for what it says.
    Room,
}

/// The members with whom the bus is not through. Without a bus there are none, so that it costs members nothing.
#[derive(Debug, Default)]
pub(super) struct Unsettled(HashMap<ConnId, Owed>);

#[derive(Debug, Default)]
struct Owed {
    waits: Option<Waits>,
    /// How much of what the member said is not kept yet.
    unkept: u32,
}

impl Unsettled {
    /// A piece of what a member said is to be kept.
    pub(super) fn said(&mut self, id: ConnId) {
        self.0.entry(id).or_default().unkept += 1;
    }

    /// So many pieces are kept. Whether that is what the member waits for.
    pub(super) fn kept(&mut self, id: ConnId, pieces: u32) -> bool {
        let Some(owed) = self.0.get_mut(&id) else {
            return false;
        };
        owed.unkept = owed.unkept.saturating_sub(pieces);
        let is_settled = owed.unkept == 0 && owed.waits.is_none();
        let is_over = owed.unkept == 0 && matches!(owed.waits, Some(Waits::Kept(_)));
        if is_settled {
            self.forget(id);
        }
        is_over
    }

    pub(super) fn has_unkept(&self, id: ConnId) -> bool {
        self.0.get(&id).is_some_and(|owed| owed.unkept > 0)
    }

    pub(super) fn wait(&mut self, id: ConnId, waits: Waits) {
        self.0.entry(id).or_default().waits = Some(waits);
    }

    pub(super) fn waits_of(&self, id: ConnId) -> Option<&Waits> {
        self.0.get(&id)?.waits.as_ref()
    }

    /// Those who wait for this.
    pub(super) fn waiting(&self, which: impl Fn(&Waits) -> bool) -> Vec<ConnId> {
        let waits = |(_, owed): &(&ConnId, &Owed)| owed.waits.as_ref().is_some_and(&which);
        self.0.iter().filter(waits).map(|(id, _)| *id).collect()
    }

    /// What a member waited for, which is over.
    pub(super) fn release(&mut self, id: ConnId) -> Option<Waits> {
        let owed = self.0.get_mut(&id)?;
        let waits = owed.waits.take();
        if owed.unkept == 0 {
            self.forget(id);
        }
        waits
    }

    /// The member is gone, or owed nothing.
    pub(super) fn forget(&mut self, id: ConnId) {
        self.0.remove(&id);
        if self.0.is_empty() {
            self.0 = HashMap::new();
        }
    }
}
