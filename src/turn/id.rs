/// One connection, and never another: slots are used again, generations are not.
///
/// A stale id is silence, not another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// The key in the slab of connections.
    pub slot: u32,
    /// Counts up over all connections, so no two that share a slot share it.
    pub generation: u32,
}

impl ConnId {
    /// The id of no connection: what is sent to it goes nowhere.
    pub(crate) const NOBODY: ConnId = ConnId {
        slot: u32::MAX,
        generation: u32::MAX,
    };
}
