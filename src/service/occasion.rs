//! Why a service is prepared.

/// When a service gets what it needs besides its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The server starts: what another process is about to let go of can be waited for.
    Start,
    /// The loop runs, and waits for nothing.
    Reload,
    /// The server starts instead of another that is taken over, and still has its own.
    TakeOver,
}
