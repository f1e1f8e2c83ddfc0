//! What decoding costs without a network, beside the least that could be done with the same bytes.
//!
//!     cargo bench --bench frames [-- --rounds 9 --seconds 0.05 --only line]
//!
//! Each row alternates with its floor, and shows the ratio of the two: 1.00 is as fast as a loop
//! over `memchr`, or as a copy.

mod common;

use std::hint::black_box;
use std::io;

use jiff::Zoned;
use onepoll::buf::ReadBuf;
use onepoll::load::measure::clock::Stopwatch;
use onepoll::service::Echo;
use onepoll::service::rehearsal::Stage;
use onepoll::wire::{Decode, Encode, Framed, Line, Prefixed, Request, neutralise, strftime};

use common::figures::{Median, short};
use common::options::Options;

/// What one read of the loop brings at most.
const READ_BYTES: usize = 64 * 1024;

/// Does something with some bytes, and says how many frames that were.
type Work<'w> = Box<dyn FnMut() -> usize + 'w>;

struct Row<'w> {
    name: &'static str,
    bytes: usize,
    ours: Work<'w>,
    floor_name: &'static str,
    floor: Work<'w>,
}

fn main() -> io::Result<()> {
    let Some(options) = Options::read(9, 0.05).map_err(io::Error::other)? else {
        return Ok(());
    };
    let lines = |length: usize| repeated(&[vec![b'x'; length - 1], vec![b'\n']].concat());
    let (short_lines, long_lines) = (lines(16), lines(1024));
    let mut frame = Vec::new();
    Framed::new(&[b'x'; 60])
        .map_err(io::Error::other)?
        .encode(&mut frame);
    let prefixed = repeated(&frame);
    let plain = vec![b'x'; 1024];
    let umlauts = "grüße, 世界 ".repeat(60).into_bytes();
    let controls = b"red \x1b[31m alert\x07 ".repeat(60);
    let when: Zoned = "2026-11-21T12:34:56+00:00[UTC]"
        .parse()
        .map_err(io::Error::other)?;
    let (mut out, mut floor_out) = (Vec::new(), Vec::new());
    let (mut plain_out, mut plain_floor) = (Vec::new(), Vec::new());
    let (mut utf8_out, mut utf8_floor) = (Vec::new(), Vec::new());
    let (mut control_out, mut control_floor) = (Vec::new(), Vec::new());
    let mut stage = Stage::new(Echo);
    let client = stage.enters();
    let mut copy = Vec::new();

    let rows = [
        Row {
            name: "line, 16 B",
            bytes: short_lines.len(),
            ours: Box::new(|| decode(&mut Line::default(), &short_lines)),
            floor_name: "memchr",
            floor: Box::new(|| find_newlines(&short_lines)),
        },
        Row {
            name: "line, 1 KiB",
            bytes: long_lines.len(),
            ours: Box::new(|| decode(&mut Line::default(), &long_lines)),
            floor_name: "memchr",
            floor: Box::new(|| find_newlines(&long_lines)),
        },
        Row {
            name: "line through ReadBuf, 16 B",
            bytes: short_lines.len(),
            ours: Box::new(through_buffer(&short_lines)),
            floor_name: "copy, memchr",
            floor: Box::new(copy_and_find(&short_lines)),
        },
        Row {
            name: "request, 16 B",
            bytes: short_lines.len(),
            ours: Box::new(|| decode(&mut Request::default(), &short_lines)),
            floor_name: "memchr",
            floor: Box::new(|| find_newlines(&short_lines)),
        },
        Row {
            name: "prefixed, 64 B",
            bytes: prefixed.len(),
            ours: Box::new(|| decode(&mut Prefixed::default(), &prefixed)),
            floor_name: "read lengths",
            floor: Box::new(|| follow_lengths(&prefixed)),
        },
        Row {
            name: "neutralise, plain 1 KiB",
            bytes: plain.len(),
            ours: Box::new(|| neutral(&plain, &mut plain_out)),
            floor_name: "copy",
            floor: Box::new(|| copied(&plain, &mut plain_floor)),
        },
        Row {
            name: "neutralise, UTF-8",
            bytes: umlauts.len(),
            ours: Box::new(|| neutral(&umlauts, &mut utf8_out)),
            floor_name: "check, copy",
            floor: Box::new(|| checked(&umlauts, &mut utf8_floor)),
        },
        Row {
            name: "neutralise, controls",
            bytes: controls.len(),
            ours: Box::new(|| neutral(&controls, &mut control_out)),
            floor_name: "copy",
            floor: Box::new(|| copied(&controls, &mut control_floor)),
        },
        Row {
            name: "strftime %Y-%m-%d %H:%M:%S",
            bytes: 19,
            ours: Box::new(|| {
                out.clear();
                let told = strftime(black_box(b"%Y-%m-%d %H:%M:%S"), &when, &mut out);
                usize::from(told.is_ok() && out.len() == 19)
            }),
            floor_name: "jiff's own",
            floor: Box::new(|| {
                use std::io::Write;
                floor_out.clear();
                let text = when.strftime(black_box("%Y-%m-%d %H:%M:%S"));
                usize::from(write!(floor_out, "{text}").is_ok())
            }),
        },
        Row {
            name: "echo on stage, 1 KiB",
            bytes: plain.len(),
            ours: Box::new(|| {
                stage.says(client, &plain);
                usize::from(black_box(stage.hears(client)).len() == plain.len())
            }),
            floor_name: "copy",
            floor: Box::new(|| copied(&plain, &mut copy)),
        },
    ];
    println!(
        "{:<28} {:>10} {:>10}  {:<13} ratio of speeds (least to greatest)",
        "", "ns/frame", "B/s", "floor"
    );
    for row in rows.into_iter().filter(|row| options.wants(row.name)) {
        compare(row, &options);
    }
    Ok(())
}

fn compare(mut row: Row<'_>, options: &Options) {
    let (mut ours, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let floor = time(&mut row.floor, options);
        let took = time(&mut row.ours, options);
        ratios.push(floor.per_call / took.per_call);
        ours.push(took);
    }
    let per_frame = Median::of(ours.iter().map(|took| took.per_call / took.frames));
    let rate = Median::of(
        ours.iter()
            .map(|took| row.bytes as f64 * 1e9 / took.per_call),
    );
    println!(
        "{:<28} {:>10.1} {:>10}  {:<13} {}",
        row.name,
        per_frame.middle,
        short(rate.middle),
        row.floor_name,
        Median::of(ratios).ratio()
    );
}

/// Nanoseconds of one call, and the frames that it saw.
struct Took {
    per_call: f64,
    frames: f64,
}

fn time(work: &mut Work<'_>, options: &Options) -> Took {
    let frames = work();
    assert!(frames > 0, "every row sees its frames");
    let watch = Stopwatch::start();
    let until = options.time.as_nanos() as u64;
    let (mut calls, mut now) = (0u64, 0);
    // The clock costs as much as a small frame: looked at once in a while only.
    while now < until {
        for _ in 0..16 {
            black_box(work());
        }
        calls += 16;
        now = watch.nanos();
    }
    Took {
        per_call: now as f64 / calls as f64,
        frames: frames as f64,
    }
}

/// As many as one read brings.
fn repeated(frame: &[u8]) -> Vec<u8> {
    frame.repeat(READ_BYTES / frame.len())
}

fn decode<D: Decode>(decoder: &mut D, bytes: &[u8]) -> usize {
    let (mut rest, mut frames) = (black_box(bytes), 0);
    while let Ok(Some((frame, taken))) = decoder.decode(rest) {
        black_box(&frame);
        rest = &rest[taken..];
        frames += 1;
    }
    frames
}

fn find_newlines(bytes: &[u8]) -> usize {
    let (mut rest, mut frames) = (black_box(bytes), 0);
    while let Some(at) = memchr::memchr(b'\n', rest) {
        black_box(&rest[..at]);
        rest = &rest[at + 1..];
        frames += 1;
    }
    frames
}

fn follow_lengths(bytes: &[u8]) -> usize {
    let (mut rest, mut frames) = (black_box(bytes), 0);
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((frame, behind)) = behind.split_at_checked(length) else {
            break;
        };
        black_box(frame);
        rest = behind;
        frames += 1;
    }
    frames
}

fn through_buffer(bytes: &[u8]) -> impl FnMut() -> usize {
    let mut input = ReadBuf::default();
    move || {
        let filled = input.fill(bytes.len(), |room| {
            room[..bytes.len()].copy_from_slice(black_box(bytes));
            Ok(bytes.len())
        });
        let (mut lines, mut frames) = (Line::default(), 0);
        while let Ok(Some(frame)) = input.next(&mut lines) {
            black_box(frame);
            frames += 1;
        }
        filled.map_or(0, |_| frames)
    }
}

fn copy_and_find(bytes: &[u8]) -> impl FnMut() -> usize {
    let mut buf = vec![0; bytes.len()];
    move || {
        buf.copy_from_slice(black_box(bytes));
        find_newlines(&buf)
    }
}

fn neutral(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    out.clear();
    neutralise(black_box(bytes), out);
    black_box(&out);
    1
}

fn copied(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    out.clear();
    out.extend_from_slice(black_box(bytes));
    black_box(&out);
    1
}

fn checked(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    out.clear();
    if let Ok(text) = std::str::from_utf8(black_box(bytes)) {
        out.extend_from_slice(text.as_bytes());
    }
    black_box(&out);
    1
}
