//! The service on stage: a directory of its own, a disk that can be told to fail, and children that work when they
//! are told to.

use std::cell::Cell;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::disk::Found;
use super::work::{Order, Store};
use super::*;
use crate::config::limits::{
    FILE_DIGEST_KNOWN, FILE_FOLLOWED_BYTES_MIN, FILES_OPEN_MAX, FILES_PENDING_PER_CONNECTION_MAX,
    UPLOADS_PER_SOURCE_MAX,
};
use crate::service::rehearsal::Stage;
use crate::turn::{Errand, FileFate, Output};
use crate::wire::{
    Decode, FileAnswers, FileErrorKind, FileFacts, FileRequest, Kept, Names, Sha256, Sha256Sum,
    Upload, UploadForm,
};

/// What goes wrong with writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// One byte is taken at a time.
    Short,
    /// The disk fills up.
    Full,
    /// The disk is broken (fault G5).
    Broken,
    /// Something else than what was written is on the disk.
    Flipped,
}

/// The real disk, but for what goes wrong.
#[derive(Debug)]
struct Shim {
    root: Root,
    wrong: Rc<Cell<Wrong>>,
    /// Whether the times of files are not of this moment.
    is_settled: Rc<Cell<bool>>,
}

impl Disk for Shim {
    fn directories(&self) -> Vec<Arc<OwnedFd>> {
        self.root.directories()
    }

    fn open(&self, name: &FileName) -> io::Result<Found> {
        let found = self.root.open(name)?;
        Ok(Found {
            is_settled: self.is_settled.get(),
            ..found
        })
    }

    fn size_of(&self, name: &FileName) -> io::Result<Option<u64>> {
        self.root.size_of(name)
    }

    fn stage(&self, name: &str) -> io::Result<Found> {
        self.root.stage(name)
    }

    fn staged_size(&self, file: &OwnedFd) -> io::Result<u64> {
        self.root.staged_size(file)
    }

    fn take_over(&mut self) {
        self.root.take_over();
    }

    fn unstage(&self, name: &str, file: Option<&OwnedFd>) {
        self.root.unstage(name, file);
    }

    fn cut(&self, file: &OwnedFd, bytes: u64) -> io::Result<()> {
        self.root.cut(file, bytes)
    }

    fn reserve(&self, file: &OwnedFd, bytes: u64) -> io::Result<()> {
        match self.wrong.get() {
            Wrong::Full => Err(io::ErrorKind::StorageFull.into()),
            _ => self.root.reserve(file, bytes),
        }
    }

    fn write(&self, file: &OwnedFd, bytes: &[u8], at: u64) -> io::Result<usize> {
        match self.wrong.get() {
            Wrong::Nothing | Wrong::Full => self.root.write(file, bytes, at),
            Wrong::Short => self.root.write(file, &bytes[..1], at),
            Wrong::Broken => Err(io::Error::from_raw_os_error(5)),
            Wrong::Flipped => {
                let flipped: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
                self.root.write(file, &flipped, at)
            }
        }
    }

    fn lend(&self, file: &OwnedFd) -> io::Result<Arc<OwnedFd>> {
        self.root.lend(file)
    }

    fn read(&self, file: &OwnedFd, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.root.read(file, into, at)
    }
}

/// A stage, its directory, and what goes wrong there.
struct Scene {
    dir: tempfile::TempDir,
    stage: Stage<Files>,
    wrong: Rc<Cell<Wrong>>,
    is_settled: Rc<Cell<bool>>,
}

impl Scene {
    fn new(change: impl FnOnce(&mut Options)) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options {
            root: Some(dir.path().to_owned()),
            ..Options::default()
        };
        change(&mut options);
        let mut files = Files::new(&options);
        let wrong = Rc::new(Cell::new(Wrong::Nothing));
        let is_settled = Rc::new(Cell::new(false));
        let (root, _) = Root::open(dir.path(), options.access.writes(), Occasion::Start).unwrap();
        files.disk = Some(Box::new(Shim {
            root,
            wrong: wrong.clone(),
            is_settled: is_settled.clone(),
        }));
        let stage = Stage::new(files);
        Scene {
            dir,
            stage,
            wrong,
            is_settled,
        }
    }

    /// The children of the service do what they are to, one after the other. Says how many there were.
    fn works(&mut self) -> usize {
        let mut done = 0;
        while let Some(errand) = self.stage.errand() {
            let out = performed(&errand);
            self.stage
                .errand_has(errand.number, ErrandEvent::Wrote(&out));
            self.stage
                .errand_has(errand.number, ErrandEvent::Ended(Exit::Code(0)));
            done += 1;
        }
        done
    }

    /// The child of a connection does.
    fn works_for(&mut self, client: ConnId) {
        let errand = self.stage.job(client).and_then(|job| job.errand).unwrap();
        self.stage.cannot(client, ChildEvent::Started);
        let out = performed(&errand);
        self.stage.writes(client, Output::Out, &out);
        self.stage.exits(client, Exit::Code(0));
    }

    fn visible(&self) -> Vec<String> {
        names(self.dir.path())
    }

    fn staged(&self) -> Vec<String> {
        let mut names = names(&self.dir.path().join(".onepoll"));
        names.retain(|name| name != "lock");
        names
    }

    fn answers(&mut self, client: ConnId) -> Vec<Result<FileFacts, FileErrorKind>> {
        let mut unread = self.stage.hears(client);
        let mut decoder = FileAnswers::new();
        let mut all = Vec::new();
        while let Some((answer, taken)) = decoder.decode(&unread).unwrap() {
            match answer {
                FileAnswer::Ok(facts) => all.push(Ok(facts)),
                FileAnswer::Error(error) => all.push(Err(error.kind)),
                FileAnswer::Bytes(_) | FileAnswer::Part => {}
            }
            unread.drain(..taken);
        }
        all
    }
}

fn performed(errand: &Errand) -> Vec<u8> {
    let files: Vec<OwnedFd> = errand
        .files
        .iter()
        .map(|file| file.try_clone().unwrap())
        .collect();
    let mut out = Vec::new();
    perform(&errand.order, &files, &mut out).unwrap();
    out
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".onepoll")
        .collect();
    names.sort();
    names
}

fn sum(of: &[u8]) -> Sha256Sum {
    let mut sha256 = Sha256::new();
    sha256.update(of);
    sha256.finish()
}

fn upload(name: &str, bytes: &[u8], form: UploadForm) -> Vec<u8> {
    let mut out = Vec::new();
    let upload = Upload {
        name: name.to_owned(),
        size: Some(bytes.len() as u64),
        md5: None,
        sha256: None,
        kept: None,
        has_end: false,
        form,
    };
    FileRequest::Upload(Box::new(upload))
        .encode(&mut out)
        .unwrap();
    out.extend_from_slice(bytes);
    out
}

#[test]
fn f1_nothing_is_acknowledged_or_visible_before_the_child_has_done_it_all() {
    let mut scene = Scene::new(|_| {});
    let client = scene.stage.enters();
    scene
        .stage
        .says(client, &upload("a", b"hello", UploadForm::Framed));
    let errand = scene.stage.errand().unwrap();
    assert_eq!((scene.visible().len(), scene.staged().len()), (0, 1));
    assert_eq!(scene.answers(client), []);
    let out = performed(&errand);
    assert_eq!(scene.visible(), ["a"]);
    assert_eq!(scene.answers(client), []);
    // What it says comes in pieces, too.
    let (first, last) = out.split_at(out.len() - 1);
    scene
        .stage
        .errand_has(errand.number, ErrandEvent::Wrote(first));
    assert_eq!(scene.answers(client), []);
    scene
        .stage
        .errand_has(errand.number, ErrandEvent::Wrote(last));
    let answers = scene.answers(client);
    let Ok(facts) = &answers[0] else {
        panic!("{answers:?}")
    };
    assert_eq!((facts.size, facts.sha256), (Some(5), Some(sum(b"hello"))));
    assert!(scene.staged().is_empty());
    let notes = scene.stage.notes();
    assert_eq!((notes.len(), notes[0].fate), (1, FileFate::Stored));
}

#[test]
fn f1_a_child_that_ends_without_a_word_stores_nothing_that_is_acknowledged() {
    for event in [
        ErrandEvent::Ended(Exit::Signal(9)),
        ErrandEvent::Ended(Exit::Code(1)),
        ErrandEvent::Failed(io::ErrorKind::OutOfMemory.into()),
    ] {
        let mut scene = Scene::new(|_| {});
        let client = scene.stage.enters();
        scene
            .stage
            .says(client, &upload("a", b"hello", UploadForm::Framed));
        let errand = scene.stage.errand().unwrap();
        scene.stage.errand_has(errand.number, event);
        assert_eq!(scene.answers(client), [Err(FileErrorKind::System)]);
        assert!(scene.visible().is_empty() && scene.staged().is_empty());
        assert_eq!(scene.stage.service.count.reserved, 0);
    }
}

#[test]
fn f1_a_file_is_stored_though_its_client_has_gone() {
    let mut scene = Scene::new(|_| {});
    let client = scene.stage.enters();
    scene
        .stage
        .says(client, &upload("a", b"hello", UploadForm::Framed));
    scene.stage.leaves(client);
    let other = scene.stage.enters();
    assert_eq!(scene.works(), 1);
    assert_eq!(scene.visible(), ["a"]);
    assert_eq!(scene.answers(other), []);
}

#[test]
fn f1_the_digest_is_that_of_what_is_on_the_disk() {
    let mut scene = Scene::new(|_| {});
    let client = scene.stage.enters();
    scene.wrong.set(Wrong::Flipped);
    scene
        .stage
        .says(client, &upload("a", b"hello", UploadForm::Framed));
    scene.works();
    let answers = scene.answers(client);
    let Ok(facts) = &answers[0] else {
        panic!("{answers:?}")
    };
    assert_eq!(facts.sha256, Some(sum(b"idmmn")));
    // Nor is it that which was told.
    let told = Upload {
        name: "b".to_owned(),
        size: Some(5),
        md5: None,
        sha256: Some(sum(b"hello")),
        kept: None,
        has_end: false,
        form: UploadForm::Framed,
    };
    let mut out = Vec::new();
    told.encode(&mut out).unwrap();
    out.extend_from_slice(b"hello");
    scene.stage.says(client, &out);
    scene.works();
    assert_eq!(scene.answers(client), [Err(FileErrorKind::Digest)]);
    assert_eq!(scene.visible(), ["a"]);
}

/// An upload whose end is announced, and the end.
fn announced(name: &str, size: usize, kept: Option<Kept>) -> Vec<u8> {
    let upload = Upload {
        name: name.to_owned(),
        size: Some(size as u64),
        md5: None,
        sha256: None,
        kept,
        has_end: true,
        form: UploadForm::Resumable,
    };
    let mut out = Vec::new();
    upload.encode(&mut out).unwrap();
    out
}

fn end(of: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    FileRequest::End(Some(sum(of))).encode(&mut out).unwrap();
    out
}

#[test]
fn f3_a_file_whose_end_is_announced_is_stored_when_that_has_come_and_agrees() {
    let mut scene = Scene::new(|_| {});
    let client = scene.stage.enters();
    for data in [&b"hello"[..], b""] {
        scene.stage.says(client, &announced("a", data.len(), None));
        scene.stage.says(client, data);
        assert_eq!(scene.works(), 0, "its digest is missing");
        scene.stage.says(client, &end(b"other"));
        assert_eq!(scene.works(), 1);
        assert_eq!(scene.answers(client), [Err(FileErrorKind::Digest)]);
        assert!(scene.visible().is_empty() && scene.staged().is_empty());
    }
    scene.stage.says(client, &announced("a", 5, None));
    scene.stage.says(client, b"hello");
    scene.stage.says(client, &end(b"hello"));
    scene.works();
    assert!(scene.answers(client)[0].is_ok());
    assert_eq!(scene.visible(), ["a"]);
    // Refused, with what follows of it: the end, too.
    let refused = [&announced("a", 5, None)[..], b"hello", &end(b"hello")].concat();
    scene.stage.says(client, &refused);
    assert_eq!(scene.answers(client), [Err(FileErrorKind::Exists)]);
    scene
        .stage
        .says(client, &upload("b", b"", UploadForm::Framed));
    scene.works();
    assert!(scene.answers(client)[0].is_ok());
}

#[test]
fn f3_the_end_of_what_another_connection_goes_on_with_stores_nothing() {
    let data = vec![7; 100_000];
    let mut scene = Scene::new(|_| {});
    let (one, two) = (scene.stage.enters(), scene.stage.enters());
    scene.stage.says(one, &announced("a", data.len(), None));
    scene.stage.says(one, &data);
    let mut resume = Vec::new();
    FileRequest::Resume {
        name: "a".to_owned(),
        size: data.len() as u64,
    }
    .encode(&mut resume)
    .unwrap();
    scene.stage.says(two, &resume);
    scene.works_for(two);
    let answers = scene.answers(two);
    let Ok(facts) = &answers[0] else {
        panic!("{answers:?}")
    };
    assert_eq!(facts.offset, Some(data.len() as u64));
    scene.stage.says(one, &end(&data));
    assert_eq!(scene.works(), 0);
    assert_eq!(scene.answers(one), [Err(FileErrorKind::Changed)]);
    let kept = Kept {
        bytes: data.len() as u64,
        sha256: sum(&data),
    };
    scene
        .stage
        .says(two, &announced("a", data.len(), Some(kept)));
    assert_eq!(scene.works(), 0);
    scene.stage.says(two, &end(&data));
    assert_eq!(scene.works(), 1);
    assert!(scene.answers(two)[0].is_ok());
    assert_eq!(scene.visible(), ["a"]);
}

#[test]
fn fault_g12_what_a_child_works_on_for_a_server_that_was_killed_is_nobodys() {
    for form in [UploadForm::Framed, UploadForm::Resumable] {
        let mut scene = Scene::new(|_| {});
        let client = scene.stage.enters();
        let size = 1 << 20;
        let mut begins = upload("a", &vec![7; size], form);
        begins.truncate(begins.len() - size);
        scene.stage.says(client, &begins);
        // The child takes room for it when its server is killed.
        let errand = scene.stage.job(client).and_then(|job| job.errand).unwrap();
        drop(scene.stage);
        let (_, left) = Root::open(scene.dir.path(), true, Occasion::Start).unwrap();
        let is_kept = form == UploadForm::Resumable;
        assert_eq!(left.len(), usize::from(is_kept), "{form:?}");
        assert!(performed(&errand).is_empty());
    }
    // Nor does a child leave what it cannot store, with nobody there who would remove it.
    let dir = tempfile::tempdir().unwrap();
    let (root, _) = Root::open(dir.path(), true, Occasion::Start).unwrap();
    let found = root.stage("tmp-1").unwrap();
    let order = Order::Store {
        sync: true,
        overwrite: Overwrite::Refuse,
        files: vec![Store {
            staged: "tmp-1".to_owned(),
            name: "a".to_owned(),
            size: 0,
            md5: None,
            sha256: Some("0".repeat(64)),
            digested: None,
        }],
    };
    let errand = Errand {
        number: 1,
        order: order.text(),
        files: root.directories().into_iter().chain([found.file]).collect(),
        within: Duration::from_secs(1),
    };
    performed(&errand);
    assert_eq!(names(&dir.path().join(".onepoll")), ["lock"]);
}

#[test]
fn a_root_that_a_child_of_a_killed_server_still_has_is_waited_for_at_the_start_only() {
    let dir = tempfile::tempdir().unwrap();
    drop(Root::open(dir.path(), true, Occasion::Start).unwrap());
    let path = dir.path().join(".onepoll/lock");
    let held = std::fs::File::open(&path).unwrap();
    held.try_lock().unwrap();
    let refused = Root::open(dir.path(), true, Occasion::Reload)
        .err()
        .unwrap();
    assert!(refused.contains("another server stores files"), "{refused}");
    let opened = thread::scope(|scope| {
        let opener = scope.spawn(|| Root::open(dir.path(), true, Occasion::Start));
        // It has the lock's file open while it tries.
        let has_open = || {
            let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let links = all.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            links.filter(|link| *link == path).count()
        };
        while has_open() < 2 && !opener.is_finished() {
            thread::yield_now();
        }
        drop(held);
        opener.join().unwrap()
    });
    opened.unwrap();
}

#[test]
fn fault_g12_a_child_of_a_server_that_was_killed_stores_its_file_before_the_next_server_begins() {
    let dir = tempfile::tempdir().unwrap();
    drop(Root::open(dir.path(), true, Occasion::Start).unwrap());
    let (staged, named) = (dir.path().join(".onepoll/tmp-1"), dir.path().join("a"));
    for _ in 0..20 {
        let file = std::fs::File::create(&staged).unwrap();
        file.lock().unwrap();
        thread::scope(|scope| {
            let child = scope.spawn(|| {
                for _ in 0..1_000 {
                    thread::yield_now();
                }
                std::fs::rename(&staged, &named).unwrap();
                drop(file);
            });
            drop(Root::open(dir.path(), true, Occasion::Start).unwrap());
            // Else it would put an earlier version there that this server has replaced.
            std::fs::remove_file(&named).unwrap();
            child.join().unwrap();
            assert!(!named.exists());
        });
    }
}

#[test]
fn fault_g12_what_got_its_own_name_while_it_was_opened_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let (root, _) = Root::open(dir.path(), true, Occasion::Start).unwrap();
    let (child, _) = Root::open(dir.path(), true, Occasion::Start).unwrap();
    let (staging, named) = (dir.path().join(".onepoll/part-1"), dir.path().join("a"));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let torn = thread::scope(|scope| {
        // The child of a server that was killed, again and again.
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok(found) = child.stage("part-1") {
                    let _ = child.write(&found.file, b"whole", 0);
                    let _ = std::fs::rename(&staging, &named);
                }
            }
        });
        let mut torn = 0;
        for _ in 0..5_000 {
            if let Ok(found) = root.stage("part-1") {
                let _ = root.write(&found.file, b"other", 0);
                torn += usize::from(std::fs::read(&named).is_ok_and(|read| read == b"other"));
                root.unstage("part-1", Some(&found.file));
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        torn
    });
    assert_eq!(torn, 0);
}

#[test]
fn fault_g6_an_upload_that_comes_when_the_one_before_has_just_been_stored_is_another() {
    let mut scene = Scene::new(|options| options.overwrite = Overwrite::Replace);
    let client = scene.stage.enters();
    let sent = upload("a", b"hello", UploadForm::Resumable);
    scene.stage.says(client, &sent);
    let errand = scene.stage.errand().unwrap();
    // The child is done, and nobody has heard of that when the next one comes.
    let out = performed(&errand);
    scene.stage.says(client, &sent[..sent.len() - 1]);
    scene
        .stage
        .errand_has(errand.number, ErrandEvent::Wrote(&out));
    scene
        .stage
        .errand_has(errand.number, ErrandEvent::Ended(Exit::Code(0)));
    assert!(scene.answers(client)[0].is_ok());
    scene.stage.says(client, b"o");
    assert_eq!(scene.works(), 1);
    assert!(scene.answers(client)[0].is_ok());
    assert_eq!(scene.visible(), ["a"]);
    assert!(scene.staged().is_empty());
}

#[test]
fn fault_g6_who_was_told_of_an_upload_and_sends_another_keeps_that() {
    let data = vec![7; 100_000];
    let mut scene = Scene::new(|_| {});
    let mut resume = Vec::new();
    FileRequest::Resume {
        name: "a".to_owned(),
        size: data.len() as u64,
    }
    .encode(&mut resume)
    .unwrap();
    let first = scene.stage.enters();
    scene.stage.says(first, &announced("a", data.len(), None));
    scene.stage.says(first, &data[..70_000]);
    scene.stage.leaves(first);
    let (one, two) = (scene.stage.enters(), scene.stage.enters());
    scene.stage.says(one, &resume);
    scene.works_for(one);
    assert_eq!(scene.answers(one)[0].as_ref().unwrap().offset, Some(70_000));
    let sent = upload("b", b"something else", UploadForm::Framed);
    scene.stage.says(one, &sent[..sent.len() - 1]);
    scene.stage.says(two, &resume);
    scene.works_for(two);
    assert_eq!(scene.answers(two)[0].as_ref().unwrap().offset, Some(70_000));
    scene.stage.says(one, b"e");
    assert_eq!(scene.works(), 1);
    assert!(scene.answers(one)[0].is_ok());
    assert_eq!(scene.visible(), ["b"]);
    // It is still there for whoever comes, and nobody who was told of it goes on.
    scene.stage.leaves(two);
    let three = scene.stage.enters();
    scene.stage.says(three, &resume);
    scene.works_for(three);
    let offset = scene.answers(three)[0].as_ref().unwrap().offset;
    assert_eq!(offset, Some(70_000));
}

/// What can be looked up in and renamed to, and not be synced: fsync(2) refuses a descriptor that is a mere path.
fn path_of(dir: &Path) -> OwnedFd {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(dir, flags, Mode::empty()).unwrap()
}

#[test]
fn fault_g5_a_file_whose_directory_cannot_be_synced_is_not_acknowledged() {
    for (sync, kind) in [(true, Err(FileErrorKind::System)), (false, Ok(()))] {
        let dir = tempfile::tempdir().unwrap();
        let (root, _) = Root::open(dir.path(), true, Occasion::Start).unwrap();
        let staged = root.stage("tmp-1").unwrap();
        root.write(&staged.file, b"hello", 0).unwrap();
        let order = Order::Store {
            sync,
            overwrite: Overwrite::Refuse,
            files: vec![Store {
                staged: "tmp-1".to_owned(),
                name: "a".to_owned(),
                size: 5,
                md5: None,
                sha256: None,
                digested: None,
            }],
        };
        let [_, staging] = &root.directories()[..] else {
            panic!("root and staging directory")
        };
        let files = [
            path_of(dir.path()),
            staging.try_clone().unwrap(),
            staged.file.try_clone().unwrap(),
        ];
        let mut out = Vec::new();
        perform(&order.text(), &files, &mut out).unwrap();
        let (answer, _) = FileAnswers::new().decode(&out).unwrap().unwrap();
        let said = match answer {
            FileAnswer::Error(error) => Err(error.kind),
            _ => Ok(()),
        };
        assert_eq!(said, kind);
    }
}

#[test]
fn fault_g2_no_link_leads_out_of_the_root_in_any_of_its_directories() {
    let mut scene = Scene::new(|options| {
        options.names = Names::Tree;
        options.overwrite = Overwrite::Replace;
    });
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), b"outside").unwrap();
    let link = |name: &str, to: &Path| {
        std::os::unix::fs::symlink(to, scene.dir.path().join(name)).unwrap();
    };
    link("dir", outside.path());
    link("file", &outside.path().join("file"));
    link("up", Path::new(".."));
    let client = scene.stage.enters();
    for name in ["dir/file", "file", "up/etc"] {
        for ask in [
            FileRequest::Download {
                name: name.to_owned(),
                kept: None,
            },
            FileRequest::Verify {
                name: name.to_owned(),
                bytes: None,
            },
        ] {
            let mut out = Vec::new();
            ask.encode(&mut out).unwrap();
            scene.stage.says(client, &out);
            assert_eq!(
                scene.answers(client),
                [Err(FileErrorKind::NotFound)],
                "{name}"
            );
        }
    }
    scene
        .stage
        .says(client, &upload("dir/file", b"evil", UploadForm::Framed));
    scene.works();
    assert!(scene.answers(client)[0].is_err());
    assert_eq!(
        std::fs::read(outside.path().join("file")).unwrap(),
        b"outside"
    );
    assert_eq!(names(outside.path()), ["file"]);
}

#[test]
fn f1_short_writes_lose_nothing() {
    let mut scene = Scene::new(|_| {});
    let client = scene.stage.enters();
    scene.wrong.set(Wrong::Short);
    let data: Vec<u8> = (0..3000_u32).map(|n| n as u8).collect();
    scene
        .stage
        .says(client, &upload("a", &data, UploadForm::Framed));
    scene.works();
    assert_eq!(std::fs::read(scene.dir.path().join("a")).unwrap(), data);
}

#[test]
fn fault_g4_g5_a_disk_that_is_full_or_broken_is_said_and_the_next_file_is_stored() {
    for (wrong, kind) in [
        (Wrong::Full, FileErrorKind::NoRoom),
        (Wrong::Broken, FileErrorKind::System),
    ] {
        for form in [UploadForm::Framed, UploadForm::Naive, UploadForm::Resumable] {
            let mut scene = Scene::new(|_| {});
            let client = scene.stage.enters();
            scene.wrong.set(wrong);
            scene.stage.says(client, &upload("a", b"hello", form));
            assert_eq!(scene.answers(client), [Err(kind)]);
            assert!(scene.visible().is_empty() && scene.staged().is_empty());
            scene.wrong.set(Wrong::Nothing);
            scene.stage.says(client, &upload("a", b"hello", form));
            scene.works();
            assert!(scene.answers(client)[0].is_ok());
            assert_eq!(scene.visible(), ["a"]);
            let count = &scene.stage.service.count;
            assert_eq!((count.reserved, count.coming), (0, 0));
        }
    }
}

#[test]
fn fault_b10_g9_a_file_that_comes_too_slowly_ends_its_connection_and_is_kept_if_it_can_be() {
    for (form, is_kept) in [(UploadForm::Framed, false), (UploadForm::Resumable, true)] {
        let mut scene = Scene::new(|_| {});
        let client = scene.stage.enters();
        let data = vec![7; 200_000];
        let sent = upload("a", &data, form);
        scene.stage.says(client, &sent[..sent.len() - 100_000]);
        // Bytes that come one by one do not renew its time.
        for _ in 0..3 {
            scene.stage.waits(Duration::from_secs(29));
            scene.stage.says(client, &[7]);
        }
        assert!(!scene.stage.is_leaving(client));
        scene.stage.waits(Duration::from_secs(45));
        assert_eq!(scene.answers(client), [Err(FileErrorKind::TooSlow)]);
        assert!(scene.stage.is_leaving(client));
        assert!(scene.visible().is_empty());
        assert_eq!(scene.staged().len(), usize::from(is_kept));
    }
}

#[test]
fn fault_b10_what_came_fast_spares_nobody_for_long() {
    let mut scene = Scene::new(|_| {});
    let client = scene.stage.enters();
    let sent = upload("a", &vec![7; 4 << 20], UploadForm::Resumable);
    // At 1 KiB a second this would be time for half an hour.
    scene.stage.says(client, &sent[..100]);
    scene.works_for(client);
    scene.stage.says(client, &sent[100..2 << 20]);
    for _ in 0..3 {
        scene.stage.waits(Duration::from_secs(31));
    }
    assert_eq!(scene.answers(client), [Err(FileErrorKind::TooSlow)]);
    assert!(scene.stage.is_leaving(client));
    assert_eq!(scene.staged().len(), 1);
    let notes = scene.stage.notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].fate, FileFate::Refused);
}

#[test]
fn fault_g7_a_file_that_is_cut_is_told_of_with_the_reason() {
    let mut scene = Scene::new(|_| {});
    let client = scene.stage.enters();
    scene
        .stage
        .says(client, &upload("a", b"hello", UploadForm::Framed)[..]);
    let part = &upload("b", b"hello", UploadForm::Framed);
    scene.stage.says(client, &part[..part.len() - 2]);
    scene.stage.leaves(client);
    scene.works();
    let notes = scene.stage.notes();
    let told: Vec<_> = notes
        .iter()
        .map(|note| (note.fate, &*note.name, note.bytes))
        .collect();
    assert_eq!(
        told,
        [(FileFate::Refused, "b", 3), (FileFate::Stored, "a", 5)]
    );
    let why = notes[0].why.as_deref().unwrap();
    assert!(why.starts_with("the peer is gone"), "{why}");
}

#[test]
fn f3_what_is_kept_is_removed_when_its_time_is_over() {
    let mut scene = Scene::new(|options| options.keep_partial = Duration::from_secs(100));
    let client = scene.stage.enters();
    let sent = upload("a", &[7; 200_000], UploadForm::Resumable);
    scene.stage.says(client, &sent[..150_000]);
    scene.stage.ends(client);
    assert_eq!(scene.staged().len(), 1);
    // Whether anybody sends a file or not.
    for time in [10, 80, 80] {
        assert!(scene.stage.service.next_sweep().is_some());
        scene.stage.waits(Duration::from_secs(time));
    }
    assert_eq!(scene.staged(), [""; 0]);
    assert!(scene.stage.service.next_sweep().is_none());
    let client = scene.stage.enters();
    scene.stage.says(client, &sent[..150_000]);
    scene.stage.ends(client);
    assert_eq!(scene.staged().len(), 1);
    for (time, kept) in [(10, 1), (80, 1), (80, 0)] {
        scene.stage.waits(Duration::from_secs(time));
        let client = scene.stage.enters();
        scene
            .stage
            .says(client, &upload("b", b"", UploadForm::Framed));
        scene.works();
        std::fs::remove_file(scene.dir.path().join("b")).unwrap();
        assert_eq!(scene.staged().len(), kept, "{time}");
    }
}

#[test]
fn f3_an_upload_goes_on_only_with_the_digest_that_was_told() {
    let data: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    for lies in [false, true] {
        let mut scene = Scene::new(|_| {});
        let client = scene.stage.enters();
        let sent = upload("a", &data, UploadForm::Resumable);
        scene.stage.says(client, &sent[..sent.len() - 100_000]);
        // Room for a large file is taken by a child.
        scene.works_for(client);
        scene.stage.resumes(client);
        scene.stage.ends(client);
        scene.stage.leaves(client);
        let client = scene.stage.enters();
        let mut ask = Vec::new();
        let resume = FileRequest::Resume {
            name: "a".to_owned(),
            size: data.len() as u64,
        };
        resume.encode(&mut ask).unwrap();
        scene.stage.says(client, &ask);
        scene.works_for(client);
        let answers = scene.answers(client);
        let Ok(facts) = &answers[0] else {
            panic!("{answers:?}")
        };
        let at = facts.offset.unwrap();
        assert_eq!(at, 200_000);
        assert_eq!(facts.sha256, Some(sum(&data[..200_000])));
        let kept = Kept {
            bytes: at,
            sha256: if lies {
                sum(b"else")
            } else {
                sum(&data[..200_000])
            },
        };
        let upload = Upload {
            name: "a".to_owned(),
            size: Some(data.len() as u64),
            md5: None,
            sha256: None,
            kept: Some(kept),
            has_end: false,
            form: UploadForm::Resumable,
        };
        let mut out = Vec::new();
        FileRequest::Upload(Box::new(upload))
            .encode(&mut out)
            .unwrap();
        out.extend_from_slice(&data[200_000..]);
        scene.stage.says(client, &out);
        if lies {
            assert_eq!(scene.answers(client), [Err(FileErrorKind::Changed)]);
            assert!(scene.visible().is_empty());
            continue;
        }
        scene.works_for(client);
        scene.stage.resumes(client);
        scene.works();
        assert!(scene.answers(client)[0].is_ok());
        assert_eq!(std::fs::read(scene.dir.path().join("a")).unwrap(), data);
    }
}

#[test]
fn fault_g16_as_many_files_come_at_once_as_may_and_the_others_wait() {
    let mut scene = Scene::new(|_| {});
    let open = FILES_OPEN_MAX;
    let clients: Vec<ConnId> = (0..open + 3).map(|_| scene.stage.enters()).collect();
    for (n, &client) in clients.iter().enumerate() {
        let sent = upload(&format!("f{n}"), b"1234", UploadForm::Framed);
        scene.stage.says(client, &sent[..sent.len() - 1]);
    }
    assert_eq!(scene.staged().len(), open);
    for (n, &client) in clients.iter().enumerate() {
        assert_eq!(scene.stage.is_held(client), n >= open, "{n}");
    }
    // One that has come, and one that is gone, make room each.
    scene.stage.says(clients[0], b"4");
    scene.works();
    scene.stage.leaves(clients[1]);
    scene.stage.waits(Duration::ZERO);
    let waiting = clients.iter().filter(|&&client| client != clients[1]);
    let held = waiting.filter(|&&client| scene.stage.is_held(client));
    assert_eq!(held.count(), 1);
}

#[test]
fn fault_g16_who_waits_for_a_place_of_a_source_keeps_it_from_none_of_another() {
    let mut scene = Scene::new(|_| {});
    let sources = [1, 2].map(|last| Ipv4Addr::new(192, 0, 2, last));
    let mut clients = Vec::new();
    for n in 0..=UPLOADS_PER_SOURCE_MAX {
        // That of the first source is the first to wait.
        for source in sources {
            let client = scene.stage.enters_from(source);
            let sent = upload(&format!("f{n}-{source}"), b"1234", UploadForm::Framed);
            scene.stage.says(client, &sent[..sent.len() - 1]);
            clients.push(client);
        }
    }
    let last = clients.len() - 1;
    assert!(scene.stage.is_held(clients[last]) && scene.stage.is_held(clients[last - 1]));
    scene.stage.leaves(clients[1]);
    scene.stage.waits(Duration::ZERO);
    assert!(!scene.stage.is_held(clients[last]));
    assert!(scene.stage.is_held(clients[last - 1]));
}

#[test]
fn fault_g16_whoever_has_waited_before_takes_nobodys_turn() {
    let mut scene = Scene::new(|options| options.sync = Sync::Off);
    let busy = scene.stage.enters();
    // It waits for its own files to be stored, again and again, and has none that comes in the end.
    let all: Vec<u8> = (0..3 * FILES_PENDING_PER_CONNECTION_MAX)
        .flat_map(|n| upload(&format!("b{n}"), b"1", UploadForm::Framed))
        .collect();
    scene.stage.says(busy, &all);
    assert!(scene.stage.is_held(busy));
    scene.works();
    assert!(!scene.stage.is_held(busy));
    let clients: Vec<ConnId> = (0..=FILES_OPEN_MAX).map(|_| scene.stage.enters()).collect();
    for (n, &client) in clients.iter().enumerate() {
        let sent = upload(&format!("f{n}"), b"1234", UploadForm::Framed);
        scene.stage.says(client, &sent[..sent.len() - 1]);
    }
    assert!(scene.stage.is_held(clients[FILES_OPEN_MAX]));
    scene.stage.leaves(clients[0]);
    scene.stage.waits(Duration::ZERO);
    assert!(!scene.stage.is_held(clients[FILES_OPEN_MAX]));
}

#[test]
fn sync_batch_takes_what_has_come_meanwhile_and_each_takes_one() {
    for (sync, children) in [(Sync::Each, 10), (Sync::Batch, 2)] {
        let mut scene = Scene::new(|options| options.sync = sync);
        let client = scene.stage.enters();
        for n in 0..10 {
            scene
                .stage
                .says(client, &upload(&format!("f{n}"), b"x", UploadForm::Framed));
        }
        assert_eq!(scene.works(), children, "{sync:?}");
        assert_eq!(scene.answers(client).len(), 10);
        assert_eq!(scene.visible().len(), 10);
    }
}

/// A large upload whose first bytes have come, and the child that digests it while the rest comes.
fn followed(scene: &mut Scene, client: ConnId, all: &[u8]) -> (u64, thread::JoinHandle<Vec<u8>>) {
    scene.stage.says(client, &all[..all.len() / 2]);
    // Room is taken for it first.
    scene.works_for(client);
    scene.stage.resumes(client);
    let errand = scene.stage.errand().unwrap();
    let number = errand.number;
    (number, thread::spawn(move || performed(&errand)))
}

fn large(fill: u8) -> Vec<u8> {
    vec![fill; usize::try_from(FILE_FOLLOWED_BYTES_MIN).unwrap() + 5]
}

#[test]
fn a_large_file_is_digested_while_it_comes_and_it_is_what_is_on_the_disk_that_is() {
    for wrong in [Wrong::Nothing, Wrong::Flipped] {
        for says_it_early in [true, false] {
            let mut scene = Scene::new(|_| {});
            scene.wrong.set(wrong);
            let client = scene.stage.enters();
            let bytes = large(1);
            let told = Upload {
                name: "a".to_owned(),
                size: Some(bytes.len() as u64),
                md5: None,
                sha256: Some(sum(&bytes)),
                kept: None,
                has_end: false,
                form: UploadForm::Framed,
            };
            let mut all = Vec::new();
            told.encode(&mut all).unwrap();
            all.extend_from_slice(&bytes);
            let (number, child) = followed(&mut scene, client, &all);
            scene.stage.says(client, &all[all.len() / 2..]);
            // It is not read a second time.
            assert!(scene.stage.errand().is_none());
            let out = child.join().unwrap();
            if says_it_early {
                let said = ErrandEvent::Wrote(&out);
                scene.stage.errand_has(number, said);
            }
            scene
                .stage
                .errand_has(number, ErrandEvent::Ended(Exit::Code(0)));
            let errand = scene.stage.errand().unwrap();
            let order = String::from_utf8(errand.order.clone()).unwrap();
            assert_eq!(order.contains("\"digested\":\""), says_it_early, "{order}");
            let out = performed(&errand);
            scene
                .stage
                .errand_has(errand.number, ErrandEvent::Wrote(&out));
            match wrong {
                Wrong::Nothing => {
                    let [Ok(facts)] = &scene.answers(client)[..] else {
                        panic!("it is stored")
                    };
                    assert_eq!(facts.sha256, Some(sum(&bytes)));
                    assert_eq!(std::fs::read(scene.dir.path().join("a")).unwrap(), bytes);
                }
                _ => {
                    assert_eq!(scene.answers(client), [Err(FileErrorKind::Digest)]);
                    assert!(scene.visible().is_empty());
                }
            }
        }
    }
}

#[test]
fn the_child_that_digests_a_file_ends_when_no_more_of_it_comes() {
    let mut scene = Scene::new(|_| {});
    let client = scene.stage.enters();
    let all = upload("a", &large(1), UploadForm::Framed);
    let (number, child) = followed(&mut scene, client, &all);
    scene.stage.leaves(client);
    assert_eq!(child.join().unwrap(), b"");
    scene
        .stage
        .errand_has(number, ErrandEvent::Ended(Exit::Code(0)));
    assert!(scene.stage.errand().is_none() && scene.visible().is_empty());
}

#[test]
fn a_file_that_waits_for_its_digest_is_not_overtaken_by_the_next_of_its_name() {
    let mut scene = Scene::new(|options| options.overwrite = Overwrite::Replace);
    let client = scene.stage.enters();
    let all = upload("a", &large(1), UploadForm::Framed);
    let (number, child) = followed(&mut scene, client, &all);
    scene.stage.says(client, &all[all.len() / 2..]);
    scene
        .stage
        .says(client, &upload("a", b"later", UploadForm::Framed));
    assert!(scene.stage.errand().is_none());
    let out = child.join().unwrap();
    scene.stage.errand_has(number, ErrandEvent::Wrote(&out));
    assert_eq!(scene.works(), 2);
    assert_eq!(scene.answers(client).len(), 2);
    assert_eq!(std::fs::read(scene.dir.path().join("a")).unwrap(), b"later");
}

#[test]
fn a_file_that_was_sent_is_digested_again_if_it_may_have_changed() {
    let mut scene = Scene::new(|_| {});
    let path = scene.dir.path().join("a");
    std::fs::write(&path, large(1)).unwrap();
    // Whether a child digests it for whoever asks for it now.
    let mut is_digested = |is_settled, waits| {
        scene.is_settled.set(is_settled);
        scene.stage.waits(waits);
        let client = scene.stage.enters();
        let mut asks = Vec::new();
        let download = FileRequest::Download {
            name: "a".to_owned(),
            kept: None,
        };
        download.encode(&mut asks).unwrap();
        scene.stage.says(client, &asks);
        let job = scene.stage.job(client);
        let errand = job.and_then(|job| job.errand);
        if let Some(errand) = &errand {
            scene.stage.cannot(client, ChildEvent::Started);
            scene.stage.writes(client, Output::Out, &performed(errand));
        }
        scene.stage.leaves(client);
        errand.is_some()
    };
    let now = Duration::ZERO;
    // What is written to at this moment could be once more, and have the same times.
    assert!(is_digested(false, now) && is_digested(true, now));
    assert!(!is_digested(true, now) && is_digested(false, now));
    std::fs::write(&path, large(2)).unwrap();
    assert!(is_digested(true, now) && !is_digested(true, now));
    assert!(is_digested(true, FILE_DIGEST_KNOWN) && !is_digested(true, now));
}

#[test]
fn fault_h1_a_file_that_comes_when_the_server_stops_is_stored() {
    let mut scene = Scene::new(|_| {});
    let (idle, busy) = (scene.stage.enters(), scene.stage.enters());
    let sent = upload("a", b"hello", UploadForm::Framed);
    scene.stage.says(busy, &sent[..sent.len() - 2]);
    scene.stage.stops();
    assert!(scene.stage.is_leaving(idle) && !scene.stage.is_leaving(busy));
    scene.stage.says(busy, b"lo");
    scene.works();
    assert!(scene.answers(busy)[0].is_ok());
    assert!(scene.stage.is_leaving(busy));
    assert_eq!(scene.visible(), ["a"]);
}
