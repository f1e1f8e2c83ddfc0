//! IPMSG's packets, lists of files, requests and records (U4): as real programs write them, cut at every point, and
//! garbage.

use onepoll::wire::{
    Decode, Encode, IPMSG_FILES_MAX, IPMSG_RECORD_BYTES_MAX, IPMSG_REQUEST_BYTES_MAX,
    IPMSG_TREE_DEPTH_MAX, IPMSG_TREE_ENTRIES_MAX, IPMSG_VERSION, IpmsgCommand, IpmsgEncoding,
    IpmsgEntry, IpmsgFile, IpmsgFileKind, IpmsgFileRequest, IpmsgFileRequests, IpmsgPacket,
    IpmsgRecord, IpmsgRecords, IpmsgTree, IpmsgTreePart, WireError, ipmsg_text,
};
use proptest::prelude::*;

use crate::hear::hear;

fn packet(bytes: &[u8]) -> IpmsgPacket<'_> {
    IpmsgPacket::parse(bytes).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()))
}

fn encoded(packet: &IpmsgPacket<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out);
    out
}

#[test]
fn u4_packets_of_real_programs_are_read() {
    for (bytes, version, command, additional) in [
        (&b"1:111:eva:eva:32:hi"[..], &b"1"[..], 32, &b"hi"[..]),
        (
            b"1_lbt4_10#128#00E04C#0#0#0:1183252340:u:PC:6291457:u\0",
            b"1_lbt4_10#128#00E04C#0#0#0",
            6_291_457,
            b"u",
        ),
        (
            b"1_iptux 0.8.3:7:root:box:288:a:b:c\0",
            b"1_iptux 0.8.3",
            288,
            b"a:b:c",
        ),
        (b"1@shiyeline:4294967295:::0:", b"1@shiyeline", 0, b""),
        (
            b"5.1.180210:0:u:h:4294967295:\n\x07",
            b"5.1.180210",
            u32::MAX,
            b"\n\x07",
        ),
    ] {
        let read = packet(bytes);
        assert_eq!((read.version, read.command.0), (version, command));
        assert_eq!(read.additional, additional);
    }
}

#[test]
fn fault_e12_what_is_no_packet_is_an_error_and_the_rest_is_read() {
    for (bytes, why) in [
        (&b""[..], "it has no packet number"),
        (b"1", "it has no packet number"),
        (b"1:2:u:h:32", "it has no additional field"),
        (b"1:2:u:h", "it has no command"),
        (b"1:2:u", "it has no host"),
        (b"1:x:u:h:32:t", "the packet number \"x\""),
        (b"1::u:h:32:t", "the packet number \"\""),
        (b"1:+2:u:h:32:t", "the packet number \"+2\""),
        (b"1:4294967296:u:h:32:t", "the packet number \"4294967296\""),
        (b"1:2:u:h:0x20:t", "the command \"0x20\""),
        (b"1:2:u:h:32 :t", "the command \"32 \""),
        (b"1:2:u:h:99999999999999999999:t", "the command"),
        (b"1:2:u:h:\xff\xfe:t", "the command \"\\xff\\xfe\""),
        (b"1\0:2:u:h:32:t", "a NUL in the version"),
        (b"1:2:u\0:h:32:t", "a NUL in the user"),
        (b"1:2:u:\0:32:t", "a NUL in the host"),
    ] {
        let error = IpmsgPacket::parse(bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{}: {error}", bytes.escape_ascii());
    }
    let digits = [b"1:".as_slice(), &[b'9'; 60_000], b":u:h:32:t"].concat();
    let error = IpmsgPacket::parse(&digits).unwrap_err().to_string();
    assert!(error.len() < 200, "{error}");
    // Ten colons more, a NUL at the end or not, and some inside.
    assert_eq!(
        packet(b"1:2:u:h:32:::::::::::").additional,
        [b':'; 10].as_slice()
    );
    for end in [&b""[..], b"\0"] {
        let bytes = [b"1:2:u:h:3:nick\0group\0icon", end].concat();
        let read = packet(&bytes);
        assert_eq!(read.additional, b"nick");
        assert_eq!(read.fields().collect::<Vec<_>>(), [&b"group"[..], b"icon"]);
    }
    // Bits of options that nobody knows.
    let read = packet(b"1:2:u:h:4026531872:t");
    assert_eq!(read.command.mode(), IpmsgCommand::MESSAGE);
}

#[test]
fn u4_a_packet_is_written_as_it_is_read() {
    let packet = IpmsgPacket {
        version: IPMSG_VERSION,
        number: 7,
        user: b"a:b",
        host: b"c\0d",
        command: IpmsgCommand::new(IpmsgCommand::MESSAGE, IpmsgCommand::ACKNOWLEDGE),
        additional: b"10:30\nat the gate",
        fields: b"",
    };
    assert_eq!(encoded(&packet), b"1:7:a_b:c_d:288:10:30\nat the gate\0");
}

#[test]
fn u4_what_goes_to_everybody_or_was_automatic_is_not_to_be_acknowledged() {
    for (command, is_wanted) in [
        (32, false),
        (288, true),
        (0x100 | 0x800 | 0x20, true),
        (0x100 | 0x400 | 0x20, false),
        (0x100 | 0x2000 | 0x20, false),
    ] {
        let wants = IpmsgCommand(command).wants_acknowledgement();
        assert_eq!(wants, is_wanted, "{command}");
    }
}

#[test]
fn u4_text_is_utf_8_if_it_can_be_and_gb18030_else() {
    let gbk = (String::from("你好"), IpmsgEncoding::Gbk);
    assert_eq!(ipmsg_text(b"\xc4\xe3\xba\xc3", false), gbk);
    let utf8 = (String::from("你好"), IpmsgEncoding::Utf8);
    for is_utf8 in [false, true] {
        assert_eq!(ipmsg_text("你好".as_bytes(), is_utf8), utf8);
    }
    assert_eq!(ipmsg_text(b"hi", false).1, IpmsgEncoding::Utf8);
    // Four bytes, which GBK does not have.
    assert_eq!(ipmsg_text(b"\x95\x32\x82\x36", false).0, "\u{20000}");
    assert_eq!(IpmsgEncoding::Gbk.encode("你好 👋"), b"\xc4\xe3\xba\xc3 ?");
}

#[test]
fn fault_c2_half_a_character_at_the_cut_of_1024_bytes_is_one_that_cannot_be_read() {
    let text = "你".repeat(1000);
    let bytes = IpmsgEncoding::Gbk.encode(&text);
    let (whole, _) = ipmsg_text(&bytes[..1024], false);
    assert_eq!(whole, "你".repeat(512));
    let (cut, encoding) = ipmsg_text(&bytes[..1023], false);
    assert_eq!(
        (cut, encoding),
        (format!("{}\u{fffd}", "你".repeat(511)), IpmsgEncoding::Gbk)
    );
    // Flagged as UTF-8, and cut in a character; bytes of no encoding at all.
    assert_eq!(ipmsg_text(b"a\xe4\xbd", true).0, "a\u{fffd}");
    assert_eq!(ipmsg_text(b"\xffa\x80", false).0, "\u{fffd}a\u{20ac}");
}

fn eva() -> IpmsgEntry {
    IpmsgEntry {
        user: "eva".into(),
        host: "wolke".into(),
        nick: "伊娃".into(),
        group: "开发".into(),
        encoding: Some(IpmsgEncoding::Utf8),
    }
}

fn entry(additional: &[u8], fields: &[u8]) -> IpmsgEntry {
    let command = IpmsgCommand::new(IpmsgCommand::ENTRY, 0);
    IpmsgEntry::of(&IpmsgPacket {
        version: IPMSG_VERSION,
        number: 1,
        user: b"eva",
        host: b"wolke",
        command,
        additional,
        fields,
    })
}

#[test]
fn u4_an_entry_says_its_names_in_every_way() {
    for encoding in [IpmsgEncoding::Gbk, IpmsgEncoding::Utf8] {
        let (additional, fields) = eva().fields(encoding);
        assert_eq!(entry(&additional, &fields), eva());
    }
    // The tutorials': a nickname, and perhaps a group, in GBK.
    let plain = entry(b"\xd2\xc1\xcd\xde", b"\xbf\xaa\xb7\xa2");
    let expected = IpmsgEntry {
        encoding: None,
        ..eva()
    };
    assert_eq!(plain, expected);
    // iptux: group, icon, encoding.
    let iptux = entry("伊娃".as_bytes(), "开发\0icon-tux.png\0utf-8".as_bytes());
    assert_eq!(iptux, eva());
    // The names of the original go before what stands in its code page, also with no group before them.
    let names = "\nUN:eva\nHN:wolke\nNN:伊娃\nGN:开发".as_bytes();
    assert_eq!(entry(b"?", names), eva());
    assert_eq!(entry(b"", b"").nick, "eva");
}

fn file(id: u32, name: &str, size: u64) -> IpmsgFile {
    IpmsgFile {
        id,
        name: name.into(),
        size,
        modified: 0x65e0_1234,
        kind: IpmsgFileKind::File,
    }
}

#[test]
fn u4_lists_of_files_are_read_however_they_are_parted() {
    let files = [file(0, "a:b.txt", 31), file(10_001, "报告.doc", 1 << 40)];
    for encoding in [IpmsgEncoding::Gbk, IpmsgEncoding::Utf8] {
        let mut list = Vec::new();
        for file in &files {
            file.encode(encoding, &mut list);
        }
        assert_eq!(IpmsgFile::list(&list, false), (files.to_vec(), true));
    }
    for between in ["\x07", ":\x07", "\x07:", ":\x07:"] {
        let list = format!(
            "0:a::b.txt:1f:65e01234:1{between}10001:报告.doc:10000000000:65e01234:1{between}"
        );
        let read = IpmsgFile::list(list.as_bytes(), false);
        assert_eq!(read, (files.to_vec(), true), "{between:?}");
    }
    // Attributes of the original behind the kind, and a directory.
    let list = b"1:d:0:0:2:14=65e0:16=65e0:\x07";
    assert_eq!(
        IpmsgFile::list(list, false).0[0].kind,
        IpmsgFileKind::Directory
    );
    for wrong in [
        &b"x:a:1:1:1:\x07"[..],
        b"1:a:g:1:1:\x07",
        b"1:a:1:1:\x07",
        b"1:a",
        b"4294967296:a:1:1:1:",
    ] {
        assert_eq!(IpmsgFile::list(wrong, false), (vec![], false));
    }
    let many = b"1:a:1:1:1:\x07".repeat(IPMSG_FILES_MAX + 1);
    let (files, is_whole) = IpmsgFile::list(&many, false);
    assert_eq!((files.len(), is_whole), (IPMSG_FILES_MAX, false));
}

/// `input` is this request, however it is cut; what follows does not matter.
fn requests(input: &[u8], expected: IpmsgFileRequest) {
    let chunks: [Vec<&[u8]>; 2] = [vec![input], input.chunks(1).collect()];
    for chunks in chunks {
        let heard = hear(IpmsgFileRequests, chunks, |all, one| all.push(one));
        assert_eq!(heard, (vec![expected], Ok(())), "{}", input.escape_ascii());
    }
}

#[test]
fn u4_a_request_for_a_file_is_over_at_its_end_however_that_is_written() {
    let file = IpmsgFileRequest {
        packet: 0x1a2b,
        id: 3,
        offset: 0x1_0000_0000,
        is_directory: false,
    };
    let directory = IpmsgFileRequest {
        is_directory: true,
        offset: 0,
        ..file
    };
    for end in ["\0", "\n", ":"] {
        requests(format!("1:5:u:h:96:1a2b:3:100000000{end}").as_bytes(), file);
    }
    requests(b"1_iptux 0.8.3:5:u:h:2097248:1a2b:3:100000000\0", file);
    requests(b"1:5:u:h:98:1a2b:3\0", directory);
    for request in [file, directory] {
        let additional = request.additional();
        let packet = IpmsgPacket {
            version: IPMSG_VERSION,
            number: 9,
            user: b"u",
            host: b"h",
            command: request.command(),
            additional: &additional,
            fields: b"",
        };
        requests(&encoded(&packet), request);
    }
    // Without an end: the half-close is one.
    let open = b"1:5:u:h:96:1a2b:3:100000000";
    assert_eq!(IpmsgFileRequests.decode(open), Ok(None));
    assert_eq!(
        IpmsgFileRequests.decode_eof(open),
        Ok(Some((file, open.len())))
    );
    for wrong in [
        &b"1:5:u:h:32:1:2:3\0"[..],
        b"1:5:u:h:96:1:2\0",
        b"1:5:u:h:96:1::3\0",
        b"1:5:u:h:96:1:2:g\0",
        b"1:5:u:h:96:1:2:-1\0",
        b"1:5:u:h:96:100000000:2:0\0",
        b"1:5:u:h:96:1:2:10000000000000000\0",
        b"1:x:u:h:96:1:2:0\0",
    ] {
        let error = IpmsgFileRequests.decode(wrong).unwrap_err();
        let is_malformed = matches!(error, WireError::Malformed { .. });
        assert!(is_malformed, "{}: {error}", wrong.escape_ascii());
    }
    let endless = vec![b'1'; IPMSG_REQUEST_BYTES_MAX + 1];
    assert_eq!(
        IpmsgFileRequests.decode(&endless[..IPMSG_REQUEST_BYTES_MAX]),
        Ok(None)
    );
    assert!(matches!(
        IpmsgFileRequests.decode(&endless),
        Err(WireError::TooLong { .. })
    ));
}

fn named(name: &str, size: u64) -> IpmsgRecord {
    IpmsgRecord::File {
        name: name.into(),
        size,
        modified: 0x65e0_1234,
    }
}

fn enter(name: &str) -> IpmsgRecord {
    IpmsgRecord::Enter {
        name: name.into(),
        modified: 0,
    }
}

fn encoded_record(record: &IpmsgRecord, encoding: IpmsgEncoding) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(encoding, &mut out);
    out
}

#[test]
fn u4_records_of_a_directory_are_read_and_written() {
    let (gbk, utf8) = (IpmsgEncoding::Gbk, IpmsgEncoding::Utf8);
    for (record, encoding, bytes) in [
        (
            enter("资料"),
            gbk,
            &b"0018:\xd7\xca\xc1\xcf:0:2:14=0:16=0:"[..],
        ),
        (
            enter("资料"),
            utf8,
            b"001a:\xe8\xb5\x84\xe6\x96\x99:0:2:14=0:16=0:",
        ),
        (
            named("a:b", 0x1f),
            gbk,
            b"0027:a::b:1f:1:14=65e01234:16=65e01234:",
        ),
        (IpmsgRecord::Up, gbk, b"0015:.:0:3:14=0:16=0:"),
        (
            IpmsgRecord::Other { size: 2 },
            gbk,
            b"0015:_:2:0:14=0:16=0:",
        ),
    ] {
        let written = encoded_record(&record, encoding);
        assert_eq!(
            written.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        );
        for chunks in [vec![bytes], bytes.chunks(1).collect()] {
            let heard = hear(IpmsgRecords, chunks, |all, one| all.push(one));
            assert_eq!(heard, (vec![record.clone()], Ok(())));
        }
    }
    // Others: no attributes, sizes with zeros before them, attributes that say something else or nothing.
    for (rest, modified) in [
        ("a.txt:5:1:", 0),
        ("a.txt:000000005:1:14=65e01234:16=65e01234:", 0x65e0_1234),
        ("a.txt:5:1:16=1:14=65e01234:x:==:", 0x65e0_1234),
        ("a.txt:5:1:14=later:x:", 0),
    ] {
        let bytes = format!("{:04x}:{rest}", rest.len() + 5);
        let name = "a.txt".to_owned();
        let file = IpmsgRecord::File {
            name,
            size: 5,
            modified,
        };
        let read = IpmsgRecords.decode(bytes.as_bytes());
        assert_eq!(read, Ok(Some((file, bytes.len()))));
    }
    for (wrong, is_long) in [
        (&b"x"[..], false),
        (b"000000000", false),
        (b":a:", false),
        (b"0001:a:0:1:", false),
        (b"0009:a:g:1:", false),
        (b"1001:", true),
        (b"ffffffff:", true),
    ] {
        let error = IpmsgRecords.decode(wrong).unwrap_err();
        let is = matches!(error, WireError::TooLong { .. });
        assert_eq!(is, is_long, "{}: {error}", wrong.escape_ascii());
    }
    assert_eq!(IPMSG_RECORD_BYTES_MAX, 0x1000);
}

/// The parts of a directory, with the bytes of each file together.
fn parts<'c>(
    bytes_max: u64,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> (Vec<String>, Result<(), WireError>) {
    let (parts, end) = hear(
        IpmsgTree::new(bytes_max),
        chunks,
        |all: &mut Vec<String>, part| {
            let said = match part {
                IpmsgTreePart::Record(IpmsgRecord::Enter { name, .. }) => format!("{name}/"),
                IpmsgTreePart::Record(IpmsgRecord::File { name, size, .. }) => {
                    format!("{name} {size} ")
                }
                IpmsgTreePart::Record(IpmsgRecord::Other { size }) => format!("? {size} "),
                IpmsgTreePart::Bytes(bytes) => {
                    let last = all.last_mut().unwrap();
                    return last.push_str(&bytes.escape_ascii().to_string());
                }
                IpmsgTreePart::Record(IpmsgRecord::Up) => "..".to_owned(),
                IpmsgTreePart::End => "end".to_owned(),
            };
            all.push(said);
        },
    );
    (parts, end)
}

fn directory() -> Vec<u8> {
    let mut stream = Vec::new();
    for (record, contents) in [
        (enter("top"), &b""[..]),
        (named("a:b", 5), b"hello"),
        (enter("资料"), b""),
        (named("empty", 0), b""),
        (IpmsgRecord::Other { size: 3 }, b"000"),
        (IpmsgRecord::Up, b""),
        (named("last", 4), b"0009"),
        (IpmsgRecord::Up, b""),
    ] {
        record.encode(IpmsgEncoding::Gbk, &mut stream);
        stream.extend_from_slice(contents);
    }
    stream
}

#[test]
fn u4_a_directory_is_read_however_it_is_cut_and_known_to_be_short_wherever_it_ends() {
    let stream = directory();
    let expected = [
        "top/",
        "a:b 5 hello",
        "资料/",
        "empty 0 ",
        "? 3 000",
        "..",
        "last 4 0009",
        "end",
    ];
    let whole = (expected.map(str::to_owned).to_vec(), Ok(()));
    assert_eq!(parts(100, [&stream[..]]), whole);
    assert_eq!(parts(12, stream.chunks(1)), whole);
    for cut in 0..stream.len() {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(parts(100, [head, tail]), whole, "{cut}");
        // All that came is told, and that it is not all.
        let (came, end) = parts(100, [head]);
        assert!(
            matches!(end, Err(WireError::Truncated { .. })),
            "{cut}: {end:?}"
        );
        assert!(came.len() < whole.0.len());
    }
    // What follows it is not looked at.
    let mut tree = IpmsgTree::new(100);
    let stream = [&stream[..], b"more"].concat();
    let mut unread = &stream[..];
    while let Some((_, taken)) = tree.decode(unread).unwrap() {
        unread = &unread[taken..];
    }
    assert_eq!(
        (tree.is_over(), tree.left(), unread),
        (true, 0, &b"more"[..])
    );
}

#[test]
fn u4_a_directory_that_lies_is_refused_on_the_head_that_does() {
    // Garbage behind a file that has more bytes than it says.
    let lies = [
        encoded_record(&enter("top"), IpmsgEncoding::Utf8),
        encoded_record(&named("a", 2), IpmsgEncoding::Utf8),
        b"hello".to_vec(),
    ];
    let (came, end) = parts(100, [&lies.concat()[..]]);
    assert_eq!(came, ["top/", "a 2 he"]);
    assert!(matches!(end, Err(WireError::Malformed { .. })), "{end:?}");
    // More bytes than it may have, in one file or in all, and more than there are numbers.
    let top = encoded_record(&enter("top"), IpmsgEncoding::Utf8);
    for (size, other) in [(101, 0), (60, 60), (u64::MAX, 0), (1, u64::MAX)] {
        let first = encoded_record(&named("a", size), IpmsgEncoding::Utf8);
        let mut stream = [&top[..], &first].concat();
        if size <= 100 {
            stream.extend(std::iter::repeat_n(b'x', usize::try_from(size).unwrap()));
            let second = IpmsgRecord::Other { size: other };
            stream.extend(encoded_record(&second, IpmsgEncoding::Utf8));
        }
        let (_, end) = parts(100, [&stream[..]]);
        assert!(
            matches!(end, Err(WireError::TooLong { max: 100, .. })),
            "{end:?}"
        );
    }
    // What is no directory, and one that ends before it begins.
    for record in [
        named("a", 0),
        IpmsgRecord::Up,
        IpmsgRecord::Other { size: 1 },
    ] {
        let (came, end) = parts(100, [&encoded_record(&record, IpmsgEncoding::Utf8)[..]]);
        assert_eq!(came, [""; 0]);
        let end = end.unwrap_err().to_string();
        assert_eq!(
            end,
            "malformed IPMSG directory: it does not begin with a directory"
        );
    }
    // As many as there may be, and one more.
    let deep = top.repeat(IPMSG_TREE_DEPTH_MAX as usize + 1);
    let (came, end) = parts(100, [&deep[..]]);
    assert_eq!(came.len(), IPMSG_TREE_DEPTH_MAX as usize);
    assert!(matches!(end, Err(WireError::TooLong { .. })), "{end:?}");
    let empty = encoded_record(&named("a", 0), IpmsgEncoding::Utf8);
    let many = [&top[..], &empty.repeat(IPMSG_TREE_ENTRIES_MAX as usize)].concat();
    let mut tree = IpmsgTree::new(0);
    let mut unread = &many[..];
    let end = loop {
        match tree.decode(unread) {
            Ok(Some((_, taken))) => unread = &unread[taken..],
            Ok(None) => panic!("it has too many entries"),
            Err(end) => break end,
        }
    };
    assert_eq!(unread.len(), empty.len());
    assert!(
        matches!(end, WireError::TooLong { len: 65_537, .. }),
        "{end}"
    );
}

proptest! {
    #[test]
    fn fault_e12_no_bytes_are_a_panic(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[0-9]{0,3}:[0-9]{0,11}:u:h:[0-9]{0,11}:.{0,40}".prop_map(String::into_bytes),
    ], is_utf8: bool) {
        if let Ok(packet) = IpmsgPacket::parse(&bytes) {
            IpmsgEntry::of(&packet);
            let again = encoded(&packet);
            prop_assert_eq!(IpmsgPacket::parse(&again).unwrap(), packet);
        }
        ipmsg_text(&bytes, is_utf8);
        IpmsgFile::list(&bytes, is_utf8);
        let _ = IpmsgFileRequests.decode_eof(&bytes);
        let _ = IpmsgRecords.decode_eof(&bytes);
        let _ = parts(1000, [&bytes[..]]);
        let _ = parts(1000, [&[&directory()[..40], &bytes].concat()[..]]);
    }

    #[test]
    fn u4_every_list_is_read_as_it_was_written(names in prop::collection::vec("[^\\x00\\x07]{1,20}", 0..5)) {
        // A name that is only colons cannot be told from an empty one beside its end.
        let names = names.into_iter().map(|name| format!("x{name}"));
        let files: Vec<IpmsgFile> = names.map(|name| file(5, &name, 7)).collect();
        let mut list = Vec::new();
        for file in &files {
            file.encode(IpmsgEncoding::Utf8, &mut list);
        }
        prop_assert_eq!(IpmsgFile::list(&list, true), (files, true));
    }

    #[test]
    fn u4_requests_and_records_do_not_depend_on_cuts(
        packet: u32, id: u32, offset: u64, size: u64, cut in 0..60_usize,
    ) {
        let request = IpmsgFileRequest { packet, id, offset, is_directory: false };
        let text = [&b"1:5:u:h:96:"[..], &request.additional(), b"\0"].concat();
        let (head, tail) = text.split_at(cut.min(text.len()));
        let heard = hear(IpmsgFileRequests, [head, tail], |all, one| all.push(one));
        prop_assert_eq!(heard, (vec![request], Ok(())));
        let record = IpmsgRecord::File { name: "n:m".into(), size, modified: size };
        let mut text = Vec::new();
        record.encode(IpmsgEncoding::Utf8, &mut text);
        let (head, tail) = text.split_at(cut.min(text.len()));
        let heard = hear(IpmsgRecords, [head, tail], |all, one| all.push(one));
        prop_assert_eq!(heard, (vec![record], Ok(())));
    }
}
