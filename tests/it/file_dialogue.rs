//! What a client of files asks and believes, without a network: every cut, and peers that lie.

use onepoll::client::{FileDialogue, FileNews};
use onepoll::wire::{
    Encode, FileAnswer, FileEntry, FileError, FileErrorKind, FileFacts, FileRequest,
    HEADER_BYTES_MAX, Kept, Sha256, Sha256Sum, Upload, UploadForm, WireError,
};

fn sum(of: &[u8]) -> Sha256Sum {
    let mut sha256 = Sha256::new();
    sha256.update(of);
    sha256.finish()
}

/// A header as a server that imports nothing of ours writes it.
fn frame(json: &str) -> Vec<u8> {
    let len = u32::try_from(json.len()).unwrap();
    [&len.to_le_bytes()[..], json.as_bytes()].concat()
}

fn download(kept: u64) -> FileRequest<'static> {
    FileRequest::Download {
        name: "a".to_owned(),
        kept: (kept > 0).then(|| Kept {
            bytes: kept,
            sha256: sum(b"x"),
        }),
    }
}

fn resume(size: u64) -> FileRequest<'static> {
    FileRequest::Resume {
        name: "a".to_owned(),
        size,
    }
}

fn verify(bytes: Option<u64>) -> FileRequest<'static> {
    FileRequest::Verify {
        name: "a".to_owned(),
        bytes,
    }
}

fn upload(size: Option<u64>) -> FileRequest<'static> {
    FileRequest::Upload(Box::new(Upload {
        name: "a".to_owned(),
        size,
        md5: None,
        sha256: None,
        kept: None,
        has_end: false,
        form: UploadForm::Resumable,
    }))
}

/// What was heard of these pieces, where the bytes of a file are one however they came; and why no more was.
fn heard<'p>(
    asked: &[FileRequest<'_>],
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<String>, Option<WireError>) {
    let mut dialogue = FileDialogue::new();
    for request in asked {
        dialogue.ask(request).unwrap();
    }
    let (mut heard, mut bytes, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            match dialogue.next(&unread) {
                Ok(None) => break,
                Ok(Some((news, taken))) => {
                    match news {
                        FileNews::Part => {}
                        FileNews::Bytes(some) => bytes.extend_from_slice(some),
                        other => {
                            if !bytes.is_empty() {
                                let bytes = std::mem::take(&mut bytes);
                                heard.push(String::from_utf8(bytes).unwrap());
                            }
                            heard.push(format!("{other:?}"));
                        }
                    }
                    unread.drain(..taken);
                }
                Err(error) => return (heard, Some(error)),
            }
        }
    }
    (heard, None)
}

/// A conversation with everything in it.
fn conversation() -> (Vec<FileRequest<'static>>, Vec<u8>) {
    let hello = sum(b"hello");
    let asked = vec![
        upload(Some(5)),
        resume(9),
        resume(9),
        verify(Some(0)),
        download(0),
        download(2),
        FileRequest::List,
        download(0),
        FileRequest::List,
        upload(None),
    ];
    let facts = FileFacts {
        name: Some("a".to_owned()),
        size: Some(5),
        ..FileFacts::default()
    };
    let digested = FileFacts {
        sha256: Some(hello),
        ..facts.clone()
    };
    let error = FileError::new(FileErrorKind::NotFound, "there is no such file").about("a");
    let entries: Vec<u8> = (0..3)
        .flat_map(|n| {
            let mut line = Vec::new();
            let name = format!("\u{1b}[2J{n}");
            let entry = FileEntry {
                name,
                size: n,
                modified: n,
            };
            entry.encode(&mut line);
            line
        })
        .collect();
    let mut out = Vec::new();
    let mut say = |answer: FileAnswer<'_>| answer.encode(&mut out);
    say(FileAnswer::Ok(digested.clone()));
    say(FileAnswer::Ok(FileFacts {
        offset: Some(0),
        ..facts.clone()
    }));
    say(FileAnswer::Ok(FileFacts {
        offset: Some(5),
        size: Some(9),
        ..digested.clone()
    }));
    say(FileAnswer::Ok(FileFacts {
        bytes: Some(0),
        modified: Some(7),
        ..digested.clone()
    }));
    for offset in [0, 2] {
        say(FileAnswer::Ok(FileFacts {
            offset: Some(offset),
            modified: Some(7),
            ..facts.clone()
        }));
        let rest = &b"hello"[usize::try_from(offset).unwrap()..];
        say(FileAnswer::Bytes(&rest[..1]));
        say(FileAnswer::Bytes(b""));
        say(FileAnswer::Bytes(&rest[1..]));
        say(FileAnswer::Ok(digested.clone()));
    }
    // A line goes on in the next part.
    say(FileAnswer::Bytes(&entries[..70]));
    say(FileAnswer::Bytes(&entries[70..]));
    say(FileAnswer::Ok(FileFacts {
        files: Some(3),
        skipped: Some(1),
        ..FileFacts::default()
    }));
    say(FileAnswer::Error(error));
    say(FileAnswer::Ok(FileFacts {
        files: Some(0),
        ..FileFacts::default()
    }));
    say(FileAnswer::Ok(digested));
    (asked, out)
}

#[test]
fn answers_are_heard_however_they_are_cut() {
    let (asked, said) = conversation();
    let whole = heard(&asked, [&said[..]]);
    assert_eq!(whole.1, None);
    assert_eq!(whole.0.len(), 4 + 3 + 3 + 4 + 1 + 1 + 1, "{:#?}", whole.0);
    assert_eq!(
        whole.0[5..7],
        ["hello", &format!("Ends({})", sum(b"hello"))]
    );
    assert_eq!(whole.0[8], "llo");
    assert!(whole.0[10].contains("[2J0"), "{}", whole.0[10]);
    for cut in 0..=said.len() {
        let (before, behind) = said.split_at(cut);
        assert_eq!(heard(&asked, [before, behind]), whole, "at {cut}");
    }
    assert_eq!(heard(&asked, said.chunks(1)), whole);
}

#[test]
fn a_server_that_lies_is_not_believed() {
    let ok = |keys: &str| frame(&format!("{{\"ok\":true,{keys}}}"));
    let digest = sum(b"hello").to_string();
    let begins = ok("\"file_name\":\"a\",\"file_size\":5,\"offset\":0");
    let part = |bytes: &[u8]| {
        let mut out = Vec::new();
        FileAnswer::Bytes(bytes).encode(&mut out);
        out
    };
    let long_line = [part(&[b'x'; 9000]), part(&[b'x'; 9000])].concat();
    let ends = ok(&format!("\"file_size\":5,\"sha256\":\"{digest}\""));
    let cases: Vec<(FileRequest<'_>, Vec<u8>, &str)> = vec![
        (
            download(0),
            ok("\"file_name\":\"../b\",\"file_size\":5,\"offset\":0"),
            "`file_name` is another than was asked for",
        ),
        (
            download(3),
            ok("\"file_size\":5,\"offset\":4"),
            "`offset` is none that was offered",
        ),
        (
            download(0),
            ok("\"file_size\":5,\"offset\":1"),
            "`offset` is none that was offered",
        ),
        (
            download(7),
            ok("\"file_size\":5,\"offset\":7"),
            "`offset` is behind the end of the file",
        ),
        (
            download(0),
            [begins.clone(), part(b"hello!")].concat(),
            "more bytes of the file came than were told",
        ),
        (
            download(0),
            [begins.clone(), part(b"hell"), ends.clone()].concat(),
            "fewer bytes of the file came than were told",
        ),
        (
            download(0),
            [begins.clone(), part(b"hello"), ok("\"file_size\":5")].concat(),
            "`sha256` is missing",
        ),
        (
            download(0),
            [
                begins,
                part(b"hello"),
                ok(&format!("\"file_size\":6,\"sha256\":\"{digest}\"")),
            ]
            .concat(),
            "`file_size` was another before",
        ),
        (download(0), ok("\"offset\":0"), "`file_size` is missing"),
        (
            download(0),
            ok("\"file_size\":-1,\"offset\":0"),
            "`file_size` is a whole number from 0 to 9223372036854775807, not -1",
        ),
        (
            download(0),
            ok("\"file_size\":NaN,\"offset\":0"),
            "expected value",
        ),
        (
            download(0),
            ok("\"file_size\":1e400,\"offset\":0"),
            "`file_size` is a whole number from 0 to 9223372036854775807, not 1e400",
        ),
        (
            download(0),
            ok("\"file_size\":5,\"file_size\":6,\"offset\":0"),
            "comes twice",
        ),
        (
            download(0),
            part(b"hello"),
            "a part came of what was not asked for",
        ),
        (
            upload(Some(5)),
            part(b"hello"),
            "a part came of what was not asked for",
        ),
        (
            upload(Some(5)),
            ok(&format!("\"file_size\":6,\"sha256\":\"{digest}\"")),
            "`file_size` is not that of the file that was sent",
        ),
        (
            upload(Some(5)),
            ok("\"file_size\":5"),
            "`sha256` is missing",
        ),
        (
            resume(5),
            ok(&format!("\"offset\":6,\"sha256\":\"{digest}\"")),
            "`offset` is behind the end of the file",
        ),
        (resume(5), ok("\"offset\":5"), "`sha256` is missing"),
        (
            verify(Some(3)),
            ok(&format!(
                "\"file_size\":5,\"bytes\":5,\"sha256\":\"{digest}\""
            )),
            "`bytes` is not what was asked for",
        ),
        (
            verify(None),
            ok(&format!(
                "\"file_name\":\"b\",\"file_size\":5,\"bytes\":5,\"sha256\":\"{digest}\""
            )),
            "`file_name` is another than was asked for",
        ),
        (FileRequest::List, long_line, "line of the list"),
        (
            FileRequest::List,
            [
                part(b"{\"file_name\":\"a\",\"file_size\":1,\"modified\":1}\n"),
                ok("\"files\":2"),
            ]
            .concat(),
            "`files` is not how many were listed",
        ),
        (
            FileRequest::List,
            [part(b"{\"file_name\""), ok("\"files\":0")].concat(),
            "the last line of the list has no end",
        ),
        (FileRequest::List, part(b"hello\n"), "expected value"),
        (
            FileRequest::List,
            i32::MAX.to_le_bytes().to_vec(),
            "header of 2147483647 bytes is longer than the limit of 4096",
        ),
        (
            FileRequest::List,
            (-1_i32).to_le_bytes().to_vec(),
            "header has the negative length -1",
        ),
        (
            FileRequest::List,
            frame("{\"data_size\":1048577}"),
            "`data_size` is a whole number from 0 to 1048576, not 1048577",
        ),
    ];
    for (request, said, why) in cases {
        let (_, error) = heard(&[request], said.chunks(1000));
        let error = error.expect(why).to_string();
        assert!(error.contains(why), "{error} does not say {why}");
    }
    // What nobody asked.
    let (_, error) = heard(&[], [&ends[..]]);
    assert!(error.unwrap().to_string().contains("nothing was asked"));
    // A refusal of the whole connection is heard as such.
    let (news, error) = heard(
        &[],
        [&frame("{\"ok\":false,\"kind\":\"stopping\",\"error\":\"bye\"}")[..]],
    );
    assert!(error.is_none() && news[0].contains("Stopping"), "{news:?}");
}

#[test]
fn a_long_list_is_handed_on_file_by_file() {
    let mut dialogue = FileDialogue::new();
    dialogue.ask(&FileRequest::List).unwrap();
    let mut line = Vec::new();
    let entry = FileEntry {
        name: "n".repeat(1024),
        size: 1,
        modified: 1,
    };
    entry.encode(&mut line);
    let lines = line.repeat(50);
    let mut part = Vec::new();
    FileAnswer::Bytes(&lines).encode(&mut part);
    let mut listed = 0;
    for _ in 0..200 {
        let mut at = 0;
        while let Some((news, taken)) = dialogue.next(&part[at..]).unwrap() {
            listed += usize::from(matches!(news, FileNews::Entry(_)));
            at += taken;
        }
        assert_eq!(at, part.len());
    }
    assert_eq!((listed, dialogue.unanswered()), (50 * 200, 1));
}

#[test]
fn the_longest_name_fits_in_a_header() {
    let mut dialogue = FileDialogue::new();
    let name = format!("{}a", "\"/".repeat(15).replace('/', &"\"".repeat(60)));
    let request = FileRequest::Download {
        name: format!("{name}{}", "\"".repeat(1024 - name.len())),
        kept: Some(Kept {
            bytes: u64::MAX,
            sha256: sum(b""),
        }),
    };
    dialogue.ask(&request).unwrap();
    assert!(dialogue.out().len() <= 4 + HEADER_BYTES_MAX);
}
