/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    ListenerFull,
    OtherUser,
}

impl Refusal {
    pub(super) fn words(self) -> &'static str {
        match self {
            Refusal::Full => "the server has as many connections as it holds",
            Refusal::ListenerFull => "this endpoint has as many connections as it holds",
            Refusal::OtherUser => "this socket is another user's",
        }
    }
}
