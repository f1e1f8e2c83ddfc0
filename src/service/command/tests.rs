use std::io;
use std::time::Duration;

use super::*;
use crate::service::rehearsal::Stage;
use crate::turn::{ConnId, Exit, Output};
use crate::wire::{CommandHeader, Decode, JsonHeader};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A stage with a command service, and a shell that does what the script says.
struct Shell {
    stage: Stage<Command>,
    client: ConnId,
}

impl Shell {
    fn new(options: &Options) -> Shell {
        let mut stage = Stage::new(Command::new(options, &Limits::default()));
        let client = stage.enters();
        Shell { stage, client }
    }

    fn framed(framing: CommandFraming) -> Shell {
        Shell::new(&options(framing))
    }

    fn says(&mut self, bytes: &[u8]) -> &mut Shell {
        self.stage.says(self.client, bytes);
        self
    }

    fn ends(&mut self) -> &mut Shell {
        self.stage.ends(self.client);
        self
    }

    fn waits(&mut self, time: Duration) -> &mut Shell {
        self.stage.waits(time);
        self
    }

    /// The service asked for this command, and it starts.
    fn runs(&mut self, line: &str) -> &mut Shell {
        let job = self
            .stage
            .job(self.client)
            .expect("a command was asked for");
        assert_eq!(String::from_utf8_lossy(&job.line), line);
        self.tell(ChildEvent::Started)
    }

    fn runs_nothing(&mut self) -> &mut Shell {
        assert_eq!(self.stage.job(self.client), None);
        self
    }

    fn tell(&mut self, event: ChildEvent<'_>) -> &mut Shell {
        self.stage.cannot(self.client, event);
        self
    }

    fn out(&mut self, bytes: &[u8]) -> &mut Shell {
        self.stage.writes(self.client, Output::Out, bytes);
        self
    }

    fn err(&mut self, bytes: &[u8]) -> &mut Shell {
        self.stage.writes(self.client, Output::Err, bytes);
        self
    }

    fn exits(&mut self, code: i32) -> &mut Shell {
        self.stage.exits(self.client, Exit::Code(code));
        self
    }

    fn dies(&mut self, signal: i32) -> &mut Shell {
        self.stage.exits(self.client, Exit::Signal(signal));
        self
    }

    fn is_killed(&mut self, severity: impl Into<Option<Severity>>) -> &mut Shell {
        assert_eq!(self.stage.killed(self.client), severity.into());
        self
    }

    #[track_caller]
    fn hears(&mut self, expected: &[u8]) -> &mut Shell {
        let heard = self.stage.hears(self.client);
        assert_eq!(
            heard.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        self
    }

    fn hears_json(&mut self) -> (CommandHeader, Vec<u8>) {
        let heard = self.stage.hears(self.client);
        let (header, taken) = JsonHeader::<CommandHeader>::new()
            .decode(&heard)
            .unwrap()
            .expect("a whole header");
        let output = heard[taken..].to_vec();
        assert_eq!(header.data_size, output.len() as u64);
        assert_eq!(header.total_size, output.len() as u64);
        assert_eq!(header.md5, crate::wire::md5_hex(&output));
        assert_eq!(header.filename, "output");
        (header, output)
    }

    fn stays(&mut self) -> &mut Shell {
        assert!(!self.stage.is_leaving(self.client));
        self
    }

    fn leaves(&mut self) -> &mut Shell {
        assert!(self.stage.is_leaving(self.client));
        self
    }
}

const FRAMINGS: [CommandFraming; 4] = [
    CommandFraming::Raw,
    CommandFraming::Decimal,
    CommandFraming::I32,
    CommandFraming::Json,
];

fn options(framing: CommandFraming) -> Options {
    Options {
        framing,
        ..Options::default()
    }
}

fn acked_by(word: &str) -> Shell {
    Shell::new(&Options {
        ack: Some(word.into()),
        ..options(CommandFraming::Decimal)
    })
}

fn i32_of(output: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(output.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(output);
    frame
}

#[test]
fn c1_streams_output_as_it_comes_and_then_says_what_went_wrong() {
    let mut shell = Shell::framed(CommandFraming::Raw);
    shell.says(b"ls -l\n").runs("ls -l");
    shell.out(b"one\n").hears(b"one\n");
    shell.err(b"wrong\n").hears(b"");
    shell.out(b"two\n").hears(b"two\n");
    shell.exits(0).hears(b"wrong\n").stays();
}

#[test]
fn c2_waits_for_an_acknowledgement_of_the_length() {
    let mut shell = Shell::framed(CommandFraming::Decimal);
    for ack in [&b"recv_ready"[..], b"True", b"\0", b"0"] {
        shell.says(b"ls\n").runs("ls").out(b"abcdefghijkl").exits(0);
        shell.hears(b"12").says(ack).hears(b"");
        shell.waits(20 * MS).hears(b"abcdefghijkl").runs_nothing();
    }
    shell.stays();
}

#[test]
fn c2_a_newline_ends_an_acknowledgement_and_what_follows_is_a_request() {
    let mut shell = Shell::framed(CommandFraming::Decimal);
    shell
        .says(b"ls\n")
        .runs("ls")
        .out(b"abc")
        .exits(0)
        .hears(b"3");
    shell.says(b"True\r\npwd\n").hears(b"abc").runs("pwd");
}

#[test]
fn c2_a_blank_line_is_no_acknowledgement() {
    let mut shell = Shell::framed(CommandFraming::Decimal);
    // The newline comes after its request has settled.
    shell.says(b"ls").waits(20 * MS).runs("ls");
    shell.says(b"\r\n\n").out(b"abc").exits(0).hears(b"3");
    shell.says(b"\n").waits(SECOND).hears(b"");
    shell.says(b"ok\n").hears(b"abc");
}

#[test]
fn c2_the_word_releases_the_moment_it_is_complete() {
    let mut shell = acked_by("recv_ready");
    shell
        .says(b"ls\n")
        .runs("ls")
        .out(b"abc")
        .exits(0)
        .hears(b"3");
    shell.says(b"recv_read").hears(b"");
    shell
        .says(b"yls\n")
        .hears(b"abc")
        .runs("ls")
        .out(b"d")
        .exits(0)
        .hears(b"1");
    for byte in b"recv_ready" {
        shell.hears(b"").says(&[*byte]).waits(19 * MS);
    }
    shell.hears(b"d").stays();
}

#[test]
fn c2_anything_but_the_word_drops_the_output() {
    for wrong in [&b"no\n"[..], b"recv_read\n", b"True", b"recv_rea"] {
        let mut shell = acked_by("recv_ready");
        shell
            .says(b"ls\n")
            .runs("ls")
            .out(b"abc")
            .exits(0)
            .hears(b"3");
        shell.says(wrong).waits(20 * MS).hears(b"").runs_nothing();
        shell
            .says(b"pwd\n")
            .runs("pwd")
            .out(b"d")
            .exits(0)
            .hears(b"1");
        shell.says(b"recv_ready").hears(b"d").stays();
    }
}

#[test]
fn c2_an_empty_output_is_acknowledged_too() {
    let mut shell = Shell::framed(CommandFraming::Decimal);
    shell.says(b"true\n").runs("true").exits(0).hears(b"0");
    shell.says(b"recv_ready\n").hears(b"").runs_nothing();
    shell.says(b"ls\n").runs("ls");
}

#[test]
fn c2_without_an_acknowledgement_a_half_close_ends() {
    let mut shell = Shell::framed(CommandFraming::Decimal);
    shell
        .says(b"ls\n")
        .ends()
        .runs("ls")
        .out(b"abc")
        .exits(0)
        .hears(b"3")
        .leaves();
    let mut shell = Shell::framed(CommandFraming::Decimal);
    shell
        .says(b"ls")
        .ends()
        .runs("ls")
        .out(b"abc")
        .exits(0)
        .hears(b"3")
        .leaves();
}

#[test]
fn c2_an_acknowledgement_sent_ahead_counts() {
    let mut shell = Shell::framed(CommandFraming::Decimal);
    shell
        .says(b"ls\nTrue")
        .ends()
        .runs("ls")
        .out(b"abc")
        .exits(0)
        .hears(b"3abc")
        .leaves();
    let mut shell = acked_by("go");
    shell.says(b"ls\ngopwd\ngo").ends();
    shell.runs("ls").out(b"abc").exits(0).hears(b"3abc");
    shell.runs("pwd").out(b"d").exits(0).hears(b"1d").leaves();
}

#[test]
fn c2_an_output_that_nobody_acknowledges_is_not_kept_for_ever() {
    for said in [&b""[..], b"go"] {
        let mut shell = Shell::new(&Options {
            settle: Settle::Never,
            ..options(CommandFraming::Decimal)
        });
        shell
            .says(b"ls\n")
            .runs("ls")
            .out(b"abc")
            .exits(0)
            .hears(b"3");
        shell.says(said).waits(30 * SECOND - MS).stays();
        shell.waits(MS).leaves().hears(b"");
    }
}

#[test]
fn c2_an_acknowledgement_that_began_in_time_counts() {
    for word in [&b"True"[..], b"recv_ready"] {
        let mut shell = Shell::framed(CommandFraming::Decimal);
        shell.says(b"ls\n").runs("ls").out(b"abc").exits(0);
        shell.hears(b"3").waits(30 * SECOND - MS).says(word);
        // Its silence ends after the deadline, at which it was there.
        shell.waits(19 * MS).stays().hears(b"");
        shell.waits(MS).hears(b"abc").stays();
        shell.says(b"pwd\n").runs("pwd");
    }
}

#[test]
fn c2_blank_lines_do_not_renew_the_time_for_an_acknowledgement() {
    for settle in [
        Settle::default(),
        Settle::After(Duration::ZERO),
        Settle::Never,
    ] {
        let mut shell = Shell::new(&Options {
            settle,
            ..options(CommandFraming::Decimal)
        });
        shell.says(b"ls\n").runs("ls").out(b"abc").exits(0);
        shell.hears(b"3");
        for _ in 0..29 {
            shell.waits(SECOND).says(b"\n").stays();
        }
        shell.waits(SECOND - MS).stays().waits(MS).leaves();
    }
}

#[test]
fn c2_each_output_has_its_whole_time() {
    let mut shell = Shell::framed(CommandFraming::Decimal);
    for _ in 0..2 {
        shell.says(b"ls\n").runs("ls").out(b"abc").exits(0);
        shell.hears(b"3").waits(29 * SECOND).stays();
        shell.says(b"ok\n").hears(b"abc");
    }
    // Acknowledged, it is waited for no longer.
    shell.waits(100 * SECOND).stays();
}

/// The word leaves the front of bytes that the decoder of requests has searched.
#[test]
fn c2_a_request_behind_the_word_is_looked_for_from_its_beginning() {
    for settle in [Settle::default(), Settle::Never] {
        let mut shell = Shell::new(&Options {
            ack: Some("recv_ready".into()),
            settle,
            ..options(CommandFraming::Decimal)
        });
        for (held_back, rest) in [(9, &b"ypwd\necho one\n"[..]), (4, b"_readypwd\necho one\n")] {
            shell.says(b"ls\n").runs("ls").out(b"abc").exits(0);
            shell.hears(b"3").says(&b"recv_ready"[..held_back]);
            shell.hears(b"").says(rest).hears(b"abc");
            shell.runs("pwd").exits(0).hears(b"0").says(b"");
            shell.runs_nothing().stays();
            // The next request is taken for what acknowledges, and it is not the word.
            shell.runs_nothing().says(b"ls\n").runs("ls").exits(0);
            shell.hears(b"0").says(b"recv_ready").hears(b"");
        }
    }
}

#[test]
fn c3_frames_its_output() {
    let mut shell = Shell::framed(CommandFraming::I32);
    shell
        .says(b"ls\n")
        .runs("ls")
        .err(b"wrong\n")
        .out(b"one\n")
        .hears(b"");
    shell.exits(3).hears(&i32_of(b"one\nwrong\n"));
    shell
        .says(b"true\n")
        .runs("true")
        .exits(0)
        .hears(b"\0\0\0\0")
        .stays();
}

#[test]
fn c4_describes_its_output() {
    let mut shell = Shell::framed(CommandFraming::Json);
    shell
        .says(b"ls\n")
        .runs("ls")
        .out(b"one\n")
        .err(b"wrong\n")
        .exits(3);
    let (header, output) = shell.hears_json();
    assert_eq!((header.exit, header.error), (Some(3), None));
    assert_eq!(output, b"one\nwrong\n");
    shell.says(b"kill -9 $$\n").runs("kill -9 $$").dies(9);
    assert_eq!(shell.hears_json().0.exit, Some(137));
}

#[test]
fn c1_c2_c3_c4_requests_come_in_any_pieces() {
    for framing in [
        CommandFraming::Raw,
        CommandFraming::Decimal,
        CommandFraming::I32,
        CommandFraming::Json,
    ] {
        // Byte by byte, with gaps below `settle`.
        let mut shell = Shell::framed(framing);
        for byte in b"ls -l\r\n" {
            shell.runs_nothing().says(&[*byte]).waits(19 * MS);
        }
        shell.runs("ls -l");
        // Without a newline: silence, or the half-close.
        let mut shell = Shell::framed(framing);
        shell.says(b"ls").waits(19 * MS).runs_nothing();
        shell
            .says(b" -l")
            .waits(19 * MS)
            .runs_nothing()
            .waits(MS)
            .runs("ls -l");
        let mut shell = Shell::framed(framing);
        shell
            .says(b"ls -l")
            .runs_nothing()
            .ends()
            .runs("ls -l")
            .exits(0)
            .leaves();
        // Nothing at all.
        let mut shell = Shell::framed(framing);
        shell
            .says(b"\n\r\n\r\n\r")
            .waits(20 * MS)
            .runs_nothing()
            .stays();
        shell.ends().runs_nothing().leaves().hears(b"");
    }
}

#[test]
fn c1_c3_c4_glued_requests_run_one_after_another() {
    let mut shell = Shell::framed(CommandFraming::I32);
    shell.says(b"one\n\ntwo\r\nth").ends();
    shell
        .runs("one")
        .runs_nothing()
        .out(b"1")
        .exits(0)
        .hears(&i32_of(b"1"));
    shell
        .runs("two")
        .stays()
        .out(b"2")
        .exits(0)
        .hears(&i32_of(b"2"));
    shell.runs("th").out(b"3").exits(0).hears(&i32_of(b"3"));
    shell.leaves().runs_nothing();
}

#[test]
fn c3_what_comes_while_a_command_runs_waits_its_turn() {
    let mut shell = Shell::framed(CommandFraming::I32);
    shell
        .says(b"one\n")
        .runs("one")
        .says(b"two")
        .waits(SECOND)
        .runs_nothing();
    shell.exits(0).runs_nothing().waits(20 * MS).runs("two");
}

#[test]
fn c1_settle_zero_takes_what_one_read_returned_and_never_needs_a_newline() {
    let settling = |settle| Options {
        settle,
        ..options(CommandFraming::Raw)
    };
    let mut shell = Shell::new(&settling(Settle::After(Duration::ZERO)));
    shell.says(b"ls").runs("ls").exits(0);
    shell
        .says(b"one\ntwo")
        .runs("one")
        .exits(0)
        .runs("two")
        .exits(0)
        .stays();
    let mut shell = Shell::new(&settling(Settle::Never));
    shell
        .says(b"ls")
        .waits(1000 * SECOND)
        .runs_nothing()
        .says(b"\n")
        .runs("ls")
        .exits(0);
    shell.says(b"pwd").ends().runs("pwd").exits(0).leaves();
}

#[test]
fn c1_c3_standard_error_may_replace_standard_output() {
    let either = |framing| Options {
        output: CommandOutput::StderrOrStdout,
        ..options(framing)
    };
    let mut shell = Shell::new(&either(CommandFraming::I32));
    shell
        .says(b"x\n")
        .runs("x")
        .out(b"out")
        .err(b"err")
        .exits(0)
        .hears(&i32_of(b"err"));
    shell
        .says(b"x\n")
        .runs("x")
        .out(b"out")
        .exits(0)
        .hears(&i32_of(b"out"));
    let mut shell = Shell::new(&either(CommandFraming::Raw));
    shell
        .says(b"x\n")
        .runs("x")
        .out(b"out")
        .hears(b"")
        .err(b"err")
        .exits(0)
        .hears(b"err");
}

#[test]
fn c1_c3_gbk_goes_both_ways() {
    let gbk = |framing| Options {
        encoding: Encoding::Gbk,
        ..options(framing)
    };
    let mut shell = Shell::new(&gbk(CommandFraming::I32));
    shell.says(b"echo \xc4\xe3\xba\xc3\n").runs("echo 你好");
    shell
        .out("你好\n".as_bytes())
        .exits(0)
        .hears(&i32_of(b"\xc4\xe3\xba\xc3\n"));
    shell.says(b"echo \xff\xff\n").runs_nothing();
    shell
        .hears(&i32_of(b"onepoll: the request is not GBK\n"))
        .stays();
    // A character in two pieces, and half of one at the end.
    let mut shell = Shell::new(&gbk(CommandFraming::Raw));
    shell
        .says(b"x\n")
        .runs("x")
        .out(b"\xe4\xbd")
        .hears(b"")
        .out(b"\xa0!")
        .hears(b"\xc4\xe3!");
    shell
        .out(b"\xe4")
        .err("好".as_bytes())
        .exits(0)
        .hears(b"\xe4\xba\xc3");
}

#[test]
fn fault_f1_output_is_cut_and_the_command_killed() {
    let mut shell = Shell::new(&Options {
        max_output: Some(10),
        ..options(CommandFraming::I32)
    });
    shell
        .says(b"yes\n")
        .runs("yes")
        .out(b"12345")
        .err(b"6789\n")
        .is_killed(None);
    shell.exits(0).hears(&i32_of(b"123456789\n"));
    shell
        .says(b"yes\n")
        .runs("yes")
        .err(b"67")
        .out(b"12345678")
        .is_killed(None);
    shell
        .out(b"9")
        .is_killed(Severity::Force)
        .out(b"more")
        .err(b"more")
        .is_killed(None);
    shell
        .dies(9)
        .hears(&i32_of(b"1234567867\nonepoll: output cut at 10 bytes\n"));
    shell.says(b"ls\n").runs("ls").stays();
}

#[test]
fn fault_f1_c4_says_how_a_cut_command_ended() {
    let mut shell = Shell::new(&Options {
        max_output: Some(2),
        ..options(CommandFraming::Json)
    });
    shell.says(b"yes\n").runs("yes").out(b"y\ny\n").dies(9);
    let (header, output) = shell.hears_json();
    assert_eq!((header.exit, header.error), (Some(137), None));
    assert_eq!(header.cut, Some(2));
    assert_eq!(output, b"y\nonepoll: output cut at 2 bytes\n");
}

#[test]
fn fault_f1_c1_collects_standard_error_no_further_than_others_do() {
    let mut shell = Shell::new(&Options {
        max_output: Some(4),
        ..options(CommandFraming::Raw)
    });
    shell
        .says(b"x\n")
        .runs("x")
        .out(b"endless")
        .err(b"1234")
        .is_killed(None);
    shell.err(b"5").is_killed(Severity::Force).dies(9);
    shell.hears(b"endless1234\nonepoll: output cut at 4 bytes\n");
}

#[test]
fn fault_f2_a_command_that_takes_too_long_is_asked_and_then_forced() {
    let mut shell = Shell::framed(CommandFraming::Json);
    shell.says(b"sleep 1000\n").runs("sleep 1000").out(b"some");
    shell.waits(60 * SECOND - MS).is_killed(None);
    shell.waits(MS).is_killed(Severity::Ask);
    shell.waits(SECOND - MS).is_killed(None);
    shell
        .waits(MS)
        .is_killed(Severity::Force)
        .hears(b"")
        .dies(9);
    let (header, output) = shell.hears_json();
    assert_eq!(
        (header.exit, header.error),
        (None, Some("timeout after 1m".into()))
    );
    assert_eq!(output, b"onepoll: timeout after 1m\n");
    assert_eq!(shell.stage.wakes_in(shell.client), None);
    shell.says(b"ls\n").runs("ls").stays();
}

#[test]
fn fault_f2_c1_keeps_what_it_has_told() {
    let mut shell = Shell::new(&Options {
        timeout: Some(250 * MS),
        ..options(CommandFraming::Raw)
    });
    shell
        .says(b"x\n")
        .runs("x")
        .out(b"some")
        .waits(250 * MS)
        .is_killed(Severity::Ask);
    shell
        .err(b"")
        .dies(15)
        .hears(b"some\nonepoll: timeout after 250ms\n")
        .stays();
}

#[test]
fn fault_f2_waiting_for_others_is_not_counted() {
    let mut shell = Shell::framed(CommandFraming::I32);
    shell
        .says(b"ls\n")
        .waits(1000 * SECOND)
        .is_killed(None)
        .runs("ls");
    shell
        .waits(59 * SECOND)
        .is_killed(None)
        .waits(SECOND)
        .is_killed(Severity::Ask);
}

#[test]
fn fault_f2_what_a_command_writes_does_not_renew_its_time() {
    for framing in FRAMINGS {
        let mut shell = Shell::framed(framing);
        shell.says(b"x\n").runs("x");
        for _ in 0..59 {
            shell
                .waits(SECOND)
                .out(b"on")
                .err(b"and on")
                .is_killed(None);
        }
        shell.waits(SECOND - MS).is_killed(None);
        shell.waits(MS).is_killed(Severity::Ask);
        // Nor does it renew the grace.
        shell
            .waits(SECOND - MS)
            .out(b"on")
            .err(b"on")
            .is_killed(None);
        shell.waits(MS).is_killed(Severity::Force);
    }
}

#[test]
fn fault_f2_each_command_of_a_connection_has_its_whole_time() {
    for framing in [
        CommandFraming::Raw,
        CommandFraming::I32,
        CommandFraming::Json,
    ] {
        let mut shell = Shell::framed(framing);
        shell.says(b"one\ntwo\n").runs("one");
        shell.waits(59 * SECOND).exits(0).runs("two");
        shell.waits(60 * SECOND - MS).is_killed(None);
        shell.waits(MS).is_killed(Severity::Ask).dies(15);
        // Its grace was not over: nothing of it is left for the next.
        shell.says(b"three\n").runs("three");
        shell.waits(60 * SECOND - MS).is_killed(None);
        shell.waits(MS).is_killed(Severity::Ask);
    }
}

#[test]
fn a_request_behind_one_that_silence_ended_is_looked_for_from_its_beginning() {
    for framing in [
        CommandFraming::Raw,
        CommandFraming::I32,
        CommandFraming::Json,
    ] {
        let mut shell = Shell::framed(framing);
        shell
            .says(b"a longer one")
            .waits(20 * MS)
            .runs("a longer one")
            .exits(0);
        shell
            .says(b"ls\npwd\nand more\n")
            .runs("ls")
            .exits(0)
            .runs("pwd");
    }
}

#[test]
fn what_was_waited_for_with_a_command_is_no_silence_after_it() {
    for framing in FRAMINGS {
        let mut shell = Shell::framed(framing);
        shell.says(b"x\n").runs("x").waits(10 * SECOND).exits(0);
        if framing == CommandFraming::Decimal {
            shell.says(b"ok\n");
        }
        assert_eq!(shell.stage.wakes_in(shell.client), None, "{framing:?}");
        // Past the end of its time: half a word is still half a word.
        shell.waits(60 * SECOND).says(b"ec").runs_nothing();
        shell.waits(10 * MS).says(b"ho\n").runs("echo");
    }
}

#[test]
fn fault_f2_commands_of_several_connections_have_their_own_times_and_outputs() {
    let mut stage = Stage::new(Command::new(
        &options(CommandFraming::I32),
        &Limits::default(),
    ));
    let clients = [(); 3].map(|()| stage.enters());
    for (n, client) in clients.into_iter().enumerate() {
        // Without a newline, all of them at once: one silence for each.
        stage.says(client, format!("run {n}").as_bytes());
    }
    stage.waits(20 * MS);
    for (n, client) in clients.into_iter().enumerate() {
        let job = stage.job(client).expect("each has its silence");
        assert_eq!(job.line, format!("run {n}").as_bytes());
        stage.cannot(client, ChildEvent::Started);
        stage.waits(10 * SECOND);
    }
    for (n, client) in clients.into_iter().enumerate() {
        stage.writes(client, Output::Out, n.to_string().as_bytes());
    }
    // They began 10 s apart, the last 10 s ago.
    stage.waits(30 * SECOND);
    let killed = clients.map(|client| stage.killed(client));
    assert_eq!(killed, [Some(Severity::Ask), None, None]);
    stage.exits(clients[1], Exit::Code(0));
    stage.waits(10 * SECOND);
    let killed = clients.map(|client| stage.killed(client));
    assert_eq!(killed, [Some(Severity::Force), None, None]);
    stage.waits(10 * SECOND);
    let killed = clients.map(|client| stage.killed(client));
    assert_eq!(killed, [None, None, Some(Severity::Ask)]);
    stage.exits(clients[0], Exit::Signal(9));
    stage.exits(clients[2], Exit::Signal(15));
    let timeout = i32_of(b"onepoll: timeout after 1m\n");
    let heard = clients.map(|client| stage.hears(client));
    assert_eq!(heard, [timeout.clone(), i32_of(b"1"), timeout]);
}

#[test]
fn fault_f2_a_silence_that_was_awaited_does_not_wake_the_command() {
    let mut shell = Shell::framed(CommandFraming::I32);
    shell
        .says(b"ls")
        .waits(10 * MS)
        .ends()
        .runs("ls")
        .waits(59 * SECOND)
        .is_killed(None);
    shell.waits(SECOND).is_killed(Severity::Ask);
}

#[test]
fn fault_f12_what_cannot_start_is_refused_in_the_framing() {
    let mut shell = Shell::framed(CommandFraming::Json);
    shell.says(b"x\n");
    let error = io::Error::from(io::ErrorKind::ArgumentListTooLong);
    shell.tell(ChildEvent::Failed(error));
    let (header, output) = shell.hears_json();
    let reason = header.error.unwrap();
    assert!(reason.starts_with("cannot start: "), "{reason}");
    assert_eq!(
        (header.exit, output),
        (None, format!("onepoll: {reason}\n").into_bytes())
    );
    shell.says(b"ls\n").runs("ls");
}

#[test]
fn fault_f13_a_nul_byte_is_refused_before_anything_is_started() {
    let mut shell = Shell::framed(CommandFraming::I32);
    shell.says(b"echo a\0b\necho c\n");
    shell
        .hears(&i32_of(b"onepoll: the request contains a NUL byte\n"))
        .runs("echo c");
    let mut shell = Shell::framed(CommandFraming::Decimal);
    shell
        .says(b"\0\n")
        .hears(b"41")
        .says(b"ok\n")
        .hears(b"onepoll: the request contains a NUL byte\n");
    let mut shell = Shell::framed(CommandFraming::Raw);
    shell
        .says(b"\0")
        .ends()
        .hears(b"onepoll: the request contains a NUL byte\n")
        .leaves();
}

#[test]
fn what_a_telnet_client_negotiates_is_refused_and_not_run() {
    let mut shell = Shell::framed(CommandFraming::Raw);
    shell
        .says(b"\xff\xfd\x03ec\xff\xf1ho a\xff\xfa\x18\0x\n\xff\xf0\r\0")
        .hears(b"\xff\xfc\x03")
        .runs("echo a");
}

#[test]
fn fault_f18_every_byte_passes_as_it_is() {
    let every: Vec<u8> = (0..=255).rev().chain(0..=255).collect();
    for framing in FRAMINGS {
        let mut shell = Shell::framed(framing);
        shell.says(b"x\n").runs("x");
        // In pieces, also out of what Telnet or a terminal would take for its own.
        every.chunks(7).for_each(|piece| _ = shell.out(piece));
        shell.exits(0);
        if framing == CommandFraming::Decimal {
            shell.hears(b"512").says(b"ok\n");
        }
        let heard = shell.stage.hears(shell.client);
        assert!(heard.ends_with(&every), "{framing:?}");
    }
}

#[test]
fn fault_c2_half_a_gbk_character_is_no_request_and_no_trouble_in_an_output() {
    let word = [0xc4, 0xe3, 0xba, 0xc3];
    for len in 0..=word.len() {
        let mut shell = Shell::new(&Options {
            encoding: Encoding::Gbk,
            ..options(CommandFraming::I32)
        });
        let request = [b"echo ", &word[..len], b"\n"].concat();
        shell.says(&request);
        match len {
            0 => shell.runs("echo "),
            2 => shell.runs("echo 你"),
            4 => shell.runs("echo 你好"),
            _ => {
                let reason = b"onepoll: the request is not GBK\n";
                shell.runs_nothing().hears(&i32_of(reason)).stays();
                continue;
            }
        };
        // Cut wherever the limit is, in the middle of a character too.
        let text = "你好".as_bytes();
        shell.out(&text[..len]).exits(0);
        let heard = shell.stage.hears(shell.client);
        assert_eq!(heard[..4], i32_of(&heard[4..])[..4]);
    }
    for max_output in 1..12 {
        let mut shell = Shell::new(&Options {
            encoding: Encoding::Gbk,
            max_output: Some(max_output),
            ..options(CommandFraming::I32)
        });
        shell.says(b"x\n").runs("x").out("你好你好".as_bytes());
        shell.is_killed(Severity::Force).dies(9);
        let heard = shell.stage.hears(shell.client);
        assert_eq!(heard[..4], i32_of(&heard[4..])[..4]);
        // Whole characters are GBK, and what is left of a cut one passes as it was.
        let whole = max_output / 3;
        let expected: Vec<u8> = word.iter().copied().cycle().take(2 * whole).collect();
        let rest = &"你好你好".as_bytes()[3 * whole..max_output];
        assert!(
            heard[4..].starts_with(&[&expected[..], rest].concat()),
            "{max_output}"
        );
    }
}

#[test]
fn fault_f19_busy_is_said_in_the_framing() {
    let mut shell = Shell::framed(CommandFraming::I32);
    shell.says(b"x\nls\n").tell(ChildEvent::Busy);
    shell.hears(&i32_of(
        b"onepoll: busy: as many commands run and wait as may\n",
    ));
    shell.runs("ls").stays();
}

#[test]
fn fault_b9_a_request_above_the_limit_ends_the_connection_with_a_reason() {
    let limit = Limits::default().frame;
    let words = b"onepoll: line of 65537 bytes is longer than the limit of 65536\n";
    let mut shell = Shell::framed(CommandFraming::I32);
    shell
        .says(&vec![b'#'; limit])
        .stays()
        .says(b"#")
        .hears(&i32_of(words))
        .leaves();
    assert!(matches!(
        shell.stage.fault(shell.client),
        Some(Fault::Wire(_))
    ));
    // Nobody could tell the length from what would follow it.
    let mut shell = Shell::framed(CommandFraming::Decimal);
    shell.says(&vec![b'#'; limit + 1]).hears(b"").leaves();
    let mut shell = Shell::framed(CommandFraming::Raw);
    shell
        .says(&[&vec![b'#'; limit][..], b"\r\n"].concat())
        .runs(&"#".repeat(limit));
}

/// How a request comes to its end: what is said, and what happens then.
type Ending = (Settle, &'static [u8], fn(&mut Shell));

const ENDINGS: [Ending; 6] = [
    (Settle::Never, b"\n", |_| {}),
    (Settle::Never, b"\r\n", |_| {}),
    (Settle::After(Duration::ZERO), b"", |_| {}),
    (Settle::After(Duration::ZERO), b"\n", |_| {}),
    (Settle::After(Duration::from_millis(20)), b"", |shell| {
        shell.waits(20 * MS);
    }),
    (Settle::Never, b"", |shell| {
        shell.ends();
    }),
];

/// A shell that was told a request, for each framing, encoding and ending.
fn however_it_ends(request: &[u8], mut see: impl FnMut(&mut Shell, CommandFraming)) {
    for framing in FRAMINGS {
        for encoding in [Encoding::Utf8, Encoding::Gbk] {
            for (settle, end, then) in ENDINGS {
                let mut shell = Shell::new(&Options {
                    settle,
                    encoding,
                    ..options(framing)
                });
                shell.says(&[request, end].concat());
                then(&mut shell);
                see(&mut shell, framing);
            }
        }
    }
}

#[test]
fn fault_b8_a_request_has_one_limit_however_it_ends() {
    let limit = Limits::default().frame;
    let fits = "x".repeat(limit);
    however_it_ends(fits.as_bytes(), |shell, _| {
        shell.runs(&fits);
    });
    however_it_ends("x".repeat(limit + 1).as_bytes(), |shell, _| {
        shell.runs_nothing().leaves();
        let fault = shell.stage.fault(shell.client).unwrap();
        assert!(matches!(fault, Fault::Wire(_)), "{fault:?}");
    });
}

#[test]
fn fault_f13_a_nul_byte_is_refused_however_the_request_ends() {
    for request in [&b"ls\0"[..], b"\0ls", b"l\0s"] {
        however_it_ends(request, |shell, framing| {
            shell.runs_nothing();
            let said = shell.stage.hears(shell.client);
            let refusal = b"onepoll: the request contains a NUL byte\n";
            match framing {
                CommandFraming::Decimal => assert_eq!(said, b"41"),
                _ => assert!(said.ends_with(refusal), "{}", said.escape_ascii()),
            }
        });
    }
}

#[test]
fn an_http_request_runs_nothing_however_it_ends() {
    however_it_ends(b"POST /x HTTP/1.1", |shell, _| {
        shell.runs_nothing().leaves();
        let fault = shell.stage.fault(shell.client).unwrap();
        assert!(matches!(fault, Fault::Refused(_)), "{fault:?}");
    });
}

#[test]
fn fault_f1_max_output_is_that_of_both_outputs_together_in_every_framing() {
    for framing in FRAMINGS {
        for output in [CommandOutput::Both, CommandOutput::StderrOrStdout] {
            let mut shell = Shell::new(&Options {
                output,
                max_output: Some(8),
                ..options(framing)
            });
            let streams = framing == CommandFraming::Raw && output == CommandOutput::Both;
            shell.says(b"x\n").runs("x").out(b"1234").err(b"5678");
            shell.is_killed(None);
            if streams {
                // Standard output is not collected, and there is room for more of the other.
                shell.err(b"9012").is_killed(None).err(b"3");
            } else {
                shell.out(b"9");
            }
            shell.is_killed(Severity::Force).dies(9);
            let said = shell.stage.hears(shell.client);
            match framing {
                CommandFraming::Decimal => {
                    let text = String::from_utf8(said).unwrap();
                    let len: usize = text.parse().unwrap();
                    assert!((4..64).contains(&len), "{len}");
                }
                _ => {
                    let cut = b"onepoll: output cut at 8 bytes\n";
                    assert!(said.ends_with(cut), "{}", said.escape_ascii());
                }
            }
        }
    }
}

#[test]
fn fault_a5_whoever_is_not_let_in_is_told_in_the_framing() {
    let said = |framing| {
        let mut out = Vec::new();
        Command::new(&options(framing), &Limits::default()).refusal("full", &mut out);
        out
    };
    assert_eq!(said(CommandFraming::Raw), b"onepoll: full\n");
    assert_eq!(said(CommandFraming::Decimal), b"");
    assert_eq!(said(CommandFraming::I32), i32_of(b"onepoll: full\n"));
    let header = JsonHeader::<CommandHeader>::new().decode(&said(CommandFraming::Json));
    assert_eq!(header.unwrap().unwrap().0.error.as_deref(), Some("full"));
}

#[test]
fn stopping_finishes_the_command_in_progress_and_starts_no_other() {
    let mut shell = Shell::framed(CommandFraming::I32);
    shell.says(b"one\ntwo\n").runs("one");
    shell.stage.stops();
    shell
        .stays()
        .is_killed(None)
        .out(b"1")
        .exits(0)
        .hears(&i32_of(b"1"))
        .leaves()
        .runs_nothing();
    // One that waits for others is not started.
    let mut shell = Shell::framed(CommandFraming::I32);
    shell.says(b"one\n");
    shell.stage.stops();
    shell
        .is_killed(Severity::Force)
        .hears(&i32_of(b"onepoll: the server is stopping\n"))
        .leaves();
    // Nothing in progress; an output that waits for its acknowledgement.
    let mut shell = Shell::framed(CommandFraming::I32);
    shell.stage.stops();
    shell.leaves();
    let mut shell = Shell::framed(CommandFraming::Decimal);
    shell
        .says(b"one\n")
        .runs("one")
        .out(b"1")
        .exits(0)
        .hears(b"1");
    shell.stage.stops();
    shell
        .stays()
        .says(b"ok\npwd\n")
        .hears(b"1")
        .leaves()
        .runs_nothing();
}

#[test]
fn fault_a10_a_session_is_not_inherited_with_the_slot() {
    let mut shell = Shell::framed(CommandFraming::I32);
    shell.says(b"one\n").runs("one").out(b"secret");
    let old = shell.client;
    shell.stage.leaves(old);
    shell.client = shell.stage.enters();
    assert_eq!(shell.client.slot, old.slot);
    assert_eq!(shell.stage.service.sessions.len(), 1);
    shell
        .says(b"two\n")
        .runs("two")
        .exits(0)
        .hears(&i32_of(b""));
}
