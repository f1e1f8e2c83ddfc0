use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::pread;

use crate::config::limits::PROGRESS_GRACE;
use crate::ipmsg::{IpmsgWalk, IpmsgWalked, IpmsgWalkedFile};
use crate::service::file::Found;
use crate::turn::{FilePiece, Turn};
use crate::wire::Escaped;

/// How much of a file leaves at a time without a copy, and how much with one.
const PIECE_BYTES: u64 = 256 * 1024;
const COPY_BYTES: usize = 64 * 1024;

/// Files of a directory up to this size are copied: their heads are, too, and one write is less than two calls each.
const SMALL_BYTES: u64 = 16 * 1024;

/// How many entries of a directory are looked at in a turn.
const STEPS: u32 = 32;

/// How much of what is left out of a directory is logged, each time that it is sent.
const OMITTED_LOGGED_MAX: u64 = 8;

/// A file, or a directory with what is in it, on its way.
#[derive(Debug)]
pub(super) struct Sending {
    body: Option<Body>,
    walk: Option<Walking>,
}

/// A file, or one of a directory.
#[derive(Debug)]
struct Body {
    file: Arc<OwnedFd>,
    size: u64,
    /// How far it has got, and what is on its way.
    at: u64,
    promised: u64,
    /// Whether it is read and copied, since it does not leave otherwise.
    is_copied: bool,
}

#[derive(Debug)]
struct Walking {
    walk: IpmsgWalk,
    /// How much is left out of it.
    omitted: u64,
}

/// How it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// More is to come; it is told when there is room for that.
    Goes,
    /// That was all.
    Over,
    /// It cannot go on. The other end knows how many bytes there were to be, and sees that these are not all.
    Short,
}

impl Sending {
    /// A file from this byte on.
    pub(super) fn file(found: Found, at: u64) -> Sending {
        Sending {
            body: Some(Body::new(found.file, found.size, at)),
            walk: None,
        }
    }

    /// A directory.
    pub(super) fn directory(walk: IpmsgWalk) -> Sending {
        Sending {
            body: None,
            walk: Some(Walking { walk, omitted: 0 }),
        }
    }

    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.walk.is_some()
    }

    /// Sends the next piece, if none is on its way.
    pub(super) fn go_on(&mut self, t: &mut Turn<'_>) -> Standing {
        t.wake_at(t.now.after(PROGRESS_GRACE));
        match &mut self.body {
            Some(body) if body.promised > 0 => Standing::Goes,
            Some(body) if body.at < body.size => body.send(t),
            _ => {
                self.body = None;
                self.walk(t)
            }
        }
    }

    /// So much of the last piece has left.
    pub(super) fn sent(
        &mut self,
        t: &mut Turn<'_>,
        bytes: u64,
        error: Option<io::Error>,
    ) -> Standing {
        let Some(body) = &mut self.body else {
            return Standing::Goes;
        };
        body.at += bytes;
        let is_short = bytes < body.promised && error.is_none();
        body.promised = 0;
        body.is_copied |= error.is_some();
        if is_short {
            return Standing::Short;
        }
        self.go_on(t)
    }

    /// Sends the heads of some entries and what is in small files, up to the first large one.
    fn walk(&mut self, t: &mut Turn<'_>) -> Standing {
        let Some(walking) = &mut self.walk else {
            return Standing::Over;
        };
        let mut out = Vec::new();
        let mut standing = Standing::Goes;
        for _ in 0..STEPS {
            if out.len() >= COPY_BYTES {
                break;
            }
            match walking.walk.step(&mut out) {
                Ok(IpmsgWalked::File(found)) if found.size <= SMALL_BYTES => {
                    if let Err(error) = copy(&found, &mut out) {
                        log::info!(error:%, path:% = Escaped(found.path.as_bytes()); "a file of a directory changed while it was sent");
                        standing = Standing::Short;
                        break;
                    }
                }
                Ok(IpmsgWalked::File(IpmsgWalkedFile { file, size, .. })) => {
                    self.body = Some(Body::new(Arc::new(file), size, 0));
                    break;
                }
                Ok(IpmsgWalked::Omitted(omitted)) => {
                    walking.omitted += 1;
                    if walking.omitted <= OMITTED_LOGGED_MAX {
                        let path = Escaped(omitted.path.as_bytes());
                        log::info!(path:%, why = omitted.why.as_str(); "left out of a directory that is sent");
                    }
                }
                Ok(IpmsgWalked::Over) => {
                    if walking.omitted > OMITTED_LOGGED_MAX {
                        log::info!(omitted = walking.omitted; "more was left out of a directory than is logged");
                    }
                    standing = Standing::Over;
                    break;
                }
                Ok(IpmsgWalked::Entered | IpmsgWalked::Left) => {}
                Err(error) => {
                    log::info!(error:%; "a directory cannot be sent to its end");
                    standing = Standing::Short;
                    break;
                }
            }
        }
        t.reply(&out[..]);
        match (&mut self.body, standing) {
            (Some(body), Standing::Goes) => body.send(t),
            (None, Standing::Goes) => {
                t.tell_when_sent();
                Standing::Goes
            }
            (_, other) => other,
        }
    }
}

impl Body {
    /// A file of this size, of which nothing from `at` on has left.
    fn new(file: Arc<OwnedFd>, size: u64, at: u64) -> Body {
        Body {
            file,
            size,
            at,
            promised: 0,
            is_copied: false,
        }
    }

    /// Sends the next piece, which is not empty.
    fn send(&mut self, t: &mut Turn<'_>) -> Standing {
        let left = self.size - self.at;
        if !self.is_copied {
            self.promised = left.min(PIECE_BYTES);
            t.send_file(FilePiece {
                file: self.file.clone(),
                at: self.at,
                bytes: self.promised,
            });
            return Standing::Goes;
        }
        let room = usize::try_from(left).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        let mut buffer = vec![0; room];
        match pread(&self.file, &mut buffer, self.at) {
            Ok(n) if n > 0 => {
                self.at += n as u64;
                t.reply(&buffer[..n]);
                t.tell_when_sent();
                Standing::Goes
            }
            _ => Standing::Short,
        }
    }
}

/// Appends a file, as many bytes as its head says.
fn copy(found: &IpmsgWalkedFile, out: &mut Vec<u8>) -> io::Result<()> {
    let (start, size) = (out.len(), usize::try_from(found.size).unwrap_or(0));
    out.resize(start + size, 0);
    let mut at = 0;
    while at < size {
        match pread(&found.file, &mut out[start + at..], at as u64)? {
            0 => {
                out.truncate(start + at);
                return Err(io::Error::other("it became shorter"));
            }
            n => at += n,
        }
    }
    Ok(())
}
