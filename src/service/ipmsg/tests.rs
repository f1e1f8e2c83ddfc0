use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::config::limits::PROGRESS_GRACE;
use crate::service::Class;
use crate::service::rehearsal::Stage;
use crate::wire::{
    Decode, IPMSG_PORT, IpmsgCommand, IpmsgFile, IpmsgFileKind, IpmsgFileRequest, IpmsgPacket,
    IpmsgTree,
};

const EVA: &str = "127.0.0.2:2425";

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_764_275_400)
}

fn second(n: u64) -> Moment {
    Moment::START.after(Duration::from_secs(n))
}

fn options() -> Options {
    Options {
        host: Some("box".into()),
        ..Options::default()
    }
}

/// What it sends when these bytes come from there.
fn answers(ipmsg: &mut Ipmsg, now: Moment, bytes: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut out = Vec::new();
    let from = EVA.parse().unwrap();
    let mut turn = DatagramTurn::new(now, wall(), from, &mut out);
    ipmsg.datagram(&mut turn, bytes);
    assert_eq!(turn.into_answer(), None);
    sent(ipmsg)
}

fn sent(ipmsg: &mut Ipmsg) -> Vec<(SocketAddr, Vec<u8>)> {
    std::iter::from_fn(|| ipmsg.take_datagram()).collect()
}

fn packet(bytes: &[u8]) -> IpmsgPacket<'_> {
    IpmsgPacket::parse(bytes).unwrap()
}

#[test]
fn u4_it_says_that_it_is_there_and_goes_twice() {
    let mut ipmsg = Ipmsg::new(&Options {
        peer: vec!["127.0.0.9".into()],
        ..options()
    });
    ipmsg.bound_to("127.0.0.1:2425".parse().unwrap());
    assert_eq!(ipmsg.wakes_at(), Moment::START);
    ipmsg.woken(second(1), wall());
    let entry = sent(&mut ipmsg);
    let [(to, bytes)] = &entry[..] else {
        panic!("{entry:?}")
    };
    assert_eq!(to.to_string(), "127.0.0.9:2425");
    assert_eq!(packet(bytes).command.mode(), IpmsgCommand::ENTRY);
    assert_eq!(ipmsg.wakes_at(), Moment::NEVER);
    ipmsg.goes(second(2));
    let exit = sent(&mut ipmsg);
    assert_eq!(exit.len(), 1);
    let again = ipmsg.wakes_at();
    assert_eq!(again, second(2).after(Duration::from_millis(100)));
    ipmsg.woken(again, wall());
    assert_eq!(sent(&mut ipmsg), exit);
    assert_eq!(ipmsg.wakes_at(), Moment::NEVER);
}

#[test]
fn u4_everybody_is_told_only_where_somebody_else_can_hear_it() {
    for (at, told) in [
        ("127.0.0.1:2425", 0),
        ("[::1]:2425", 0),
        ("192.168.1.5:2425", 1),
        ("0.0.0.0:2425", 1),
    ] {
        let mut ipmsg = Ipmsg::new(&options());
        ipmsg.bound_to(at.parse().unwrap());
        ipmsg.woken(second(1), wall());
        assert_eq!(sent(&mut ipmsg).len(), told, "{at}");
    }
}

#[test]
fn u4_packets_are_numbered_from_the_clock_or_a_little_later() {
    let mut ipmsg = Ipmsg::new(&options());
    let answer = answers(&mut ipmsg, second(1), b"1:7:eva:eva:288:hi");
    let number = packet(&answer[0].1).number;
    assert!((1_764_275_400..1_764_275_401 + (1 << AHEAD_BITS)).contains(&number));
}

/// A root with these files, and the service of it.
fn with_files(names: &[&str]) -> (tempfile::TempDir, Stage<Ipmsg>) {
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::write(directory.path().join(name), format!("in {name}")).unwrap();
    }
    let mut ipmsg = Ipmsg::new(&Options {
        root: Some(directory.path().to_owned()),
        ..options()
    });
    ipmsg.prepare(Occasion::Start).unwrap();
    (directory, Stage::new(ipmsg))
}

/// Asks for the list as somebody does who is there; says the packet that has it, and the files.
fn offered(ipmsg: &mut Ipmsg) -> (u32, Vec<IpmsgFile>) {
    let first = answers(ipmsg, second(5), b"1:8:eva:eva:288:/files");
    // Acknowledged, and told that the list follows: no more before it is known who asks.
    assert_eq!(first.len(), 2);
    for (_, bytes) in &first {
        assert!(bytes.len() <= 64, "{}", bytes.escape_ascii());
    }
    let follows = packet(&first[1].1);
    assert_eq!(follows.additional, b"files follow");
    let acknowledged = format!("1:9:eva:eva:33:{}", follows.number);
    let list = answers(ipmsg, second(5), acknowledged.as_bytes());
    let [(_, bytes)] = &list[..] else {
        panic!("{list:?}")
    };
    let list = packet(bytes);
    let (files, is_whole) = IpmsgFile::list(list.fields, false);
    assert!(is_whole);
    (list.number, files)
}

#[test]
fn u4_the_files_of_the_root_are_offered_to_who_is_there() {
    let (directory, mut stage) = with_files(&["b.txt", "a.txt", ".hidden"]);
    std::os::unix::fs::symlink("/etc/passwd", directory.path().join("link")).unwrap();
    std::fs::create_dir(directory.path().join("inner")).unwrap();
    let (_, files) = offered(&mut stage.service);
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a.txt", "b.txt", "inner"]);
    assert_eq!(files[0].size, 8);
    assert_eq!(files[2].kind, IpmsgFileKind::Directory);
    // Not again at once, and not to somebody who was never told the number.
    let again = answers(&mut stage.service, second(6), b"1:10:eva:eva:288:/files");
    assert_eq!(again.len(), 1);
    let guess = answers(&mut stage.service, second(6), b"1:11:eva:eva:33:1764275401");
    assert_eq!(guess, []);
}

fn asks(packet: u32, id: u32, offset: u64, end: &str) -> Vec<u8> {
    let request = IpmsgFileRequest {
        packet,
        id,
        offset,
        is_directory: false,
    };
    let additional = String::from_utf8(request.additional()).unwrap();
    format!("1:5:eva:eva:96:{additional}{end}").into_bytes()
}

#[test]
fn u4_an_offered_file_is_served_from_its_offset_however_the_request_ends() {
    let (_directory, mut stage) = with_files(&["a.txt"]);
    let (number, files) = offered(&mut stage.service);
    let id = files[0].id;
    for (offset, end, expected) in [
        (0, "\0", &b"in a.txt"[..]),
        (3, "\0", b"a.txt"),
        (8, ":", b""),
        (0, "\n", b"in a.txt"),
    ] {
        let client = stage.enters();
        for byte in asks(number, id, offset, end) {
            assert_eq!(stage.hears(client), b"");
            stage.says(client, &[byte]);
        }
        stage.drains(client);
        assert_eq!(stage.hears(client), expected);
        stage.drains(client);
        assert!(stage.is_leaving(client));
    }
    // Silence is an end, and so is the half-close.
    let client = stage.enters();
    stage.says(client, &asks(number, id, 0, ""));
    stage.waits(Duration::from_millis(19));
    assert_eq!(stage.hears(client), b"");
    stage.waits(Duration::from_millis(1));
    stage.drains(client);
    assert_eq!(stage.hears(client), b"in a.txt");
    let client = stage.enters();
    stage.says(client, &asks(number, id, 3, ""));
    stage.ends(client);
    stage.drains(client);
    assert_eq!(stage.hears(client), b"a.txt");
}

/// All that is sent when this directory is asked for; whether it came to its end.
fn asks_for_directory(stage: &mut Stage<Ipmsg>, packet: u32, id: u32) -> (Vec<u8>, bool) {
    let client = stage.enters();
    let request = format!("1:5:eva:eva:98:{packet:x}:{id:x}:0:\0");
    stage.says(client, request.as_bytes());
    let mut heard = Vec::new();
    for _ in 0..1000 {
        heard.append(&mut stage.hears(client));
        if stage.is_leaving(client) {
            heard.append(&mut stage.hears(client));
            let mut tree = IpmsgTree::new(1 << 30);
            let mut unread = &heard[..];
            while let Some((_, taken)) = tree.decode(unread).unwrap() {
                unread = &unread[taken..];
            }
            assert!(unread.is_empty() || !tree.is_over());
            return (heard, tree.is_over());
        }
    }
    panic!("it does not end");
}

#[test]
fn u4_an_offered_directory_is_served_with_what_is_in_it_and_through_no_link() {
    let (directory, mut stage) = with_files(&["a.txt"]);
    let inner = directory.path().join("inner");
    std::fs::create_dir_all(inner.join("资料")).unwrap();
    std::fs::write(inner.join("one"), "1").unwrap();
    std::fs::write(inner.join("资料/large"), vec![b'x'; 300_000]).unwrap();
    std::fs::write(directory.path().join("secret"), "a secret").unwrap();
    std::os::unix::fs::symlink("../secret", inner.join("link")).unwrap();
    std::os::unix::fs::symlink("..", inner.join("up")).unwrap();
    for n in 0..200 {
        std::fs::write(inner.join(format!("small-{n}")), format!("{n}")).unwrap();
    }
    let (number, files) = offered(&mut stage.service);
    let of = |name: &str| files.iter().find(|file| file.name == name).unwrap().id;
    let (sent, is_whole) = asks_for_directory(&mut stage, number, of("inner"));
    assert!(is_whole);
    let has = |what: &[u8]| memchr::memmem::find(&sent, what).is_some();
    // The peer has written GBK, and is written it.
    assert!(has(b":\xd7\xca\xc1\xcf:0:2:") && has(b":large:493e0:1:"));
    assert!(has(b":small-199:3:1:") && has(b":199"));
    assert!(!has(b"secret") && !has(b"link") && !has(b":up:"));
    assert!(sent.len() > 300_000);
    // What is asked for is what was offered, and as what.
    assert_eq!(asks_for_directory(&mut stage, number, of("a.txt")).0, b"");
    assert_eq!(
        asks_for_directory(&mut stage, number + 1, of("inner")).0,
        b""
    );
    let client = stage.enters();
    stage.says(client, &asks(number, of("inner"), 0, "\0"));
    assert_eq!(stage.hears(client), b"");
    // A link in its place by now leads nowhere.
    std::fs::rename(&inner, directory.path().join("moved")).unwrap();
    std::os::unix::fs::symlink("moved", &inner).unwrap();
    assert_eq!(asks_for_directory(&mut stage, number, of("inner")).0, b"");
}

#[test]
fn u4_a_directory_that_nobody_takes_is_not_sent_for_ever_and_so_many_at_once() {
    let (directory, mut stage) = with_files(&[]);
    let inner = directory.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    for n in 0..100 {
        std::fs::write(inner.join(format!("{n}")), "x").unwrap();
    }
    let (number, files) = offered(&mut stage.service);
    let request = format!("1:5:eva:eva:98:{number:x}:{:x}:0:\0", files[0].id);
    let mut clients = Vec::new();
    for _ in 0..17 {
        let client = stage.enters();
        stage.says(client, request.as_bytes());
        clients.push(client);
    }
    let last = clients.pop().unwrap();
    assert_eq!(stage.hears(last), b"");
    assert!(stage.is_leaving(last));
    stage.waits(PROGRESS_GRACE);
    for client in clients {
        assert!(stage.is_leaving(client));
    }
    let client = stage.enters();
    stage.says(client, request.as_bytes());
    assert_ne!(stage.hears(client), b"");
}

#[test]
fn u4_what_was_not_offered_is_not_served() {
    let (directory, mut stage) = with_files(&["a.txt"]);
    std::fs::write(directory.path().join("later.txt"), "x").unwrap();
    let (number, files) = offered(&mut stage.service);
    let id = files[0].id;
    std::fs::remove_file(directory.path().join("a.txt")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", directory.path().join("a.txt")).unwrap();
    for request in [
        asks(number, id, 0, "\0"),
        asks(number, id + 1, 9, "\0"),
        asks(number, id + 2, 0, "\0"),
        asks(number, 0, 0, "\0"),
        asks(number + 1, id, 0, "\0"),
        format!("1:5:eva:eva:98:{number:x}:{id:x}\0").into_bytes(),
    ] {
        let client = stage.enters();
        stage.says(client, &request);
        assert_eq!(stage.hears(client), b"", "{}", request.escape_ascii());
        assert!(stage.is_leaving(client));
    }
    // Nor is somebody who asks nothing waited for.
    let client = stage.enters();
    stage.waits(Duration::from_secs(10));
    assert!(stage.is_leaving(client));
    let client = stage.enters();
    stage.says(client, b"GET / HTTP/1.1\r\n\r\n");
    stage.waits(Duration::from_secs(10));
    assert!(stage.is_leaving(client) || stage.fault(client).is_some());
}

#[test]
fn fault_e5_an_answer_of_the_service_is_no_longer_than_what_was_asked() {
    let mut ipmsg = Ipmsg::new(&Options {
        group: Some("g".repeat(64)),
        ..options()
    });
    let mut out = Vec::new();
    for asked in [&b"1:1:u:h:1:n"[..], b"1:2:u:h:288:hi", b"1:3:u:h:1:n\0g"] {
        let from = "10.0.0.9:2425".parse().unwrap();
        let mut turn = DatagramTurn::new(second(1), wall(), from, &mut out);
        ipmsg.datagram(&mut turn, asked);
        for (to, answer) in sent(&mut ipmsg) {
            assert_eq!(to, from);
            assert!(answer.len() <= asked.len().max(64));
        }
    }
}

#[test]
fn u4_an_address_needs_no_port_and_names_are_looked_at() {
    let half = ROW.schema(Transport::Udp).unwrap();
    assert_eq!(half.port(), Some(IPMSG_PORT));
    let read = |option: &str, value: &str| {
        let mut written = crate::config::Written::default();
        written.push(option, value.into());
        half.read(&written)
    };
    assert_eq!(read("nick", "伊娃").unwrap().1, Class::Plain);
    for (option, value) in [
        ("user", "a:b"),
        ("host", ""),
        ("nick", "a\nb"),
        ("peer", "nowhere"),
        ("encoding", "latin1"),
    ] {
        let wrong = read(option, value).unwrap_err();
        assert_eq!(wrong.option.as_deref(), Some(option));
    }
}

/// What it asks of the loop.
fn asks_of(ipmsg: &mut Ipmsg) -> Vec<Ask> {
    std::iter::from_fn(|| ipmsg.take_ask()).collect()
}

#[test]
fn u4_who_is_gone_without_a_word_is_a_member_of_the_room_no_longer() {
    let mut stage = Stage::new(Ipmsg::new(&Options {
        bridge: Some("lobby".into()),
        ..options()
    }));
    answers(&mut stage.service, second(1), b"1:7:eva:eva:32:hi");
    let asked = asks_of(&mut stage.service);
    let [Ask::Link(to)] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!((to.service, to.name.as_str()), ("chat", "lobby"));
    let link = stage.enters();
    stage.service.linked(second(1), to, Ok(link));
    assert_eq!(asks_of(&mut stage.service), [Ask::Visit(link)]);
    // The room says something, which is not acknowledged: four times, and then they are gone.
    stage.says(link, b"guest-1: hello\n* eve joined\n");
    let said = sent(&mut stage.service);
    assert_eq!(said.len(), 1);
    assert_eq!(
        packet(&said[0].1).additional,
        b"guest-1: hello\n* eve joined"
    );
    for _ in 0..4 {
        assert_eq!(asks_of(&mut stage.service), []);
        let due = stage.service.wakes_at();
        stage.service.woken(due, wall());
        sent(&mut stage.service);
    }
    assert_eq!(asks_of(&mut stage.service), [Ask::Visit(link)]);
    assert_eq!(stage.service.wakes_at(), Moment::NEVER);
}

#[test]
fn u4_lines_of_the_room_wait_for_a_person_who_acknowledges_slowly() {
    let mut stage = Stage::new(Ipmsg::new(&Options {
        bridge: Some("lobby".into()),
        ..options()
    }));
    answers(&mut stage.service, second(1), b"1:7:eva:eva:32:hi");
    let Some(Ask::Link(to)) = stage.service.take_ask() else {
        panic!()
    };
    let link = stage.enters();
    stage.service.linked(second(1), &to, Ok(link));
    let mut numbers = Vec::new();
    for n in 0..4 {
        assert!(!stage.is_held(link), "{n}");
        stage.says(link, format!("line {n}\n").as_bytes());
        let said = sent(&mut stage.service);
        numbers.push(packet(&said[0].1).number);
    }
    assert!(stage.is_held(link));
    let acknowledged = format!("1:9:eva:eva:33:{}", numbers[0]);
    answers(&mut stage.service, second(1), acknowledged.as_bytes());
    stage.waits(Duration::from_millis(500));
    assert!(!stage.is_held(link));
}
