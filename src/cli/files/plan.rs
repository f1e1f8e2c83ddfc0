//! What is to be sent: files, those in directories, and standard input, each under a name.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, fstat, open};

use super::place::{kind, kind_name, look, open_beneath, size};
use crate::wire::{FileName, Names};

/// How many files are sent at a time.
pub(super) const FILES_MAX: usize = 1_000_000;

/// What is to be sent, in order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
    pub(super) problems: Vec<Problem>,
}

/// A file that is to be sent.
#[derive(Debug)]
pub(super) struct Item {
    /// Its path here, as a person would write it.
    pub(super) path: OsString,
    pub(super) name: FileName,
    pub(super) source: Source,
    /// How long it was when it was looked at.
    pub(super) size: u64,
}

/// Where it is.
#[derive(Debug)]
pub(super) enum Source {
    Stdin,
    /// What was named here is followed wherever it leads.
    Path(PathBuf),
    /// Beneath a directory that was named, and through no symbolic link.
    Beneath(Rc<OwnedFd>, OsString),
}

/// What is not sent.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) path: OsString,
    pub(super) why: String,
    /// It is none that can be sent; else it could not be read.
    pub(super) is_skipped: bool,
}

impl Item {
    /// Whether nobody knows how long it is.
    pub(super) fn is_stdin(&self) -> bool {
        matches!(self.source, Source::Stdin)
    }

    /// Opens it; an error says what it is instead of a file.
    pub(super) fn open(&self) -> io::Result<(OwnedFd, Stat)> {
        let flags = OFlags::RDONLY;
        let file = match &self.source {
            Source::Stdin => return Err(io::Error::other("it is standard input")),
            Source::Path(path) => {
                // What is no regular file must not make us wait.
                let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                open(path, flags, Mode::empty())?
            }
            Source::Beneath(root, path) => {
                open_beneath(root, path.as_os_str(), flags, Mode::empty())?
            }
        };
        let found = fstat(&file)?;
        match kind(&found) {
            FileType::RegularFile => Ok((file, found)),
            other => Err(io::Error::other(format!("it is {}", kind_name(other)))),
        }
    }
}

impl Plan {
    /// Adds what was named, under `name` if it is to have another than its own.
    pub(super) fn add(&mut self, path: &Path, name: Option<&str>) {
        let shown = path.as_os_str();
        let named = match name {
            Some(name) => Ok(name.to_owned()),
            None => own_name(path),
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let found = rustix::fs::stat(path);
        let (name, found) = match (named, found) {
            (_, Err(errno)) => return self.fails(shown, io::Error::from(errno)),
            (Err(why), _) => return self.skips(shown, why),
            (Ok(name), Ok(found)) => (name, found),
        };
        match kind(&found) {
            FileType::RegularFile => self.file(shown, &name, Source::Path(path.into()), &found),
            FileType::Directory => match open(path, flags | OFlags::DIRECTORY, Mode::empty()) {
                Ok(root) => {
                    let root = Rc::new(root);
                    self.walk(&root, &root, shown, &name, OsStr::new(""));
                }
                Err(errno) => self.fails(shown, io::Error::from(errno)),
            },
            other => self.skips(shown, kind_name(other)),
        }
    }

    /// Adds standard input under this name.
    pub(super) fn add_stdin(&mut self, name: FileName) {
        self.items.push(Item {
            path: "-".into(),
            name,
            source: Source::Stdin,
            size: 0,
        });
    }

    fn file(&mut self, path: &OsStr, name: &str, source: Source, found: &Stat) {
        match FileName::new(name, Names::Tree) {
            Ok(name) => self.items.push(Item {
                path: path.to_owned(),
                name,
                source,
                size: size(found),
            }),
            Err(wrong) => self.skips(path, wrong),
        }
    }

    /// Adds what is in a directory, which has this name there and this path beneath the root.
    fn walk(
        &mut self,
        root: &Rc<OwnedFd>,
        here: &OwnedFd,
        path: &OsStr,
        name: &str,
        beneath: &OsStr,
    ) {
        // No file in it can have a name then, however many there are.
        if let Err(wrong) = FileName::new(name, Names::Tree) {
            return self.skips(path, wrong);
        }
        let mut entries = match entries(here) {
            Ok(entries) => entries,
            Err(error) => return self.fails(path, error),
        };
        entries.sort();
        for entry in entries {
            if self.items.len() > FILES_MAX {
                return;
            }
            let path = under(path, &entry);
            let beneath = if beneath.is_empty() {
                entry.clone()
            } else {
                under(beneath, &entry)
            };
            let Some(last) = entry.to_str() else {
                self.skips(&path, "its name is not UTF-8");
                continue;
            };
            let name = format!("{name}/{last}");
            let found = match look(here, last) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) => {
                    self.fails(&path, error);
                    continue;
                }
            };
            match kind(&found) {
                FileType::RegularFile => {
                    let source = Source::Beneath(Rc::clone(root), beneath);
                    self.file(&path, &name, source, &found);
                }
                FileType::Directory => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    match open_beneath(here, last, flags, Mode::empty()) {
                        Ok(inner) => self.walk(root, &inner, &path, &name, &beneath),
                        Err(errno) => self.fails(&path, io::Error::from(errno)),
                    }
                }
                other => self.skips(&path, kind_name(other)),
            }
        }
    }

    fn skips(&mut self, path: &OsStr, why: impl ToString) {
        self.problems.push(Problem {
            path: path.to_owned(),
            why: why.to_string(),
            is_skipped: true,
        });
    }

    fn fails(&mut self, path: &OsStr, error: io::Error) {
        self.problems.push(Problem {
            path: path.to_owned(),
            why: error.to_string(),
            is_skipped: false,
        });
    }
}

/// What a file or a directory is called by itself.
fn own_name(path: &Path) -> Result<String, String> {
    let canonical;
    let last = match path.file_name() {
        Some(last) => last,
        // `.` and `..` have names, too.
        None => {
            canonical = path.canonicalize().map_err(|error| error.to_string())?;
            canonical.file_name().ok_or("it has no name of its own")?
        }
    };
    last.to_str()
        .map(str::to_owned)
        .ok_or_else(|| "its name is not UTF-8".to_owned())
}

fn entries(directory: impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn under(directory: &OsStr, name: &OsStr) -> OsString {
    Path::new(directory).join(name).into_os_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_directory_is_what_is_in_it_and_the_rest_is_said() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().join("top");
        fs::create_dir_all(top.join("b/c")).unwrap();
        for file in ["z", "b/c/d", ".hidden", "b/back\\slash"] {
            fs::write(top.join(file), "12345").unwrap();
        }
        fs::write(top.join(OsStr::from_bytes(b"\xff")), "").unwrap();
        symlink("z", top.join("link")).unwrap();
        symlink("/", top.join("root")).unwrap();
        let _socket = UnixListener::bind(top.join("socket")).unwrap();
        let mut plan = Plan::default();
        plan.add(&top, None);
        let items: Vec<_> = plan
            .items
            .iter()
            .map(|item| (item.name.as_str(), item.size, item.open().is_ok()))
            .collect();
        assert_eq!(items, [("top/b/c/d", 5, true), ("top/z", 5, true)]);
        let mut problems: Vec<_> = plan
            .problems
            .iter()
            .map(|problem| {
                let path = Path::new(&problem.path).strip_prefix(&top).unwrap();
                assert!(problem.is_skipped);
                format!("{}: {}", path.display(), problem.why)
            })
            .collect();
        problems.sort();
        assert_eq!(
            problems,
            [
                ".hidden: a name does not begin with a dot",
                "b/back\\slash: a name has no backslash",
                "link: a symbolic link",
                "root: a symbolic link",
                "socket: a socket",
                "\u{fffd}: its name is not UTF-8",
            ]
        );
    }

    #[test]
    fn what_is_named_is_followed_and_dots_have_names() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().join("top");
        fs::create_dir_all(top.join("b")).unwrap();
        fs::write(top.join("b/file"), "1").unwrap();
        symlink("b/file", top.join("link")).unwrap();
        let mut plan = Plan::default();
        plan.add(&top.join("link"), None);
        plan.add(&top.join("b/.."), None);
        plan.add(&top.join("link"), Some("other"));
        plan.add(&top.join("missing"), None);
        let names: Vec<_> = plan.items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["link", "top/b/file", "other"]);
        let missing = plan.problems.iter().find(|problem| !problem.is_skipped);
        assert!(missing.unwrap().path.to_str().unwrap().ends_with("missing"));
    }

    #[test]
    fn a_directory_that_became_a_link_is_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().join("top");
        fs::create_dir_all(top.join("b")).unwrap();
        fs::write(top.join("b/file"), "1").unwrap();
        let mut plan = Plan::default();
        plan.add(&top, None);
        fs::rename(top.join("b"), temporary.path().join("moved")).unwrap();
        symlink(temporary.path().join("moved"), top.join("b")).unwrap();
        assert!(plan.items[0].open().is_err());
    }
}
