//! Files (F1 to F3): seeds of their own. What is stored is on a real disk, and what children do with it is done there,
//! at a moment of the simulated time; some cannot be started, some die before they have done it, after, or in the middle
//! of saying so, and some are so slow that they are ended. Clients send, resume, fetch, read slowly, and vanish.
//!
//! ```text
//! ONEPOLL_SIM_SEED=n cargo test --test simulator files::seeds_of_files     one seed again
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use onepoll::client::{FileDialogue, FileNews};
use onepoll::service::file::{Files, Options, Overwrite, Sync};
use onepoll::service::{Occasion, Service as _};
use onepoll::wire::{
    FileError, FileErrorKind, FileFacts, FileRequest, Kept, Sha256, Sha256Sum, Upload, UploadForm,
};

use crate::campaign::{Begun, campaign};
use crate::coverage::Coverage;
use crate::family::Step;
use crate::kernel::{Client, Found, MICRO, MILLI, Net, SECOND};
use crate::operator::{Kind, any_options};
use crate::overheard::Temper;
use crate::partings::Leave;
use crate::play::Play;
use crate::random::Random;
use crate::sources::Account;

/// How long files are, by their number: what is kept has 64 KiB, and above 256 KiB children reserve and digest.
const SIZES: [usize; 8] = [0, 1, 700, 5_000, 20_000, 70_000, 120_000, 300_000];

/// Files that are there before anybody comes.
const THERE: [usize; 3] = [0, 4, 7];

/// One of which there is a part, now and then.
const KEPT: usize = 5;

/// What is beneath the root, and what may be.
#[derive(Debug)]
struct Shelf {
    root: PathBuf,
    overwrite: Overwrite,
    /// Children may fail.
    has_bad_children: bool,
    /// By name: digests of all that somebody has sent, or begun to.
    sent: BTreeMap<String, Vec<Sha256Sum>>,
    acknowledged: u64,
    figures: Figures,
}

/// What has happened, in all seeds together.
#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    stored: u64,
    resumed: u64,
    fetched: u64,
    refused: u64,
    failed: u64,
}

fn sum(of: &[u8]) -> Sha256Sum {
    let mut sha256 = Sha256::new();
    sha256.update(of);
    sha256.finish()
}

/// A file of this number, in one of two versions of the same length.
fn content(number: usize, version: u64) -> Vec<u8> {
    let mut random = Random::new(number as u64 * 2 + version + 1);
    let mut bytes = Vec::with_capacity(SIZES[number] + 8);
    while bytes.len() < SIZES[number] {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(SIZES[number]);
    bytes
}

impl Shelf {
    /// A file of this name is there: it is one of those that were sent, whole.
    fn check(&self, name: &str) -> Vec<u8> {
        let found = std::fs::read(self.root.join(name));
        let found = found.unwrap_or_else(|error| panic!("{name} is not there: {error}"));
        // With `overwrite=rename` it has a number behind it.
        let first = name.split('-').next().unwrap_or_default();
        let sent = self.sent.get(first);
        assert!(
            sent.is_some_and(|sent| sent.contains(&sum(&found))),
            "{name} is torn: {} bytes",
            found.len()
        );
        found
    }

    fn check_all(&self) {
        for entry in std::fs::read_dir(&self.root).expect("the root is there") {
            let name = entry.expect("an entry").file_name();
            if name != ".onepoll" {
                self.check(name.to_str().expect("a name"));
            }
        }
    }

    /// What is in the staging directory that nobody can go on with.
    fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(".onepoll")).expect("it is there");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.into_string().expect("a name"))
            .filter(|name| name != "lock" && !name.starts_with("part-"))
            .collect()
    }
}

/// What a client does.
#[derive(Debug, Clone, Copy)]
enum Item {
    Upload {
        number: usize,
        version: u64,
        form: UploadForm,
        told: Told,
    },
    Parts {
        number: usize,
        version: u64,
        told: Told,
    },
    /// And then an upload.
    Resume {
        number: usize,
        version: u64,
    },
    /// All of it, or from so many bytes on.
    Fetch {
        number: usize,
        kept: usize,
    },
    Verify {
        number: usize,
    },
    List,
}

/// Which digest a client tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Right,
    Wrong,
    /// Behind the bytes.
    RightLater,
    WrongLater,
}

impl Told {
    fn is_wrong(self) -> bool {
        matches!(self, Told::Wrong | Told::WrongLater)
    }
}

/// What a client waits for.
#[derive(Debug)]
enum Want {
    Stored {
        number: usize,
        version: u64,
        told: Told,
        in_parts: bool,
        is_resumed: bool,
    },
    Kept {
        number: usize,
        version: u64,
    },
    File {
        number: usize,
        got: Vec<u8>,
    },
    Digest,
    List,
}

impl Item {
    fn any(random: &mut Random, largest: usize) -> Item {
        // Of what is kept when it is cut there are few, so that somebody goes on with it.
        let number = match largest == SIZES.len() && random.once_in(2) {
            true => 5 + random.index(2),
            false => random.index(largest),
        };
        let version = random.pick(&[0, 0, 0, 1]);
        let told = random.pick(&[Told::Nothing, Told::Right, Told::Right, Told::Wrong]);
        match random.below(10) {
            0 | 1 => Item::Upload {
                number,
                version,
                form: random.pick(&[UploadForm::Framed, UploadForm::Naive]),
                told,
            },
            2 | 3 => Item::Upload {
                number,
                version,
                form: UploadForm::Resumable,
                told: random.pick(&[told, Told::RightLater, Told::RightLater, Told::WrongLater]),
            },
            4 => Item::Parts {
                number,
                version,
                told: random.pick(&[Told::Nothing, Told::RightLater, Told::WrongLater]),
            },
            5 | 6 => Item::Resume { number, version },
            7 => Item::Fetch {
                number,
                kept: if random.once_in(2) {
                    0
                } else {
                    random.index(SIZES[number] + 1)
                },
            },
            8 => random.pick(&[
                Item::Fetch {
                    number: THERE[number % 3].min(largest - 1),
                    kept: 0,
                },
                Item::Verify { number },
            ]),
            _ => Item::List,
        }
    }
}

/// A client of files.
#[derive(Debug)]
struct Visitor {
    listener: usize,
    shelf: Rc<RefCell<Shelf>>,
    script: VecDeque<Item>,
    wants: VecDeque<Want>,
    /// Does not wait for an answer before it asks for more.
    is_early: bool,
    write_max: usize,
    read_max: usize,
    rest_max: u64,
    leaves: Option<Leave>,
    leaves_in: usize,
    link: Option<usize>,
    dialogue: FileDialogue,
    pending: Vec<u8>,
    unread: Vec<u8>,
    has_shut: bool,
    /// The server has said why it may end.
    may_end: bool,
    is_home: bool,
}

impl Visitor {
    fn of(
        random: &mut Random,
        listener: usize,
        shelf: &Rc<RefCell<Shelf>>,
        largest: usize,
    ) -> Visitor {
        let least = SIZES[largest - 1] / 64;
        Visitor {
            listener,
            shelf: Rc::clone(shelf),
            script: (0..random.some(6))
                .map(|_| Item::any(random, largest))
                .collect(),
            wants: VecDeque::new(),
            is_early: random.once_in(2),
            write_max: 1 + random.size(1 << 16).max(least),
            read_max: 1 + random.size(1 << 16).max(least),
            rest_max: random.pick(&[5 * MICRO, 50 * MICRO, MILLI, 20 * MILLI]),
            leaves: random.pick(&[
                None,
                None,
                Some(Leave::Reset),
                Some(Leave::Close),
                Some(Leave::Shut),
            ]),
            leaves_in: random.some(60),
            link: None,
            dialogue: FileDialogue::new(),
            pending: Vec::new(),
            unread: Vec::new(),
            has_shut: false,
            may_end: false,
            is_home: false,
        }
    }

    fn go_home(&mut self) -> Option<u64> {
        self.is_home = true;
        None
    }

    fn ask(&mut self, request: &FileRequest<'_>, want: Option<Want>) {
        self.dialogue.ask(request).expect("headers are short");
        self.wants.extend(want);
        self.pending.append(self.dialogue.out());
    }

    fn begin(&mut self, item: Item, random: &mut Random) {
        match item {
            Item::Upload {
                number,
                version,
                form,
                told,
            } => {
                self.upload(number, version, form, told, None);
            }
            Item::Parts {
                number,
                version,
                told,
            } => {
                let data = self.sends(number, version);
                let upload = Upload {
                    size: None,
                    ..plain(number, UploadForm::Resumable)
                };
                let want = Want::Stored {
                    number,
                    version,
                    told,
                    in_parts: true,
                    is_resumed: false,
                };
                self.ask(&FileRequest::Upload(Box::new(upload)), Some(want));
                for part in data.chunks(1 + random.size(100_000)) {
                    self.dialogue.give_part(part);
                }
                let end = FileRequest::End(told_of(told, &data));
                self.ask(&end, None);
            }
            Item::Resume { number, version } => {
                let request = FileRequest::Resume {
                    name: name(number),
                    size: SIZES[number] as u64,
                };
                self.ask(&request, Some(Want::Kept { number, version }));
            }
            Item::Fetch { number, kept } => {
                let got = content(number, 0)[..kept].to_vec();
                let kept_of = (kept > 0).then(|| Kept {
                    bytes: kept as u64,
                    sha256: sum(&got),
                });
                let request = FileRequest::Download {
                    name: name(number),
                    kept: kept_of,
                };
                self.ask(&request, Some(Want::File { number, got }));
            }
            Item::Verify { number } => {
                let request = FileRequest::Verify {
                    name: name(number),
                    bytes: None,
                };
                self.ask(&request, Some(Want::Digest));
            }
            Item::List => self.ask(&FileRequest::List, Some(Want::List)),
        }
    }

    /// What is sent under a name may be there from now on.
    fn sends(&self, number: usize, version: u64) -> Vec<u8> {
        let data = content(number, version);
        let mut shelf = self.shelf.borrow_mut();
        shelf.sent.entry(name(number)).or_default().push(sum(&data));
        data
    }

    fn upload(
        &mut self,
        number: usize,
        version: u64,
        form: UploadForm,
        told: Told,
        kept: Option<Kept>,
    ) {
        let data = self.sends(number, version);
        let from = kept.map_or(0, |kept| kept.bytes as usize);
        let is_later = matches!(told, Told::RightLater | Told::WrongLater);
        let upload = Upload {
            sha256: told_of(told, &data).filter(|_| !is_later),
            kept,
            has_end: is_later,
            ..plain(number, form)
        };
        let is_resumed = kept.is_some();
        let want = Want::Stored {
            number,
            version,
            told,
            in_parts: false,
            is_resumed,
        };
        self.ask(&FileRequest::Upload(Box::new(upload)), Some(want));
        self.pending.extend_from_slice(&data[from..]);
        if is_later {
            self.ask(&FileRequest::End(told_of(told, &data)), None);
        }
    }

    /// Whether the server had a reason to end that it may have.
    fn is_excused(&self, net: &Net, link: usize) -> bool {
        let link = &net.links[link];
        // What a child has half said has no end, and so the connection has.
        let is_half = matches!(self.wants.front(), Some(Want::List | Want::Digest));
        self.may_end
            || is_half && self.shelf.borrow().has_bad_children
            || net.stop_sent
            || net.may_evict
            || link.was_stuck()
            // Half a file has 30 s, and who is sent one.
            || net.now.saturating_sub(link.times.accepted) >= 30 * SECOND
            || link.was_idle()
            || link.has_lingered()
            || link.was_late(false)
            || link.excused
            || link.must_refuse
    }

    fn hear(&mut self, bytes: &[u8], net: &mut Net) {
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((news, taken)) = self.dialogue.next(&unread[at..]).expect("the protocol") {
            at += taken;
            match news {
                FileNews::Part | FileNews::Entry(_) => {}
                FileNews::Begins { offset, .. } => match self.wants.front_mut() {
                    Some(Want::File { got, .. }) => got.truncate(offset as usize),
                    other => panic!("a file begins: {other:?}"),
                },
                FileNews::Bytes(bytes) => match self.wants.front_mut() {
                    Some(Want::File { got, .. }) => got.extend_from_slice(bytes),
                    other => panic!("bytes of a file: {other:?}"),
                },
                FileNews::Done(facts) => self.done(&facts, net),
                FileNews::Ends(told) => self.came(told),
                FileNews::Listed { skipped } => {
                    assert_eq!(skipped, 0);
                    let want = self.wants.pop_front();
                    assert!(matches!(want, Some(Want::List)), "{want:?}");
                }
                FileNews::Refused(error) => self.refused(&error, net),
            }
        }
        unread.drain(..at);
        self.unread = unread;
    }

    fn done(&mut self, facts: &FileFacts, net: &mut Net) {
        match self.wants.pop_front() {
            Some(Want::Stored {
                number,
                version,
                told,
                is_resumed,
                ..
            }) => {
                let data = content(number, version);
                assert!(!told.is_wrong(), "stored with a wrong digest");
                assert_eq!(facts.sha256, Some(sum(&data)), "of what is on the disk");
                let mut shelf = self.shelf.borrow_mut();
                let named = facts.name.clone().unwrap_or_else(|| name(number));
                // It has its name before that is said; another may have taken its place since.
                let there = shelf.check(&named);
                if shelf.overwrite != Overwrite::Replace {
                    assert_eq!(sum(&there), sum(&data), "{named}");
                }
                shelf.acknowledged += 1;
                shelf.figures.stored += 1;
                shelf.figures.resumed += u64::from(is_resumed);
            }
            Some(Want::Kept { number, version }) => {
                let (offset, data) = (facts.offset.unwrap_or(0) as usize, content(number, version));
                let ours = data.get(..offset).map(sum);
                let kept = (offset > 0 && ours == facts.sha256).then(|| Kept {
                    bytes: offset as u64,
                    sha256: sum(&data[..offset]),
                });
                if !self.has_shut {
                    let told = net.random.pick(&[
                        Told::RightLater,
                        Told::RightLater,
                        Told::Right,
                        Told::WrongLater,
                    ]);
                    self.upload(number, version, UploadForm::Resumable, told, kept);
                }
            }
            Some(Want::Digest) => {}
            other => panic!("{facts:?} of {other:?}"),
        }
    }

    /// A file has come to its end.
    fn came(&mut self, told: Sha256Sum) {
        let Some(Want::File { number, got, .. }) = self.wants.pop_front() else {
            panic!("the end of a file that was not asked for");
        };
        assert_eq!(sum(&got), told, "what came is not what was told");
        let mut shelf = self.shelf.borrow_mut();
        let is_sent = shelf
            .sent
            .get(&name(number))
            .is_some_and(|sent| sent.contains(&told));
        assert!(is_sent, "{number} is no file that somebody sent");
        shelf.figures.fetched += 1;
    }

    fn refused(&mut self, error: &FileError, net: &Net) {
        let Some(want) = self.wants.pop_front() else {
            // Of the connection as a whole.
            self.may_end = true;
            return;
        };
        let (may_fail, overwrite) = {
            let shelf = self.shelf.borrow();
            (shelf.has_bad_children, shelf.overwrite)
        };
        let is_right = match (&want, error.kind) {
            (_, FileErrorKind::System) => may_fail,
            (_, FileErrorKind::Busy) => true,
            (_, FileErrorKind::Stopping) => net.stop_sent,
            (Want::Stored { told, .. }, FileErrorKind::Digest) => told.is_wrong(),
            // Another connection goes on with it, or has.
            (Want::Stored { .. }, FileErrorKind::Changed) => true,
            (Want::Stored { .. }, FileErrorKind::Exists) => overwrite == Overwrite::Refuse,
            (Want::Kept { .. }, FileErrorKind::Exists) => overwrite == Overwrite::Refuse,
            (Want::Stored { .. }, FileErrorKind::TooSlow) => true,
            (Want::File { .. } | Want::Digest, FileErrorKind::NotFound) => true,
            _ => false,
        };
        assert!(is_right, "{error:?} to {want:?}");
        let ends = match &want {
            Want::Stored { in_parts, .. } => *in_parts || error.kind == FileErrorKind::Changed,
            _ => false,
        };
        self.may_end |= ends || error.kind == FileErrorKind::TooSlow;
        let figures = &mut self.shelf.borrow_mut().figures;
        match error.kind {
            FileErrorKind::System => figures.failed += 1,
            _ => figures.refused += 1,
        }
    }
}

fn name(number: usize) -> String {
    format!("f{number}")
}

fn plain(number: usize, form: UploadForm) -> Upload {
    Upload {
        name: name(number),
        size: Some(SIZES[number] as u64),
        md5: None,
        sha256: None,
        kept: None,
        has_end: false,
        form,
    }
}

/// The digest that is told of it.
fn told_of(told: Told, data: &[u8]) -> Option<Sha256Sum> {
    match told {
        Told::Nothing => None,
        Told::Right | Told::RightLater => Some(sum(data)),
        Told::Wrong | Told::WrongLater => Some(sum(b"something else")),
    }
}

impl Client for Visitor {
    fn step(&mut self, net: &mut Net) -> Option<u64> {
        let Some(link) = self.link else {
            self.link = net.connect(self.listener, 4096);
            return match self.link {
                Some(_) => Some(net.random.below(self.rest_max)),
                None => self.go_home(),
            };
        };
        if net.random.once_in(2) && !self.has_shut {
            let may_ask = self.is_early || self.wants.is_empty();
            if self.pending.is_empty()
                && may_ask
                && let Some(item) = self.script.pop_front()
            {
                self.begin(item, &mut net.random);
            }
            let most = if net.calm {
                1 << 16
            } else {
                net.random.some(self.write_max)
            };
            let most = self.pending.len().min(most);
            let n = net.client_write(link, &self.pending[..most]).unwrap_or(0);
            self.pending.drain(..n);
        }
        self.leaves_in = self.leaves_in.saturating_sub(1);
        if self.leaves_in == 0
            && !self.has_shut
            && let Some(how) = self.leaves.take()
        {
            match how {
                Leave::Reset => net.client_reset(link),
                Leave::Close => net.client_close(link),
                Leave::Shut => {
                    net.client_shut(link);
                    self.has_shut = true;
                }
            }
            if how != Leave::Shut {
                return self.go_home();
            }
        }
        let is_done = self.script.is_empty() && self.wants.is_empty() && self.pending.is_empty();
        if is_done && !self.has_shut {
            net.client_shut(link);
            self.has_shut = true;
        }
        let most = if net.calm {
            1 << 16
        } else {
            net.random.some(self.read_max)
        };
        match net.client_read(link, most) {
            Found::Nothing => {}
            Found::Bytes(_) if net.links[link].must_refuse => {}
            // After its end nothing is promised but that it is owed.
            Found::Bytes(bytes) if !self.has_shut => self.hear(&bytes, net),
            Found::Bytes(_) => {}
            found => {
                assert!(
                    is_done || self.has_shut || self.is_excused(net, link),
                    "{found:?} in the middle of {:?}: {}",
                    self.wants,
                    net.links[link].sketch(),
                );
                net.client_close(link);
                return self.go_home();
            }
        }
        let rest_max = if net.calm { MILLI } else { self.rest_max };
        Some(net.random.below(rest_max))
    }

    fn is_home(&self) -> bool {
        self.is_home
    }
}

/// Seeds that `cargo test` tries unless told otherwise.
const FILES_BY_DEFAULT: u64 = if cfg!(debug_assertions) { 150 } else { 4_000 };

/// What all seeds of this process have met.
static MET: std::sync::Mutex<Figures> = std::sync::Mutex::new(Figures {
    stored: 0,
    resumed: 0,
    fetched: 0,
    refused: 0,
    failed: 0,
});

#[test]
fn seeds_of_files() {
    let Some((count, _)) = campaign("files::seeds_of_files", FILES_BY_DEFAULT, run) else {
        return;
    };
    let met = *MET.lock().expect("nobody panicked with it");
    println!("{met:?}");
    if count >= FILES_BY_DEFAULT {
        let all = [
            met.stored,
            met.resumed,
            met.fetched,
            met.refused,
            met.failed,
        ];
        assert!(all.iter().all(|&times| times > 0), "never: {met:?}");
    }
}

/// One seed, from the first turn to the last client.
fn run(seed: u64, coverage: &mut Coverage) -> u64 {
    let shm = Path::new("/dev/shm");
    let directory = match shm.is_dir() {
        true => tempfile::tempdir_in(shm),
        false => tempfile::tempdir(),
    };
    let directory = directory.expect("a directory of its own");
    let mut begun = Begun::with(seed, |_| {});
    // What is read byte by byte must not be long.
    let is_slow = begun.limits.read_per_turn < 4096;
    let largest = if is_slow || begun.random.once_in(2) {
        5
    } else {
        SIZES.len()
    };
    let overwrite = begun
        .random
        .pick(&[Overwrite::Refuse, Overwrite::Rename, Overwrite::Replace]);
    let errands = begun.random.pick(&[0, 0, 16, 64]);
    begun.play.os.net(|net| net.faults.errand = errands);
    let shelf = Rc::new(RefCell::new(Shelf {
        root: directory.path().to_owned(),
        overwrite,
        has_bad_children: errands > 0,
        sent: BTreeMap::new(),
        acknowledged: 0,
        figures: Figures::default(),
    }));
    for number in THERE {
        let data = content(number, 0);
        std::fs::write(directory.path().join(name(number)), &data).expect("it can be written");
        let mut shelf = shelf.borrow_mut();
        shelf.sent.entry(name(number)).or_default().push(sum(&data));
    }
    let is_kept = begun.random.once_in(2);
    if is_kept {
        let bytes = 65_536 + begun.random.index(4_000);
        leave_part(directory.path(), bytes);
    }
    let options = Options {
        root: Some(directory.path().to_owned()),
        overwrite,
        // What a disk has is not what is tried here.
        sync: begun.random.pick(&[Sync::Each, Sync::Batch, Sync::Off]),
        ..Options::default()
    };
    let listener = opens(&mut begun, &options);
    begun.changes();
    for _ in 0..begun.random.some(6) {
        let mut client = Visitor::of(&mut begun.random, listener, &shelf, largest);
        if is_kept && begun.random.once_in(2) {
            let version = begun.random.pick(&[0, 0, 0, 1]);
            let number = KEPT;
            client.script.push_front(Item::Resume { number, version });
        }
        begun.invite(Box::new(client));
    }
    let os = begun.play.os.clone();
    let turns = begun.perform(coverage);
    // Children that the server has not waited for come to their end as well.
    let children = os.net(|net| std::mem::take(&mut net.children));
    for child in children {
        if let Some((_, Step::Perform)) = child.steps.front() {
            child.perform();
        }
    }
    let shelf = shelf.borrow();
    shelf.check_all();
    if !os.net(|net| net.stop_sent) {
        assert_eq!(shelf.left(), [""; 0], "left of uploads");
    }
    // A server that starts there leaves nothing but what can be resumed.
    prepared(&options);
    assert_eq!(shelf.left(), [""; 0], "left by a start");
    let mut met = MET.lock().expect("nobody panicked with it");
    met.stored += shelf.figures.stored;
    met.resumed += shelf.figures.resumed;
    met.fetched += shelf.figures.fetched;
    met.refused += shelf.figures.refused;
    met.failed += shelf.figures.failed;
    turns
}

/// So much is kept of one upload: a server before was killed in the middle of it.
fn leave_part(root: &Path, bytes: usize) {
    let staging = root.join(".onepoll");
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&staging)
        .expect("the root is empty");
    let key = sum(format!("{}\0{}", name(KEPT), SIZES[KEPT]).as_bytes());
    let kept = &content(KEPT, 0)[..bytes];
    std::fs::write(staging.join(format!("part-{key}")), kept).expect("it can be written");
}

fn prepared(options: &Options) -> Files {
    let mut files = Files::new(options);
    files.prepare(Occasion::Start).expect("the root is there");
    files
}

/// Opens a listener for files, with options by chance.
fn opens(begun: &mut Begun, options: &Options) -> usize {
    let Begun {
        play,
        random,
        profile,
        ..
    } = begun;
    let options = options.clone();
    let kind = Kind {
        make: Rc::new(move || Box::new(prepared(&options))),
        is_gated: false,
        is_tail: false,
    };
    let challenges = Random::new(random.next());
    let service = play.add_kind(&kind, Temper::default(), challenges);
    let mut account = Account::default();
    let listener = play.listen(service, |options| {
        account = any_options(random, *profile, options);
    });
    play.os.net(|net| net.listeners[listener].sources = account);
    play.serves_kind(listener, kind);
    listener
}

#[test]
fn fault_b1_who_is_sent_a_file_is_not_closed_when_another_goes_on_with_what_it_asked_about() {
    let directory = tempfile::tempdir().expect("a directory of its own");
    let file = content(7, 0);
    std::fs::write(directory.path().join("file"), &file).expect("it can be written");
    leave_part(directory.path(), 66_000);
    let mut play = Play::directed();
    let listener = play.open(prepared(&Options {
        root: Some(directory.path().to_owned()),
        ..Options::default()
    }));
    let asked = |request: &FileRequest<'_>| {
        let mut out = Vec::new();
        request.encode(&mut out).expect("headers are short");
        out
    };
    let resume = asked(&FileRequest::Resume {
        name: name(KEPT),
        size: SIZES[KEPT] as u64,
    });
    let download = asked(&FileRequest::Download {
        name: "file".to_owned(),
        kept: None,
    });
    let one = play.dial_with(listener, 1 << 20, 4096);
    let two = play.dial(listener);
    let second = Duration::from_secs(1);
    for (link, asks) in [(one, &resume), (one, &download), (two, &resume)] {
        play.say(link, asks);
        play.pass(second);
    }
    let mut heard = Vec::new();
    for _ in 0..200 {
        heard.extend(play.hears(one));
        play.pass(second / 100);
    }
    let end = format!("\"sha256\":\"{}\"}}", sum(&file));
    assert!(heard.ends_with(end.as_bytes()), "{} bytes", heard.len());
}
