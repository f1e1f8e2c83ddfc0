//! The pages that the README leads to, as rustdoc shows them.
//!
//! Knows no code: each page is a Markdown file beside this one that reads as well where the repository is shown,
//! and its programs are compiled and run with the tests. A page ends with its links, from file to file. Here each
//! has a link of the same name before it, to the page of rustdoc, since the first of two counts.
//!
//! | page | for |
//! | --- | --- |
//! | [`serve`] | the server: endpoints, the TOML file, signals, exit codes, every limit |
//! | [`bench`](mod@bench) | the instrument: modes, flags, closed and open, comparing servers |
//! | [`window`] | the experiments in an order, pictures, exercises, each mode in Python, a glossary |
//! | [`reading`] | one byte through the loop, and six questions |
//! | [`performance`] | figures, each with its command |

pub mod serve {
    #![doc = include_str!("serve.md")]
}

pub mod bench {
    #![doc = include_str!("bench.md")]
}

pub mod window {
    //! [reading]: super::reading
    //! [socket]: crate::socket
    #![doc = include_str!("window.md")]
}

pub mod performance {
    #![doc = include_str!("performance.md")]
}

pub mod reading {
    //! [`Echo`]: crate::service::Echo
    //! [`Epoll`]: crate::reactor::Epoll
    //! [`Os::wait`]: crate::reactor::Os::wait
    //! [`ReadBuf`]: crate::buf::ReadBuf
    //! [`Reactor::turn`]: crate::reactor::Reactor::turn
    //! [`Service`]: crate::service::Service
    //! [`Token`]: crate::reactor::Token
    //! [`Turn`]: crate::turn::Turn
    //! [`socket`]: crate::socket
    //! [decoder]: crate::wire::Decode
    //! [`src/client/time.rs`]: ../../../src/onepoll/client/time.rs.html
    //! [`src/reactor/connection.rs`]: ../../../src/onepoll/reactor/connection.rs.html
    //! [`src/reactor/ending.rs`]: ../../../src/onepoll/reactor/ending.rs.html
    //! [`src/reactor/incoming.rs`]: ../../../src/onepoll/reactor/incoming.rs.html
    //! [`src/reactor/mod.rs`]: ../../../src/onepoll/reactor/mod.rs.html
    //! [`src/reactor/standing.rs`]: ../../../src/onepoll/reactor/standing.rs.html
    //! [`src/socket/core.rs`]: ../../../src/onepoll/socket/core.rs.html
    #![doc = include_str!("reading.md")]
}
