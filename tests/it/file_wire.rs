//! The headers of files (F1 to F3): whole, byte by byte, cut at every point, with a tail, and what is none.

use onepoll::wire::{
    BadName, Decode, Encode, FILE_SIZE_MAX, FileAnswer, FileAnswers, FileEntry, FileError,
    FileErrorKind, FileFacts, FileName, FilePart, FileRequest, FileRequests, HEADER_BYTES_MAX,
    Kept, Md5Sum, Names, Sha256, Sha256Sum, Sum, Upload, UploadForm, WireError,
};
use proptest::prelude::*;

use crate::hear::hear;

/// What was heard, however it was cut: bytes that came in pieces are one.
#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Said(String),
    Bytes(Vec<u8>),
}

fn bytes(heard: &mut Vec<Heard>, piece: &[u8]) {
    match heard.last_mut() {
        Some(Heard::Bytes(all)) => all.extend_from_slice(piece),
        _ => heard.push(Heard::Bytes(piece.to_vec())),
    }
}

fn request(heard: &mut Vec<Heard>, request: &FileRequest<'_>) {
    match request {
        FileRequest::Part => {}
        FileRequest::Bytes(piece) => bytes(heard, piece),
        other => heard.push(Heard::Said(format!("{other:?}"))),
    }
}

fn answer(heard: &mut Vec<Heard>, answer: &FileAnswer<'_>) {
    match answer {
        FileAnswer::Part => {}
        FileAnswer::Bytes(piece) => bytes(heard, piece),
        other => heard.push(Heard::Said(format!("{other:?}"))),
    }
}

fn requests(chunks: &[&[u8]]) -> (Vec<Heard>, Result<(), WireError>) {
    let chunks = chunks.iter().copied();
    hear(FileRequests::new(), chunks, |all, one| request(all, &one))
}

fn answers(chunks: &[&[u8]]) -> (Vec<Heard>, Result<(), WireError>) {
    let chunks = chunks.iter().copied();
    hear(FileAnswers::new(), chunks, |all, one| answer(all, &one))
}

/// A header as a client that imports nothing of ours writes it.
fn frame(json: &str) -> Vec<u8> {
    let len = u32::try_from(json.len()).unwrap();
    [&len.to_le_bytes()[..], json.as_bytes()].concat()
}

fn upload(name: &str, size: Option<u64>, form: UploadForm) -> Upload {
    Upload {
        name: name.to_owned(),
        size,
        md5: None,
        sha256: None,
        kept: None,
        has_end: false,
        form,
    }
}

fn sum(of: &[u8]) -> Sha256Sum {
    let mut sha256 = Sha256::new();
    sha256.update(of);
    sha256.finish()
}

/// Every kind of request, one after another.
fn asked() -> (Vec<u8>, Vec<Heard>) {
    let name = "ä \"b\".txt".to_owned();
    let kept = Some(Kept {
        bytes: 3,
        sha256: sum(b"abc"),
    });
    let digested = Upload {
        md5: Some(Sum([0x5a; 16])),
        sha256: Some(sum(b"hello")),
        ..upload("/a/b/c.txt", Some(5), UploadForm::Framed)
    };
    let resumed = Upload {
        kept,
        ..upload("r", Some(8), UploadForm::Resumable)
    };
    let ended = Upload {
        kept,
        has_end: true,
        ..upload("r", Some(8), UploadForm::Resumable)
    };
    let all = [
        FileRequest::Upload(Box::new(digested)),
        FileRequest::Bytes(b"hello"),
        FileRequest::Upload(Box::new(upload("e", Some(0), UploadForm::Framed))),
        FileRequest::Upload(Box::new(upload(&name, Some(6), UploadForm::Naive))),
        FileRequest::Bytes(b"{\"ok\":"),
        FileRequest::Upload(Box::new(resumed)),
        FileRequest::Bytes(b"\0\0\0\0\xff"),
        FileRequest::Upload(Box::new(ended)),
        FileRequest::Bytes(b"{\"one"),
        FileRequest::End(Some(sum(b"hello"))),
        FileRequest::Resume {
            name: name.clone(),
            size: FILE_SIZE_MAX,
        },
        FileRequest::Verify {
            name: name.clone(),
            bytes: None,
        },
        FileRequest::Verify {
            name: name.clone(),
            bytes: Some(0),
        },
        FileRequest::Download {
            name: name.clone(),
            kept: None,
        },
        FileRequest::Download { name, kept },
        FileRequest::List,
    ];
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    for one in all {
        one.encode(&mut out).unwrap();
        request(&mut expected, &one);
    }
    let parts = FileRequest::Upload(Box::new(upload("p", None, UploadForm::Resumable)));
    parts.encode(&mut out).unwrap();
    request(&mut expected, &parts);
    for bytes in [&b"one"[..], b"", b"two"] {
        let is_request = true;
        FilePart { bytes, is_request }.encode(&mut out);
        if !bytes.is_empty() {
            request(&mut expected, &FileRequest::Bytes(bytes));
        }
    }
    let end = FileRequest::End(Some(sum(b"onetwo")));
    end.encode(&mut out).unwrap();
    request(&mut expected, &end);
    (out, expected)
}

/// Every kind of answer.
fn answered() -> (Vec<u8>, Vec<Heard>) {
    let facts = FileFacts {
        name: Some("a.txt".to_owned()),
        size: Some(FILE_SIZE_MAX),
        offset: Some(0),
        bytes: Some(7),
        sha256: Some(sum(b"")),
        modified: Some(1_700_000_000),
        files: Some(2),
        skipped: Some(1),
    };
    let mut all = vec![
        FileAnswer::Ok(FileFacts::default()),
        FileAnswer::Bytes(b"some"),
        FileAnswer::Ok(facts),
    ];
    for kind in FileErrorKind::ALL {
        let error = FileError {
            valid: Some(3),
            ..FileError::new(kind, "no").about("b")
        };
        all.push(FileAnswer::Error(error));
        all.push(FileAnswer::Bytes(b"\0\0"));
    }
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    for one in all {
        one.encode(&mut out);
        answer(&mut expected, &one);
    }
    (out, expected)
}

#[test]
fn f3_requests_and_answers_are_the_same_at_every_split_point() {
    let (sent, expected) = asked();
    let each: Vec<&[u8]> = sent.chunks(1).collect();
    for chunks in [&[&sent[..]][..], &each] {
        assert_eq!(requests(chunks), (expected.clone(), Ok(())));
    }
    for at in 0..=sent.len() {
        let (left, right) = sent.split_at(at);
        assert_eq!(requests(&[left, right]), (expected.clone(), Ok(())), "{at}");
    }
    let (sent, expected) = answered();
    let each: Vec<&[u8]> = sent.chunks(1).collect();
    for chunks in [&[&sent[..]][..], &each] {
        assert_eq!(answers(chunks), (expected.clone(), Ok(())));
    }
    for at in 0..=sent.len() {
        let (left, right) = sent.split_at(at);
        assert_eq!(answers(&[left, right]), (expected.clone(), Ok(())), "{at}");
    }
}

#[test]
fn fault_b15_the_end_inside_of_a_request_is_an_error_at_every_byte() {
    let (sent, whole) = asked();
    let mut ends = 0;
    for at in 0..sent.len() {
        match requests(&[&sent[..at]]) {
            (_, Err(WireError::Truncated { .. })) => {}
            (heard, Ok(())) => {
                // Between two requests nothing is missing.
                assert!(whole.starts_with(&heard[..heard.len().saturating_sub(1)]));
                ends += 1;
            }
            (_, other) => panic!("{at}: {other:?}"),
        }
    }
    assert!((11..=13).contains(&ends), "{ends}");
}

#[test]
fn f1_both_spellings_digests_and_what_tutorials_add_are_understood() {
    let digest = "9e107d9d372bb6826bd81d3542a419d6";
    for json in [
        format!(r#"{{"file_name":"/a/b/c/d/e/a.txt","file_size":1073741824000,"md5":"{digest}"}}"#),
        format!(
            r#"{{"filename":"/a/b/c/d/e/a.txt","filesize":1073741824000,"md5":"{}","x":[1e400]}}"#,
            digest.to_uppercase()
        ),
    ] {
        let sent = frame(&json);
        let (heard, taken) = FileRequests::new().decode(&sent).unwrap().unwrap();
        let md5: Md5Sum = digest.parse().unwrap();
        let expected = Upload {
            md5: Some(md5),
            ..upload(
                "/a/b/c/d/e/a.txt",
                Some(1_073_741_824_000),
                UploadForm::Framed,
            )
        };
        assert_eq!(heard, FileRequest::Upload(Box::new(expected)));
        assert_eq!(taken, sent.len());
    }
}

#[test]
fn f2_the_object_ends_where_it_ends_whatever_is_in_its_strings() {
    let json = r#"{"file_name": "a}\"{\\", "more": {"x": ["}", "\\"]}, "file_size": 4}"#;
    let sent = [json.as_bytes(), b"}}\"{"].concat();
    let name = "a}\"{\\";
    let expected = vec![
        Heard::Said(format!(
            "{:?}",
            FileRequest::Upload(Box::new(upload(name, Some(4), UploadForm::Naive)))
        )),
        Heard::Bytes(b"}}\"{".to_vec()),
    ];
    for at in 0..=sent.len() {
        let (left, right) = sent.split_at(at);
        assert_eq!(requests(&[left, right]), (expected.clone(), Ok(())), "{at}");
    }
}

#[test]
fn f2_an_object_that_does_not_end_is_refused_at_the_limit() {
    let mut sent = br#"{"file_name":""#.to_vec();
    sent.resize(HEADER_BYTES_MAX - 1, b'a');
    assert_eq!(FileRequests::new().decode(&sent), Ok(None));
    sent.push(b'a');
    let refused = FileRequests::new().decode(&sent);
    assert!(
        matches!(refused, Err(WireError::TooLong { .. })),
        "{refused:?}"
    );
}

fn refused(sent: &[u8]) -> String {
    let (heard, end) = requests(&[sent]);
    assert_eq!(heard, [], "{}", sent.escape_ascii());
    match end {
        Err(WireError::Malformed { detail, .. }) => detail,
        other => panic!("{}: {other:?}", sent.escape_ascii()),
    }
}

#[test]
fn fault_c3_json_that_is_nested_deep_is_refused() {
    for depth in [16, 17, 2000] {
        let json = format!(
            r#"{{"file_size":0,"file_name":"a","x":{}{}}}"#,
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        );
        for sent in [frame(&json), json.into_bytes()] {
            if depth > 16 {
                assert_eq!(refused(&sent), "nested deeper than 16");
            } else {
                assert_eq!(requests(&[&sent]).1, Ok(()));
            }
        }
    }
}

#[test]
fn fault_c4_a_header_of_more_than_4_kib_is_refused_on_its_length() {
    for (length, negative) in [(4097_u32, false), (0x7fff_ffff, false), (u32::MAX, true)] {
        let sent = length.to_le_bytes();
        match FileRequests::new().decode(&sent) {
            Err(WireError::TooLong { max: 4096, .. }) => assert!(!negative),
            Err(WireError::Negative { len: -1, .. }) => assert!(negative),
            other => panic!("{length}: {other:?}"),
        }
    }
    assert_eq!(
        FileRequests::new().decode(&4096_u32.to_le_bytes()),
        Ok(None)
    );
}

#[test]
fn fault_c5_keys_that_come_twice_are_refused() {
    for json in [
        r#"{"file_name":"a","file_size":1,"file_name":"b"}"#,
        r#"{"file_name":"a","file_size":1,"file_size":1}"#,
        r#"{"file_name":"a","file_size":1,"x":1,"x":2}"#,
        r#"{"onepoll":"list","onepoll":"list"}"#,
    ] {
        let detail = refused(&frame(json));
        assert!(detail.contains("comes twice"), "{detail}");
    }
    let detail = refused(&frame(r#"{"file_name":"a","filename":"a","file_size":1}"#));
    assert_eq!(detail, "`file_name` and `filename` are one key");
}

#[test]
fn fault_c6_a_wrong_value_is_one_error_that_names_its_key() {
    for wrong in [
        "-1",
        "1.5",
        "\"10\"",
        "true",
        "1e400",
        "-0",
        "null",
        "[]",
        "9223372036854775808",
        "{}",
        "1e2",
    ] {
        for key in ["file_size", "filesize"] {
            let json = format!(r#"{{"file_name":"a","{key}":{wrong}}}"#);
            let expected =
                format!("`{key}` is a whole number from 0 to 9223372036854775807, not {wrong}");
            assert_eq!(refused(&frame(&json)), expected);
            assert_eq!(refused(json.as_bytes()), expected);
        }
    }
    for (json, expected) in [
        (r#"{"file_size":1}"#, "`file_name` is missing"),
        (r#"{"file_name":"a"}"#, "`file_size` is missing"),
        (
            r#"{"file_name":7,"file_size":1}"#,
            "`file_name` is a string, not 7",
        ),
        (
            r#"{"file_name":"a","file_size":1,"md5":"abc"}"#,
            "`md5` is 32 hexadecimal digits, not 3 bytes that are something else",
        ),
        (
            r#"{"file_name":"a","file_size":1,"sha256":null}"#,
            "`sha256` is a string, not null",
        ),
        (
            r#"{"onepoll":"copy"}"#,
            "`onepoll` is one of upload, resume, verify, download, list, not \"copy\"",
        ),
        (r#"{"onepoll":"list","under":"a"}"#, "unknown key `under`"),
        (
            r#"{"onepoll":"download","file_name":"a","offset":3}"#,
            "`kept_sha256` is missing: `offset` needs it",
        ),
    ] {
        assert_eq!(refused(&frame(json)), expected, "{json}");
    }
    let largest = format!(
        r#"{{"file_name":"a","file_size":{}}}"#,
        9_007_199_254_740_993_u64
    );
    let (heard, _) = FileRequests::new().decode(&frame(&largest)).map_or_else(
        |error| panic!("{error}"),
        |taken| {
            let (request, taken) = taken.unwrap();
            (format!("{request:?}"), taken)
        },
    );
    assert!(heard.contains("Some(9007199254740993)"), "{heard}");
}

#[test]
fn fault_c7_no_number_is_not_a_number() {
    for wrong in ["NaN", "Infinity", "-Infinity"] {
        let json = format!(r#"{{"file_name":"a","file_size":{wrong}}}"#);
        assert!(!refused(&frame(&json)).is_empty());
    }
}

#[test]
fn fault_g11_an_offset_beyond_the_size_or_without_a_digest_is_refused() {
    let digest = sum(b"x");
    for (offset, size) in [("9", "8"), ("-1", "8"), ("9223372036854775808", "8")] {
        let json = format!(
            r#"{{"onepoll":"upload","file_name":"a","file_size":{size},"offset":{offset},"kept_sha256":"{digest}"}}"#
        );
        let detail = refused(&frame(&json));
        assert!(
            detail.starts_with("`offset` is a whole number from 0 to 8"),
            "{detail}"
        );
    }
}

#[test]
fn f3_a_naive_object_asks_for_nothing_but_an_upload() {
    let detail = refused(br#"{"onepoll":"list"}"#);
    assert_eq!(detail, "a header with `onepoll` has its length before it");
}

#[test]
fn fault_g1_hostile_names_are_none() {
    use BadName::{Backslash, Control, Directories, Empty, Hidden, TooDeep, TooLong};
    let long = "ä".repeat(128);
    let deep = "a/".repeat(16) + "a";
    let wide = ["a"; 9].map(|a| a.repeat(120)).join("/");
    for (name, basename, refuse, tree) in [
        ("../../etc/passwd", None, Some(Directories), Some(Hidden)),
        ("/etc/passwd", None, Some(Directories), Some(Empty)),
        ("a/../../b", None, Some(Directories), Some(Hidden)),
        ("..", Some(Hidden), Some(Hidden), Some(Hidden)),
        ("..\\", Some(Hidden), Some(Hidden), Some(Hidden)),
        ("a\\b", Some(Backslash), Some(Backslash), Some(Backslash)),
        (".", Some(Hidden), Some(Hidden), Some(Hidden)),
        (".bashrc", Some(Hidden), Some(Hidden), Some(Hidden)),
        ("", Some(Empty), Some(Empty), Some(Empty)),
        ("a/", Some(Empty), Some(Directories), Some(Empty)),
        ("a//b", None, Some(Directories), Some(Empty)),
        ("a\0b", Some(Control), Some(Control), Some(Control)),
        ("a\nb", Some(Control), Some(Control), Some(Control)),
        ("\u{9b}2J", Some(Control), Some(Control), Some(Control)),
        (&long, Some(TooLong), Some(TooLong), Some(TooLong)),
        (&deep, None, Some(Directories), Some(TooDeep)),
        (&wide, None, Some(Directories), Some(TooLong)),
        ("a/b", None, Some(Directories), None),
        ("a b%s{}", None, None, None),
    ] {
        for (names, expected) in [
            (Names::Basename, basename),
            (Names::Refuse, refuse),
            (Names::Tree, tree),
        ] {
            let said = FileName::new(name, names).err();
            assert_eq!(said, expected, "{name:?} {names:?}");
        }
    }
    let longest = "a".repeat(255);
    assert!(FileName::new(&longest, Names::Refuse).is_ok());
    let name = FileName::new("/x/y.txt", Names::Basename).unwrap();
    assert_eq!((name.as_str(), name.split()), ("y.txt", (None, "y.txt")));
    let name = FileName::new("x/y/z", Names::Tree).unwrap();
    assert_eq!(name.split(), (Some("x/y"), "z"));
}

#[test]
fn fault_c8_a_reason_and_a_hostile_name_always_fit_an_answer() {
    for text in ["\0".repeat(5000), "ä".repeat(5000), "\"".repeat(1024)] {
        let error = FileError::new(FileErrorKind::Name, text.clone()).about(&text);
        let mut out = Vec::new();
        FileAnswer::Error(error).encode(&mut out);
        let (heard, end) = answers(&[&out]);
        assert_eq!((heard.len(), end), (1, Ok(())));
    }
}

#[test]
fn f3_an_entry_of_a_list_comes_back_and_says_which_key_is_wrong() {
    let entry = FileEntry {
        name: "a\"\u{202e}b".to_owned(),
        size: FILE_SIZE_MAX,
        modified: 0,
    };
    let mut out = Vec::new();
    entry.encode(&mut out);
    assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
    assert_eq!(FileEntry::parse(&out), Ok(entry));
    let wrong = FileEntry::parse(br#"{"file_name":"a","file_size":"1","modified":0}"#);
    let said = wrong.unwrap_err().to_string();
    assert!(said.contains("`file_size` is a whole number"), "{said}");
}

proptest! {
    #[test]
    fn garbage_is_a_request_or_not_yet_or_an_error(
        input in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[{}\\[\\]\":,a\\\\]{0,200}".prop_map(String::into_bytes),
            "[{}\\[\\]\":,a\\\\]{0,60}".prop_map(|json| frame(&json)),
        ],
        size in 1..20_usize,
    ) {
        let whole = requests(&[&input]);
        let pieces: Vec<&[u8]> = input.chunks(size).collect();
        let cut = requests(&pieces);
        prop_assert_eq!(&whole.0, &cut.0);
        prop_assert_eq!(whole.1.is_ok(), cut.1.is_ok());
        answers(&pieces).1.ok();
    }
}
