use std::net::SocketAddr;

use serde_json::{Value, json};

use super::super::terminal::safe_to_show;
use super::super::{Failure, print_bytes};
use crate::ipmsg::{IpmsgMessage, IpmsgPerson};
use crate::wire::{IpmsgEncoding, IpmsgEntry, IpmsgFile, IpmsgFileKind};

/// What of what came is printed, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Show {
    pub(super) is_json: bool,
}

impl Show {
    /// A message, with what is offered in it.
    pub(super) fn message(self, message: &IpmsgMessage) -> Result<(), Failure> {
        if self.is_json {
            let mut event = event("message", message.from, &message.sender);
            let more = json!({
                "number": message.number,
                "text": message.text,
                "broadcast": message.is_broadcast,
                "automatic": message.is_automatic,
                "encrypted": message.is_encrypted,
                "files": message.files.iter().map(of_file).collect::<Vec<_>>(),
            });
            extend(&mut event, more);
            return line(&event);
        }
        let name = name(&message.sender);
        let mut marks = String::new();
        for (is, mark) in [
            (message.is_broadcast, ", to everybody"),
            (message.is_automatic, ", automatic"),
            (message.is_encrypted, ", encrypted: it cannot be read"),
        ] {
            marks.push_str(if is { mark } else { "" });
        }
        let mut text = format!("{name} ({}, unverified{marks}): ", message.from).into_bytes();
        // Only a message begins at the left edge, whatever is in one.
        let mut lines = message.text.trim_end_matches('\n').split('\n');
        let first = lines.next().unwrap_or_default();
        text.extend_from_slice(&safe_to_show(first.trim_end_matches('\r').as_bytes()));
        text.push(b'\n');
        for line in lines {
            text.extend_from_slice(b"    ");
            text.extend_from_slice(&safe_to_show(line.trim_end_matches('\r').as_bytes()));
            text.push(b'\n');
        }
        for file in &message.files {
            let kind = match file.kind {
                IpmsgFileKind::File => "file",
                IpmsgFileKind::Directory => "directory",
                IpmsgFileKind::Other(_) => "something",
            };
            text.extend_from_slice(format!("    offers {kind} ").as_bytes());
            text.extend_from_slice(&one_line(&file.name));
            text.extend_from_slice(format!(", {} bytes\n", file.size).as_bytes());
        }
        print_bytes(&text)
    }

    /// Somebody came or went; only of those that came this has to be said in a list.
    pub(super) fn person(
        self,
        event_name: &str,
        at: SocketAddr,
        person: &IpmsgPerson,
    ) -> Result<(), Failure> {
        if self.is_json {
            let mut event = event(event_name, at, &person.entry);
            let encoding = person.encoding.map(IpmsgEncoding::name);
            extend(
                &mut event,
                json!({ "version": person.version, "encoding": encoding }),
            );
            return line(&event);
        }
        let entry = &person.entry;
        let user = format!("{}@{}", entry.user, entry.host);
        let group = if entry.group.is_empty() {
            "-"
        } else {
            &entry.group
        };
        let mut text = match event_name {
            "person" => Vec::new(),
            other => format!("* {other} (unverified): ").into_bytes(),
        };
        text.extend_from_slice(at.to_string().as_bytes());
        for field in [&entry.nick, &user, group, &person.version] {
            text.push(b'\t');
            text.extend_from_slice(&one_line(field));
        }
        text.push(b'\n');
        print_bytes(&text)
    }

    /// What became of a message or a file of ours, or of theirs.
    pub(super) fn outcome(self, event: &Value, text: &str) -> Result<(), Failure> {
        self.outcomes(event, &[text])
    }

    /// The same in several lines.
    pub(super) fn outcomes(self, event: &Value, lines: &[impl AsRef<str>]) -> Result<(), Failure> {
        if self.is_json {
            return line(event);
        }
        let mut shown = Vec::new();
        for line in lines {
            shown.extend_from_slice(&one_line(line.as_ref()));
            shown.push(b'\n');
        }
        print_bytes(&shown)
    }
}

/// The name of somebody, on one line and harmless.
pub(super) fn name(entry: &IpmsgEntry) -> String {
    let name = if entry.nick.is_empty() {
        &entry.host
    } else {
        &entry.nick
    };
    String::from_utf8_lossy(&one_line(name)).into_owned()
}

fn one_line(text: &str) -> Vec<u8> {
    safe_to_show(text.replace(['\n', '\t'], " ").as_bytes())
}

fn event(event: &str, at: SocketAddr, entry: &IpmsgEntry) -> Value {
    json!({
        "schema": 1,
        "event": event,
        "from": at.to_string(),
        "verified": false,
        "user": entry.user,
        "host": entry.host,
        "nick": entry.nick,
        "group": entry.group,
    })
}

fn of_file(file: &IpmsgFile) -> Value {
    json!({
        "id": file.id,
        "name": file.name,
        "size": file.size,
        "modified": file.modified,
        "kind": match file.kind {
            IpmsgFileKind::File => "file",
            IpmsgFileKind::Directory => "directory",
            IpmsgFileKind::Other(_) => "other",
        },
    })
}

fn extend(event: &mut Value, more: Value) {
    if let (Value::Object(event), Value::Object(more)) = (event, more) {
        event.extend(more);
    }
}

fn line(event: &Value) -> Result<(), Failure> {
    print_bytes(format!("{event}\n").as_bytes())
}
