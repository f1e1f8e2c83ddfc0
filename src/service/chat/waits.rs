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
