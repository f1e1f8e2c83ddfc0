use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::wire::{FileName, IPMSG_TREE_ENTRIES_MAX, IpmsgEncoding, IpmsgRecord, Names};

/// A directory on its way to somebody who asked for it: what is in it, one entry after the other, each looked at when it
/// is its turn.
///
/// Nothing outside of it is reached, and no symbolic link followed, whatever somebody else does to it meanwhile
/// (`O_NOFOLLOW` of open(2), from one directory to the next). Regular files and directories are sent. Everything else is left out, and why is told: what cannot be
/// read, links, FIFOs, sockets and devices, and names that could not be fetched again: hidden ones, and those that
/// [`FileName`] refuses. It holds a descriptor for each directory that it is in, and knows no socket: its caller sends
/// the heads and the bytes of each file, as many as its head says.
#[derive(Debug)]
pub struct IpmsgWalk {
    encoding: IpmsgEncoding,
    /// Its directory, before it was begun.
    begins: Option<(OwnedFd, FileName)>,
    /// Those that it is in.
    levels: Vec<Level>,
    entries: u32,
}

#[derive(Debug)]
struct Level {
    entries: Dir,
    directory: OwnedFd,
    path: FileName,
}

/// What came next of it.
#[derive(Debug)]
pub enum IpmsgWalked {
    /// A directory, whose head was written.
    Entered,
    /// A file whose head was written, and whose bytes follow.
    File(IpmsgWalkedFile),
    /// The end of a directory, whose head was written.
    Left,
    /// Something that is not sent; nothing was written.
    Omitted(IpmsgOmitted),
    /// Nothing, and nothing was written: it is over.
    Over,
}

/// A file of it.
#[derive(Debug)]
pub struct IpmsgWalkedFile {
    /// Its path, with that of the directory.
    pub path: String,
    /// Itself.
    pub file: OwnedFd,
    /// How many of its bytes follow.
    pub size: u64,
}

/// What is not sent of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpmsgOmitted {
    /// Its path, with that of the directory.
    pub path: String,
    /// Why not.
    pub why: String,
}

impl IpmsgWalk {
    /// What is in this directory, which is to have this name.
    pub fn new(directory: OwnedFd, name: FileName, encoding: IpmsgEncoding) -> IpmsgWalk {
        IpmsgWalk {
            encoding,
            begins: Some((directory, name)),
            levels: Vec::new(),
            entries: 0,
        }
    }

    /// Appends the next head, if there is one. It looks at one entry, so that it never takes long.
    ///
    /// # Errors
    ///
    /// When it cannot go on: the directory itself cannot be read, or has more than [`IPMSG_TREE_ENTRIES_MAX`] entries.
    pub fn step(&mut self, out: &mut Vec<u8>) -> io::Result<IpmsgWalked> {
        if let Some((directory, name)) = self.begins.take() {
            let found = fstat(&directory)?;
            return self.enter(directory, name, &found, out);
        }
        loop {
            let Some(level) = self.levels.last_mut() else {
                return Ok(IpmsgWalked::Over);
            };
            match level.entries.next() {
                Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Some(Ok(entry)) => return self.look_at(&entry, out),
                // The rest of it cannot be read, and what comes next is its end.
                Some(Err(errno)) => {
                    let path = level.path.as_str();
                    let omitted = omitted(path, io::Error::from(errno));
                    if self.levels.len() == 1 {
                        return Err(errno.into());
                    }
                    return Ok(IpmsgWalked::Omitted(omitted));
                }
                None => {
                    self.levels.pop();
                    IpmsgRecord::Up.encode(self.encoding, out);
                    return Ok(IpmsgWalked::Left);
                }
            }
        }
    }

    fn look_at(&mut self, entry: &DirEntry, out: &mut Vec<u8>) -> io::Result<IpmsgWalked> {
        let Some(level) = self.levels.last() else {
            return Ok(IpmsgWalked::Over);
        };
        let last = OsStr::from_bytes(entry.file_name().to_bytes());
        let path = format!("{}/{}", level.path, last.to_string_lossy());
        let omit = |why: &dyn ToString| Ok(IpmsgWalked::Omitted(omitted(&path, why.to_string())));
        let Some(last) = last.to_str() else {
            return omit(&"its name is not UTF-8");
        };
        let name = match FileName::new(&path, Names::Tree) {
            Ok(name) => name,
            Err(wrong) => return omit(&wrong),
        };
        match open_if_it_is_sent(&level.directory, last, entry.file_type()) {
            Ok(Opened::Directory(directory, found)) => self.enter(directory, name, &found, out),
            Ok(Opened::File(file, found)) => {
                self.count()?;
                let size = u64::try_from(found.st_size).unwrap_or(0);
                let record = IpmsgRecord::File {
                    name: last.to_owned(),
                    size,
                    modified: modified(&found),
                };
                record.encode(self.encoding, out);
                Ok(IpmsgWalked::File(IpmsgWalkedFile { path, file, size }))
            }
            Ok(Opened::Neither(kind)) => omit(&kind_name(kind)),
            Err(errno) => omit(&io::Error::from(errno)),
        }
    }

    fn enter(
        &mut self,
        directory: OwnedFd,
        path: FileName,
        found: &Stat,
        out: &mut Vec<u8>,
    ) -> io::Result<IpmsgWalked> {
        self.count()?;
        let entries = match Dir::read_from(&directory) {
            Ok(entries) => entries,
            Err(errno) if self.levels.is_empty() => return Err(errno.into()),
            Err(errno) => {
                let omitted = omitted(path.as_str(), io::Error::from(errno));
                return Ok(IpmsgWalked::Omitted(omitted));
            }
        };
        let record = IpmsgRecord::Enter {
            name: path.split().1.to_owned(),
            modified: modified(found),
        };
        record.encode(self.encoding, out);
        self.levels.push(Level {
            entries,
            directory,
            path,
        });
        Ok(IpmsgWalked::Entered)
    }

    fn count(&mut self) -> io::Result<()> {
        self.entries += 1;
        if self.entries > IPMSG_TREE_ENTRIES_MAX {
            let why = format!("it has more than {IPMSG_TREE_ENTRIES_MAX} entries");
            return Err(io::Error::other(why));
        }
        Ok(())
    }
}

enum Opened {
    Directory(OwnedFd, Stat),
    File(OwnedFd, Stat),
    Neither(FileType),
}

/// Opens what is a regular file or a directory. Nothing else is opened, since that alone may do something: a FIFO whose
/// writer waits, a device.
fn open_if_it_is_sent(directory: impl AsFd, name: &str, kind: FileType) -> Result<Opened, Errno> {
    let kind = match kind {
        // Not every file system says it.
        FileType::Unknown => {
            let found = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            FileType::from_raw_mode(found.st_mode)
        }
        said => said,
    };
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Ok(Opened::Neither(kind));
    }
    // It may be something else by now. A name that was read from a directory leads nowhere else, unless it is a link.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = openat(directory, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let found = fstat(&opened)?;
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Opened::File(opened, found),
        FileType::Directory => Opened::Directory(opened, found),
        other => Opened::Neither(other),
    })
}

fn modified(found: &Stat) -> u64 {
    u64::try_from(found.st_mtime).unwrap_or(0)
}

fn omitted(path: &str, why: impl ToString) -> IpmsgOmitted {
    IpmsgOmitted {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "neither a file nor a directory",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::wire::{Decode, IpmsgTree, IpmsgTreePart};

    /// All that a directory is sent as, and what was left out.
    fn walked(path: &Path) -> (Vec<u8>, Vec<IpmsgOmitted>) {
        let name = FileName::new("top", Names::Refuse).unwrap();
        let directory = fs::File::open(path).unwrap().into();
        let mut walk = IpmsgWalk::new(directory, name, IpmsgEncoding::Utf8);
        let (mut out, mut omitted) = (Vec::new(), Vec::new());
        loop {
            match walk.step(&mut out).unwrap() {
                IpmsgWalked::File(found) => {
                    let mut file = fs::File::from(found.file).take(found.size);
                    file.read_to_end(&mut out).unwrap();
                }
                IpmsgWalked::Omitted(one) => omitted.push(one),
                IpmsgWalked::Over => break,
                IpmsgWalked::Entered | IpmsgWalked::Left => {}
            }
        }
        omitted.sort();
        (out, omitted)
    }

    /// What is in it, by path; a directory has no bytes.
    fn read(mut stream: &[u8]) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut tree = IpmsgTree::new(1 << 20);
        let (mut here, mut found) = (Vec::<String>::new(), BTreeMap::new());
        let mut last = String::new();
        while let Some((part, taken)) = tree.decode(stream).unwrap() {
            match part {
                IpmsgTreePart::Record(IpmsgRecord::Enter { name, .. }) => {
                    here.push(name);
                    found.insert(here.join("/"), None);
                }
                IpmsgTreePart::Record(IpmsgRecord::File { name, .. }) => {
                    last = format!("{}/{name}", here.join("/"));
                    found.insert(last.clone(), Some(Vec::new()));
                }
                IpmsgTreePart::Bytes(bytes) => {
                    let file = found.get_mut(&last).unwrap();
                    file.as_mut().unwrap().extend_from_slice(bytes);
                }
                IpmsgTreePart::Record(IpmsgRecord::Up) | IpmsgTreePart::End => {
                    here.pop();
                }
                IpmsgTreePart::Record(IpmsgRecord::Other { .. }) => panic!("nothing else is sent"),
            }
            stream = &stream[taken..];
        }
        assert!(tree.is_over() && stream.is_empty());
        found
    }

    #[test]
    fn u4_a_directory_is_sent_as_it_is_and_what_is_left_out_is_told() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().join("here");
        fs::create_dir_all(top.join("b/c")).unwrap();
        fs::create_dir(top.join("empty")).unwrap();
        for (file, bytes) in [("z", "12345"), ("b/c/资料", "inner"), ("b/none", "")] {
            fs::write(top.join(file), bytes).unwrap();
        }
        for file in [".hidden", "b/back\\slash"] {
            fs::write(top.join(file), "not sent").unwrap();
        }
        fs::write(top.join(OsStr::from_bytes(b"\xff")), "").unwrap();
        symlink("z", top.join("link")).unwrap();
        symlink("/", top.join("root")).unwrap();
        let _socket = UnixListener::bind(top.join("socket")).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, top.join("fifo"), FileType::Fifo, mode, 0).unwrap();
        let (stream, omitted) = walked(&top);
        let found = read(&stream);
        let found: Vec<_> = found
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("top", None),
                ("top/b", None),
                ("top/b/c", None),
                ("top/b/c/资料", Some(&b"inner"[..])),
                ("top/b/none", Some(b"")),
                ("top/empty", None),
                ("top/z", Some(b"12345")),
            ]
        );
        let omitted: Vec<String> = omitted
            .iter()
            .map(|omitted| format!("{}: {}", omitted.path, omitted.why))
            .collect();
        assert_eq!(
            omitted,
            [
                "top/.hidden: a name does not begin with a dot",
                "top/b/back\\slash: a name has no backslash",
                "top/fifo: a FIFO",
                "top/link: a symbolic link",
                "top/root: a symbolic link",
                "top/socket: a socket",
                "top/\u{fffd}: its name is not UTF-8",
            ]
        );
    }

    #[test]
    fn u4_a_link_that_takes_the_place_of_a_directory_is_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let (top, outside) = (
            temporary.path().join("top"),
            temporary.path().join("outside"),
        );
        fs::create_dir(&top).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::write(temporary.path().join("file"), "secret").unwrap();
        symlink(&outside, top.join("directory")).unwrap();
        symlink("../file", top.join("file")).unwrap();
        let directory: OwnedFd = fs::File::open(&top).unwrap().into();
        // As it is when it was something else before, when its kind was read.
        for (name, was) in [
            ("directory", FileType::Directory),
            ("file", FileType::RegularFile),
        ] {
            let opened = open_if_it_is_sent(&directory, name, was);
            assert_eq!(opened.err(), Some(Errno::LOOP), "{name}");
            let opened = open_if_it_is_sent(&directory, name, FileType::Unknown).unwrap();
            assert!(matches!(opened, Opened::Neither(FileType::Symlink)));
        }
    }

    #[test]
    fn u4_a_directory_that_is_too_deep_is_left_out_from_where_it_is() {
        let temporary = tempfile::tempdir().unwrap();
        let deep = vec!["d"; 20].join("/");
        fs::create_dir_all(temporary.path().join(deep)).unwrap();
        let (stream, omitted) = walked(temporary.path());
        assert_eq!(read(&stream).len(), 16);
        let [omitted] = &omitted[..] else {
            panic!("{omitted:?}")
        };
        assert_eq!(omitted.why, "a name has at most 16 components");
    }
}
