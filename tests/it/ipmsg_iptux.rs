//! A conversation with a program that is none of ours: the core library of iptux, as Debian has it (U4).
//!
//! Two hosts on one machine have two addresses; iptux has port 2425 and no other, so each run of the tests has
//! addresses of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;

use crate::support::DEADLINE;
use crate::support::program::{command, onepoll, run, skip, skipped};

/// What a driver needs, and the Debian package that has it.
const NEEDED: [(&str, &str); 3] = [
    ("/usr/include/iptux-core/CoreThread.h", "iptux"),
    (
        "/usr/include/sigc++-2.0/sigc++/signal.h",
        "libsigc++-2.0-dev",
    ),
    ("/usr/include/jsoncpp/json/json.h", "libjsoncpp-dev"),
];

/// A program that is spoken to in lines; killed, by its own id, when this is dropped.
struct Spoken {
    child: Child,
    says: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Spoken {
    fn start(command: &mut Command) -> Spoken {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for output in outputs {
            let tell = tell.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            });
        }
        let says = child.stdin.take();
        Spoken { child, says, lines }
    }

    fn told(&mut self, line: &str) {
        let says = self.says.as_mut().unwrap();
        writeln!(says, "{line}").unwrap();
    }

    /// The next line with this in it.
    #[track_caller]
    fn says(&self, what: &str) -> String {
        let mut said = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(DEADLINE) else {
                panic!("it does not say {what}, and said {said:?}")
            };
            if line.contains(what) {
                return line;
            }
            said.push(line);
        }
    }

    fn exits(&mut self) -> Option<i32> {
        self.says = None;
        self.child.wait().unwrap().code()
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The driver, built here; none where what it needs is missing.
fn driver(directory: &Path) -> Option<PathBuf> {
    if skipped("g++") {
        return None;
    }
    for (file, package) in NEEDED {
        if !Path::new(file).exists() {
            skip(&format!("there is no {file} (Debian package {package})"));
            return None;
        }
    }
    let binary = directory.join("driver");
    let mut build = Command::new("g++");
    build.args(["-std=c++14", "-o", binary.to_str().unwrap()]);
    build.arg("tests/iptux/driver.cpp");
    build.args(["-I/usr/include/sigc++-2.0", "-I/usr/include/jsoncpp"]);
    let machine = run(Command::new("g++").arg("-print-multiarch"), "").out;
    let machine = machine.trim();
    build.arg(format!("-I/usr/lib/{machine}/sigc++-2.0/include"));
    build.args(["-liptux-core", "-lsigc-2.0", "-ljsoncpp", "-lpthread"]);
    run(&mut build, "").exits(0);
    Some(binary)
}

/// Two addresses that nobody else has.
fn addresses() -> [String; 2] {
    let [.., high, low] = std::process::id().to_be_bytes();
    [1, 2].map(|n| format!("127.{}.{low}.{n}", 64 + high % 64))
}

/// A directory with this path, and what is in it.
fn make_tree(top: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    fs::create_dir_all(top.join("里面/deeper")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    for (name, bytes) in [
        ("a b.txt", b"hello".to_vec()),
        ("none", Vec::new()),
        ("里面/大.bin", b"0123456789".repeat(9000)),
        ("里面/deeper/last", b"end".to_vec()),
    ] {
        fs::write(top.join(name), bytes).unwrap();
    }
    read_tree(top)
}

/// All that is in a directory, by path; a directory has no bytes.
fn read_tree(top: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let (mut found, mut open) = (Vec::new(), vec![top.to_owned()]);
    while let Some(here) = open.pop() {
        for entry in fs::read_dir(&here).unwrap() {
            let path = entry.unwrap().path();
            let shown = path.strip_prefix(top).unwrap().display().to_string();
            if path.is_dir() {
                found.push((shown, None));
                open.push(path);
            } else {
                found.push((shown, Some(fs::read(path).unwrap())));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn u4_iptux_and_we_write_to_each_other_and_fetch_each_others_files() {
    let directory = tempfile::tempdir().unwrap();
    let Some(driver) = driver(directory.path()) else {
        return;
    };
    let [here, there] = &addresses();
    let home = directory.path().join("home");
    let fetched = directory.path().join("fetched");
    for made in [&home, &fetched] {
        fs::create_dir(made).unwrap();
    }
    let mut iptux = Command::new(driver);
    iptux.args([there.as_str(), "爱普"]).env("HOME", &home);
    for name in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
        iptux.env_remove(name);
    }
    let mut iptux = Spoken::start(&mut iptux);
    iptux.says("ready");

    // A message, by address and by name: they have it, and we know that.
    let send = ["ipmsg", "send", "--bind", here, "--nick", "亚当", there];
    let by_address = onepoll(&[&send[..], &["你好，iptux: 10:30"]].concat());
    by_address.is(0, &format!("{there}:2425 has acknowledged it\n"), "");
    let message = iptux.says("message ");
    assert_eq!(message, format!("message {here} 你好，iptux: 10:30"));
    let by_name = ["ipmsg", "send", "--bind", here, "--peer", there];
    let by_name = onepoll(&[&by_name[..], &["爱普", "按名字"]].concat());
    by_name.exits(0);
    assert_eq!(iptux.says("message "), format!("message {here} 按名字"));

    // Their message, which they know that we have; and their file.
    let theirs = home.join("他们的.bin");
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&theirs, &bytes).unwrap();
    let mut listen = command(&["ipmsg", "listen", "--bind", here, "--peer", there]);
    listen.args(["--nick", "夏娃", "--json", "--count", "3", "-o"]);
    let mut listen = Spoken::start(listen.arg(&fetched));
    iptux.says(&format!("online {here} 夏娃"));
    iptux.told(&format!("send {here} 你也好"));
    iptux.says("acknowledged");
    let message: Value = serde_json::from_str(&listen.says("\"message\"")).unwrap();
    assert_eq!(message["text"], "你也好");
    assert_eq!(message["nick"], "爱普");
    assert_eq!(message["verified"], false);
    iptux.told(&format!("offer {here} {}", theirs.display()));
    listen.says("\"event\":\"file\"");
    let tree = home.join("目录");
    let contents = make_tree(&tree);
    iptux.told(&format!("offer {here} {}", tree.display()));
    let event: Value = serde_json::from_str(&listen.says("\"event\":\"directory")).unwrap();
    assert_eq!(
        (&event["error"], &event["files"]),
        (&Value::Null, &4.into())
    );
    assert_eq!(listen.exits(), Some(0));
    assert_eq!(read_tree(&fetched.join("目录")), contents);
    assert_eq!(fs::read(fetched.join("他们的.bin")).unwrap(), bytes);

    // Our file. (A doubled colon in a name iptux reads in two ways at once, and then takes no file of that list.)
    let ours = directory.path().join("我们的 a b.bin");
    fs::write(&ours, &bytes).unwrap();
    let mut send = command(&send);
    let mut send = Spoken::start(send.args(["拿去", "--file"]).arg(&ours));
    let offered = iptux.says("file ");
    assert_eq!(
        offered,
        format!("file {here} {} 我们的 a b.bin", bytes.len())
    );
    let got = home.join("got.bin");
    iptux.told(&format!("fetch {}", got.display()));
    iptux.says("fetched ");
    send.says("has fetched");
    assert_eq!(send.exits(), Some(0));
    assert_eq!(fs::read(got).unwrap(), bytes);

    // Our directory, whose name they take from what we send.
    let ours = directory.path().join("我们的目录");
    let contents = make_tree(&ours);
    let mut send = command(&["ipmsg", "send", "--bind", here, "--nick", "亚当", there]);
    let mut send = Spoken::start(send.args(["拿去", "--file"]).arg(&ours));
    let offered = iptux.says("file ");
    assert_eq!(offered, format!("file {here} 90008 我们的目录"));
    // (To make a directory its `AnalogFS::mkdir` calls itself without end, where `g_mkdir` is a macro; so it finds them.)
    let got = home.join("我们的目录");
    for made in ["里面/deeper", "empty"] {
        fs::create_dir_all(got.join(made)).unwrap();
    }
    iptux.told(&format!("fetch {}", got.display()));
    iptux.says("fetched ");
    send.says("has fetched");
    assert_eq!(send.exits(), Some(0));
    assert_eq!(read_tree(&got), contents);

    // Where nobody is, a message is not acknowledged.
    iptux.told("quit");
    assert_eq!(iptux.exits(), Some(0));
    let nobody = ["ipmsg", "send", "--bind", here, there, "x"];
    let patience = ["--retry", "20ms", "--tries", "3"];
    let nobody = onepoll(&[&nobody[..], &patience].concat());
    nobody.fails(
        1,
        "has not acknowledged it: it was sent 3 times; nothing listens there",
    );
}
