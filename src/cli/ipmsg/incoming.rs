//! A directory that comes: made new beneath the one that was named, and nothing outside of it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::fsync;

use super::super::files::{Partial, Place, finish_all, make_new};
use super::numbered::{NAMES_MAX, names, own_name};
use crate::ipmsg::IpmsgOmitted;
use crate::wire::{FileName, IpmsgRecord, IpmsgTreePart, Names};

/// How many files that are whole wait to be put on the disk together, and how large one may be that waits.
const WHOLE_MAX: usize = 64;
const WHOLE_BYTES_MAX: u64 = 256 * 1024;

/// How much of what is left out is told; the rest is counted.
const OMITTED_MAX: usize = 20;

/// A directory that comes, part by part. Each file in it is there when it is whole, and so are those of a directory
/// that does not come to its end.
///
/// Every name is looked at before anything has it: what has none that it may have here is left out, a directory with all
/// that is in it, and the rest comes. Nothing is replaced: of two that have one name the second gets a number.
#[derive(Debug)]
pub(super) struct Incoming<'p> {
    place: &'p Place,
    name: FileName,
    /// What no two files have at once.
    own: String,
    /// Those that it is in; none before the first has begun.
    levels: Vec<Level>,
    /// How many it is in that are left out.
    omitted_levels: u32,
    file: Option<File>,
    whole: Vec<(Partial, FileName)>,
    arrived: Arrived,
}

/// What has come.
#[derive(Debug, Default, Clone)]
pub(super) struct Arrived {
    /// What it is called here, if it was made.
    pub(super) name: Option<String>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// What is left out: the first of it, and how much it is.
    pub(super) omitted: Vec<IpmsgOmitted>,
    pub(super) omitted_count: u64,
}

#[derive(Debug)]
struct Level {
    directory: OwnedFd,
    path: FileName,
    /// What was made in it.
    names: BTreeSet<String>,
}

/// The file whose bytes come.
#[derive(Debug)]
struct File {
    /// None: it is left out.
    kept: Option<(Partial, FileName)>,
    left: u64,
}

impl<'p> Incoming<'p> {
    /// One that was offered under this name, of which nothing has come.
    ///
    /// # Errors
    ///
    /// When that is no name that it may have here.
    pub(super) fn new(place: &'p Place, offered: &str) -> Result<Incoming<'p>, String> {
        let name = FileName::new(offered, Names::Basename).map_err(|wrong| wrong.to_string())?;
        let own = own_name().map_err(|error| error.to_string())?;
        Ok(Incoming {
            place,
            name,
            own,
            levels: Vec::new(),
            omitted_levels: 0,
            file: None,
            whole: Vec::new(),
            arrived: Arrived::default(),
        })
    }

    /// Takes what comes next.
    ///
    /// # Errors
    ///
    /// When nothing more can be kept.
    pub(super) fn take(&mut self, part: IpmsgTreePart<'_>) -> io::Result<()> {
        match part {
            IpmsgTreePart::Record(record) => self.record(record),
            IpmsgTreePart::Bytes(bytes) => self.bytes(bytes),
            IpmsgTreePart::End => Ok(()),
        }
    }

    fn record(&mut self, record: IpmsgRecord) -> io::Result<()> {
        match record {
            // What it is called there was said when it was offered.
            IpmsgRecord::Enter { .. } if self.levels.is_empty() => self.begin(),
            IpmsgRecord::Enter { name, .. } => self.enter(&name),
            IpmsgRecord::File { name, size, .. } => self.file(&name, size),
            IpmsgRecord::Other { size } => {
                self.omit("(no name)", "it is neither a file nor a directory");
                self.begin_file(None, size)
            }
            IpmsgRecord::Up => self.leave(),
        }
    }

    /// Nothing more comes: what is whole is put on the disk, and what is not goes.
    pub(super) fn finish(mut self) -> (Arrived, io::Result<()>) {
        self.file = None;
        self.store();
        let mut outcome = Ok(());
        while let Some(level) = self.levels.pop() {
            outcome = outcome.and(fsync(&level.directory).map_err(io::Error::from));
        }
        if self.arrived.name.is_some() {
            outcome = outcome.and(self.place.sync());
        }
        (self.arrived, outcome)
    }

    fn begin(&mut self) -> io::Result<()> {
        let offered = self.name.clone();
        for name in names(offered.as_str()) {
            match self.place.make_new(&name) {
                Ok(directory) => {
                    let path = FileName::new(&name, Names::Refuse).map_err(io::Error::other)?;
                    self.arrived.name = Some(name);
                    self.push(directory, path);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        let why = format!("{NAMES_MAX} of that name are there");
        Err(io::Error::other(why))
    }

    fn push(&mut self, directory: OwnedFd, path: FileName) {
        self.levels.push(Level {
            directory,
            path,
            names: BTreeSet::new(),
        });
    }

    fn enter(&mut self, name: &str) -> io::Result<()> {
        if self.omitted_levels > 0 {
            self.omitted_levels += 1;
            return Ok(());
        }
        let made = self.judge(name).and_then(|(path, here)| {
            let made = make_new(here, path.split().1);
            let made = made.map_err(|error| error.to_string());
            Ok((made?, path))
        });
        match made {
            Ok((directory, path)) => self.push(directory, path),
            Err(why) => {
                self.omit(name, &why);
                self.omitted_levels = 1;
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        if self.omitted_levels > 0 {
            self.omitted_levels -= 1;
        } else if let Some(level) = self.levels.pop() {
            // Those files in it that wait sync it once more.
            fsync(&level.directory)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, size: u64) -> io::Result<()> {
        if self.omitted_levels > 0 {
            return self.begin_file(None, size);
        }
        let own = &self.own.clone();
        let made = self.judge(name).and_then(|(path, here)| {
            let own = format!("{own}-{}", path.split().1);
            let made = Partial::make(here, &own).map_err(|error| error.to_string());
            Ok((made?.for_once(), path))
        });
        match made {
            Ok(kept) => self.begin_file(Some(kept), size),
            Err(why) => {
                self.omit(name, &why);
                self.begin_file(None, size)
            }
        }
    }

    fn begin_file(&mut self, kept: Option<(Partial, FileName)>, size: u64) -> io::Result<()> {
        self.file = Some(File { kept, left: size });
        self.bytes(b"")
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if let Some((partial, _)) = &mut file.kept {
            partial.write(bytes)?;
        }
        file.left = file.left.saturating_sub(bytes.len() as u64);
        if file.left > 0 {
            return Ok(());
        }
        let whole = self.file.take().and_then(|file| file.kept);
        let is_large = whole
            .as_ref()
            .is_some_and(|(partial, _)| partial.len() > WHOLE_BYTES_MAX);
        self.whole.extend(whole);
        if is_large || self.whole.len() >= WHOLE_MAX {
            self.store();
        }
        Ok(())
    }

    /// Gives their names to those that are whole.
    fn store(&mut self) {
        let (partials, paths): (Vec<Partial>, Vec<FileName>) = self.whole.drain(..).unzip();
        let sizes: Vec<u64> = partials.iter().map(Partial::len).collect();
        let lasts = paths.iter().map(|path| path.split().1);
        let all = partials.into_iter().zip(lasts).collect();
        let outcomes = finish_all(all, self.place.file_mode, false);
        for ((outcome, path), size) in outcomes.into_iter().zip(&paths).zip(sizes) {
            match outcome {
                Ok(()) => {
                    self.arrived.files += 1;
                    self.arrived.bytes += size;
                }
                Err(error) => self.omit_path(path.as_str().to_owned(), &error.to_string()),
            }
        }
    }

    /// What something of this name is called in the directory that it comes in; or why it cannot be there.
    fn judge(&mut self, name: &str) -> Result<(FileName, &OwnedFd), String> {
        let level = self.levels.last_mut().ok_or("it is in no directory")?;
        let wrong = |wrong: crate::wire::BadName| wrong.to_string();
        // By itself, since a name has no directories; and then with those that it is in.
        let name = FileName::new(name, Names::Refuse).map_err(wrong)?;
        let mut free = names(name.as_str()).filter(|name| !level.names.contains(name));
        let free = free.next();
        let free = free.ok_or_else(|| format!("{NAMES_MAX} of that name have come"))?;
        let path = FileName::new(&format!("{}/{free}", level.path), Names::Tree).map_err(wrong)?;
        level.names.insert(free);
        Ok((path, &level.directory))
    }

    fn omit(&mut self, name: &str, why: &str) {
        let here = self.levels.last().map_or("", |level| level.path.as_str());
        self.omit_path(format!("{here}/{name}"), why);
    }

    fn omit_path(&mut self, path: String, why: &str) {
        self.arrived.omitted_count += 1;
        if self.arrived.omitted.len() < OMITTED_MAX {
            let why = why.to_owned();
            self.arrived.omitted.push(IpmsgOmitted { path, why });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::wire::{Decode, IpmsgEncoding, IpmsgTree};

    fn enter(name: &str) -> IpmsgRecord {
        let name = name.to_owned();
        IpmsgRecord::Enter { name, modified: 0 }
    }

    fn file(name: &str) -> IpmsgRecord {
        IpmsgRecord::File {
            name: name.to_owned(),
            size: 3,
            modified: 0,
        }
    }

    /// What becomes of these records, with three bytes behind each file.
    fn arrives(root: &Path, records: &[IpmsgRecord]) -> Arrived {
        let mut stream = Vec::new();
        for record in records {
            record.encode(IpmsgEncoding::Utf8, &mut stream);
            if matches!(record, IpmsgRecord::File { .. }) {
                stream.extend_from_slice(b"abc");
            }
        }
        let place = Place::open(root).unwrap();
        let mut incoming = Incoming::new(&place, "top").unwrap();
        let mut tree = IpmsgTree::new(1 << 20);
        let mut unread = &stream[..];
        while let Some((part, taken)) = tree.decode(unread).unwrap() {
            incoming.take(part).unwrap();
            unread = &unread[taken..];
        }
        let (arrived, outcome) = incoming.finish();
        outcome.unwrap();
        arrived
    }

    /// All that is beneath a directory, in order.
    fn found(root: &Path) -> Vec<String> {
        let mut all = Vec::new();
        let mut open = vec![root.to_owned()];
        while let Some(here) = open.pop() {
            for entry in fs::read_dir(here).unwrap().map(Result::unwrap) {
                let path = entry.path();
                let shown = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                if entry.file_type().unwrap().is_dir() {
                    all.push(format!("{shown}/"));
                    open.push(path);
                } else {
                    all.push(shown);
                }
            }
        }
        all.sort();
        all
    }

    #[test]
    fn u4_a_directory_is_made_new_with_all_that_is_in_it() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        fs::create_dir(root.join("top")).unwrap();
        let up = IpmsgRecord::Up;
        let arrived = arrives(
            root,
            &[
                enter("whatever"),
                file("b"),
                enter("a"),
                enter("empty"),
                up.clone(),
                file("资料"),
                up.clone(),
                IpmsgRecord::Other { size: 0 },
                up,
            ],
        );
        assert_eq!(arrived.name.as_deref(), Some("top-2"));
        assert_eq!(
            (arrived.files, arrived.bytes, arrived.omitted_count),
            (2, 6, 1)
        );
        let expected = [
            "top-2/",
            "top-2/a/",
            "top-2/a/empty/",
            "top-2/a/资料",
            "top-2/b",
            "top/",
        ];
        assert_eq!(found(root), expected);
        assert_eq!(fs::read(root.join("top-2/b")).unwrap(), b"abc");
    }

    #[test]
    fn u4_a_name_that_leads_out_of_a_directory_is_left_out_with_what_is_in_it() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("root");
        fs::create_dir(&root).unwrap();
        let up = || IpmsgRecord::Up;
        let names = [
            "..",
            ".",
            "../x",
            "/x",
            "/etc/x",
            "a/b",
            "a\\b",
            "..\\x",
            ".x",
            "a\nb",
            "\u{1b}[2J",
            "C:\\x",
        ];
        let mut records = vec![enter("top")];
        for name in names {
            records.push(file(name));
            records.extend([
                enter(name),
                file("inner"),
                enter("deeper"),
                file("x"),
                up(),
                up(),
            ]);
        }
        records.extend([file("good"), up()]);
        let arrived = arrives(&root, &records);
        assert_eq!(found(&root), ["top/", "top/good"]);
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
        assert_eq!(
            (arrived.files, arrived.omitted_count),
            (1, 2 * names.len() as u64)
        );
        assert_eq!(arrived.omitted.len(), OMITTED_MAX);
        let first = &arrived.omitted[0];
        assert_eq!(first.path, "top/..");
        assert_eq!(first.why, "a name does not begin with a dot");
        // A directory has a name to itself where no file came before it that has it.
        for name in names {
            let inside = temporary.path().join("inside");
            fs::create_dir(&inside).unwrap();
            let records = [enter("top"), enter(name), file("inner"), up(), up()];
            let arrived = arrives(&inside, &records);
            assert_eq!((arrived.files, arrived.omitted_count), (0, 1), "{name}");
            assert_eq!(found(&inside), ["top/"], "{name}");
            fs::remove_dir_all(&inside).unwrap();
        }
    }

    #[test]
    fn u4_of_two_that_have_one_name_neither_is_replaced_and_no_link_is_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let (root, outside) = (
            temporary.path().join("root"),
            temporary.path().join("outside"),
        );
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        // A link has the name already.
        symlink(&outside, root.join("top")).unwrap();
        let up = || IpmsgRecord::Up;
        let records = [
            enter("top"),
            file("a"),
            file("a"),
            enter("a"),
            file("a"),
            up(),
            file("a"),
            enter("d"),
            up(),
            enter("d"),
            up(),
            up(),
        ];
        let arrived = arrives(&root, &records);
        assert_eq!(arrived.name.as_deref(), Some("top-2"));
        let expected = [
            "top",
            "top-2/",
            "top-2/a",
            "top-2/a-2",
            "top-2/a-3/",
            "top-2/a-3/a",
            "top-2/a-4",
            "top-2/d-2/",
            "top-2/d/",
        ];
        assert_eq!(found(&root), expected);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // As many as there may be.
        let many = [vec![enter("top")], vec![file("a"); 101], vec![up()]].concat();
        let arrived = arrives(&root, &many);
        assert_eq!((arrived.files, arrived.omitted_count), (100, 1));
    }

    #[test]
    fn u4_what_is_whole_of_a_directory_that_is_cut_off_stays_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let arrived = arrives(root, &[enter("top"), file("a"), enter("d"), file("b")]);
        assert_eq!(arrived.files, 2);
        let place = Place::open(root).unwrap();
        let mut incoming = Incoming::new(&place, "top").unwrap();
        incoming.take(IpmsgTreePart::Record(enter("top"))).unwrap();
        let cut = IpmsgRecord::File {
            name: "cut".to_owned(),
            size: 9,
            modified: 0,
        };
        incoming.take(IpmsgTreePart::Record(cut)).unwrap();
        incoming.take(IpmsgTreePart::Bytes(b"half")).unwrap();
        let (arrived, _) = incoming.finish();
        assert_eq!((arrived.files, arrived.bytes), (0, 0));
        assert_eq!(
            found(root),
            ["top-2/", "top/", "top/a", "top/d/", "top/d/b"]
        );
        // Nothing is made of what nothing came of.
        let incoming = Incoming::new(&place, "other").unwrap();
        assert_eq!(incoming.finish().0.name, None);
        assert!(Incoming::new(&place, "..").is_err());
    }

    #[test]
    fn u4_a_directory_that_is_too_deep_is_left_out_from_there_on() {
        let temporary = tempfile::tempdir().unwrap();
        let mut records = vec![enter("d"); 200];
        records.extend(vec![IpmsgRecord::Up; 199]);
        records.extend([file("last"), IpmsgRecord::Up]);
        let arrived = arrives(temporary.path(), &records);
        assert_eq!((arrived.files, arrived.omitted_count), (1, 1));
        let deepest = arrived.omitted[0].path.matches('/').count();
        assert_eq!(deepest, 16);
        assert!(temporary.path().join("top/last").exists());
    }
}
