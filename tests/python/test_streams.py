"""T0 to T4 and T7 to T10: discard, echo, upper, one upper burst, greeting, the times, characters without
end; whole, byte by byte, glued, half-closed."""

import hashlib
import os
import select
import struct
import threading
import time

from behind import without
from harness import (
    CHARACTERS,
    DEADLINE,
    Clocked,
    dated,
    everywhere,
    left,
    main,
    read_to_the_end,
)

EVERY_BYTE = bytes(range(256))
CHINESE = "你好 straße ñ".encode()
GBK = "你好 abc".encode("gbk")


def framed(data):
    return struct.pack("<i", len(data)) + data


class Streams(Clocked):
    # Byte by byte, a busy machine may pause longer than 20 ms: those bursts have a longer settle.
    endpoints = {
        "discard": "discard",
        "echo": "echo",
        "upper": "upper",
        "once": "upper?once=true&strip=true",
        "once-patient": "upper?once=true&strip=true&settle=600ms",
        "once-never": "upper?once=true&strip=true&settle=never",
        "once-bare": "upper?once=true",
        "hello": "greeting?greeting=hello&wait=true",
        "hi": "greeting?reply=hi",
        "hi-patient": "greeting?reply=hi&settle=600ms",
        "sbzz": "greeting?greeting=sbzz&greeting=sbzz&greeting=sbzz",
        "framed": "greeting?greeting=hello&greeting=egg&framing=i32",
        "framed-reply": "greeting?greeting=hello&reply=hi&framing=i32",
        "daytime": "daytime",
        "time868": "time868",
        "chargen": "chargen",
        "time": "time",
        "time-patient": "time?settle=600ms",
        "time-never": "time?settle=never",
    }

    # T0, discard.

    @everywhere("discard")
    def test_t0_whole_byte_by_byte_and_half_closed(self, dial):
        peer = dial()
        peer.say(EVERY_BYTE).drip(b"one by one").silence()
        peer.half_close().ended()

    @everywhere("discard")
    def test_t0_much(self, dial):
        peer = dial()
        for _ in range(64):
            peer.say(bytes(1 << 16))
        peer.half_close().ended()

    @everywhere("discard")
    def test_t0_nothing_at_all(self, dial):
        dial().half_close().ended()

    # T1, echo.

    @everywhere("echo")
    def test_t1_whole(self, dial):
        peer = dial()
        peer.say(EVERY_BYTE).hears(EVERY_BYTE)
        peer.say(b"again").hears(b"again")
        peer.half_close().ended()

    @everywhere("echo", at_once=True)
    def test_t1_byte_by_byte(self, dial):
        dial().drip(EVERY_BYTE).half_close().hears(EVERY_BYTE).ended()

    @everywhere("echo")
    def test_t1_each_byte_is_answered_before_the_next(self, dial):
        peer = dial()
        for n in range(64):
            peer.say(bytes([n])).hears(bytes([n]))
        peer.half_close().ended()

    @everywhere("echo")
    def test_t1_half_close_right_behind_the_request(self, dial):
        dial().say(b"hello").half_close().hears(b"hello").ended()

    @everywhere("echo")
    def test_t1_nothing_at_all(self, dial):
        dial().half_close().ended()

    @everywhere("echo")
    def test_t1_much_with_a_half_close_behind_it(self, dial):
        block = os.urandom(1 << 20)
        peer = dial()

        def talk():
            for _ in range(8):
                peer.link.sendall(block)
            peer.half_close()

        talker = threading.Thread(target=talk)
        talker.start()
        size, digest = read_to_the_end(peer.link)
        talker.join()
        self.assertEqual(size, 8 << 20)
        self.assertEqual(digest, hashlib.sha256(block * 8).hexdigest())

    # T2, upper.

    @everywhere("upper")
    def test_t2_ascii_letters_only(self, dial):
        for data in (EVERY_BYTE, CHINESE, GBK):
            dial().say(data).half_close().hears(data.upper()).ended()

    @everywhere("upper")
    def test_t2_byte_by_byte(self, dial):
        dial().drip(CHINESE + GBK).half_close().hears((CHINESE + GBK).upper()).ended()

    @everywhere("upper")
    def test_t2_glued_and_without_a_newline(self, dial):
        peer = dial()
        peer.say(b"one\ntwo\nthree").hears(b"ONE\nTWO\nTHREE")
        peer.say(b" four").hears(b" FOUR").half_close().ended()

    # T3, one burst.

    @everywhere("once")
    def test_t3_whole(self, dial):
        dial().say(b"  hello you\n").hears(b"HELLO YOU").ended()

    @everywhere("once")
    def test_t3_is_over_when_nothing_more_comes(self, dial):
        dial().say(b"\thello").hears(b"HELLO").ended()

    @everywhere("once-patient", at_once=True)
    def test_t3_byte_by_byte(self, dial):
        dial().drip(b" \t hello \v\f").hears(b"HELLO").ended()

    @everywhere("once-patient")
    def test_t3_a_newline_or_the_half_close_ends_it_before_the_settling_does(self, dial):
        dial().drip(b"hello\n").hears(b"HELLO").ended()
        dial().drip(b"hello").half_close().hears(b"HELLO").ended()

    @everywhere("once-patient", at_once=True)
    def test_t3_newlines_inside_belong_to_it(self, dial):
        dial().say(b"one\ntwo").hears(b"ONE\nTWO").ended()
        dial().say(b"\r\n one\r\ntwo \n\n").hears(b"ONE\r\nTWO").ended()

    @everywhere("once-never")
    def test_t3_without_settling_a_newline_is_needed(self, dial):
        peer = dial().say(b"one\ntwo").silence()
        peer.say(b" three\n").hears(b"ONE\nTWO THREE").ended()
        dial().say(b"one").half_close().hears(b"ONE").ended()

    @everywhere("once")
    def test_t3_strips_what_bytes_strip_strips(self, dial):
        blanks = b" \t\n\r\v\f"
        data = blanks + b"\x1c\x85a b\xa0\x00" + blanks
        dial().say(data).hears(data.strip().upper()).ended()

    @everywhere("once-bare")
    def test_t3_strips_only_when_asked(self, dial):
        dial().say(b" hello \n").hears(b" HELLO \n").ended()

    @everywhere("once")
    def test_t3_nothing_but_white_space_is_an_empty_answer(self, dial):
        dial().say(b" \n").ended()

    @everywhere("once")
    def test_t3_nothing_at_all(self, dial):
        dial().half_close().ended()

    # T4, greeting.

    @everywhere("hello")
    def test_t4_hello_and_then_one_message_is_read(self, dial):
        dial().hears(b"hello").silence().say(b"thank you").ended()
        dial().hears(b"hello").say(b"thank you\n").ended()
        dial().say(b"early\n").hears(b"hello").ended()
        dial().half_close().hears(b"hello").ended()
        dial().hears(b"hello").half_close().ended()

    @everywhere("hi")
    def test_t4_hi_to_the_first_message(self, dial):
        dial().silence().say(b"anyone?").hears(b"hi").ended()
        dial().say(b"anyone?\n").hears(b"hi").ended()
        dial().say(b"anyone?").half_close().hears(b"hi").ended()

    @everywhere("hi-patient", at_once=True)
    def test_t4_byte_by_byte_is_one_message(self, dial):
        dial().drip(b"anyone?").hears(b"hi").ended()
        dial().drip(b"anyone?\n").hears(b"hi").ended()

    @everywhere("sbzz")
    def test_t4_three_unframed_at_connect(self, dial):
        dial().hears(b"sbzz" * 3).ended()

    @everywhere("sbzz")
    def test_t4_is_heard_also_by_who_speaks_first(self, dial):
        dial().say(b"x" * 1000).hears(b"sbzz" * 3).ended()

    @everywhere("framed")
    def test_t4_two_framed_at_connect(self, dial):
        dial().hears(framed(b"hello") + framed(b"egg")).ended()
        dial().half_close().hears(framed(b"hello") + framed(b"egg")).ended()

    @everywhere("framed-reply")
    def test_t4_a_framed_reply(self, dial):
        dial().hears(framed(b"hello")).say(b"and?").hears(framed(b"hi")).ended()
        dial().say(b"and?").half_close().hears(framed(b"hello") + framed(b"hi")).ended()

    # T7, daytime, and T8, time868: sent at connect, whatever the client does.

    def at_connect(self, name, check):
        """Checks a function that dials and returns all that comes, for each thing a client may do."""

        def silent(peer):
            return peer

        def whole(peer):
            return peer.say(b"x" * 1000)

        def byte_by_byte(peer):
            return peer.drip(b"what time is it?\r\n")

        def half_closed(peer):
            return peer.half_close()

        def said_and_half_closed(peer):
            return peer.say(b"?\n").half_close()

        for act in (silent, whole, byte_by_byte, half_closed, said_and_half_closed):

            @everywhere(name)
            def ask(self, dial, act=act):
                check(lambda: act(dial()).rest())

            with self.subTest(act=act.__name__):
                ask(self)

    def test_t7_daytime_is_one_line_at_connect(self):
        form = "%A, %B %-d, %Y %H:%M:%S%z\r\n"
        self.at_connect("daytime", lambda ask: self.prints(ask, form))

    def test_t8_seconds_since_1900_at_connect(self):
        def seconds(ask):
            (since_1900,) = struct.unpack(">I", ask())
            return since_1900 - 2208988800

        self.at_connect("time868", lambda ask: self.counts(lambda: seconds(ask)))

    @without("secret", "rdate answers no challenge")
    @without("tls", "rdate speaks no TLS")
    def test_t8_rdate_reads_it(self):
        host, port = self.addresses["time868", "tcp4"]
        self.counts(lambda: dated(self.judged("rdate", "-p", "-o", str(port), host)))

    # T9, chargen.

    @everywhere("chargen")
    def test_t9_lines_without_end_also_after_a_half_close(self, dial):
        peer = dial()
        endless = Endless(peer)
        endless.reads(10 * len(CHARACTERS))
        peer.half_close()
        endless.reads(1 << 21)

    @everywhere("chargen")
    def test_t9_what_the_client_sends_is_discarded(self, dial):
        peer = dial()
        endless = Endless(peer)
        for _ in range(20):
            peer.say(b"x" * 65536)
            endless.reads(100_000)
        peer.drip(b"one by one")
        endless.reads(100_000)

    @everywhere("chargen")
    def test_t9_fault_b11_a_client_that_does_not_read_is_owed_one_block_at_most(self, dial):
        self.server.rests()
        idle = [dial(rcvbuf=4096) for _ in range(3)]
        for peer in idle:
            peer.drip(b"what is sent is no reason to send more")
        # It has come to rest when no turn sends any more: each is owed the rest of one block.
        until, before = time.monotonic() + DEADLINE, None
        while True:
            now = self.server.counters()
            if now["owed"] and now["bytes_out"] == before:
                break
            self.assertGreater(left(until), 0, now)
            before = now["bytes_out"]
            threading.Event().wait(0.02)
        self.assertLessEqual(now["owed"], len(idle) * 63_270, now)
        with self.call("echo") as other:
            other.say(b"and the others?").hears(b"and the others?")
        # Nothing was lost: the stream goes on where it stood.
        for peer in idle:
            Endless(peer).reads(1 << 21)
            peer.close()

    # T10, the time: one burst is the format.

    @everywhere("time")
    def test_t10_whole_and_a_newline_ends_it(self, dial):
        for form in ("%Y-%m-%d %H:%M:%S", "%c %Q 你好", "%H\n%M"):
            for newline in ("\n", "\r\n"):
                form_and_end = form + newline
                self.prints(lambda: dial().say(form_and_end.encode()).rest(), form_and_end)

    @everywhere("time")
    def test_t10_is_over_when_nothing_more_comes(self, dial):
        self.prints(lambda: dial().say(b"%H:%M:%S").rest(), "%H:%M:%S")

    @everywhere("time-patient", at_once=True)
    def test_t10_byte_by_byte(self, dial):
        self.prints(lambda: dial().drip(b"%H:%M:%S").rest(), "%H:%M:%S")
        self.prints(lambda: dial().drip(b"%H:%M:%S\n").rest(), "%H:%M:%S\n")
        self.prints(lambda: dial().drip(b"%H:%M:%S").half_close().rest(), "%H:%M:%S")

    @everywhere("time-never")
    def test_t10_without_settling_a_newline_is_needed(self, dial):
        peer = dial().say(b"%H:%M").silence()
        self.prints(lambda: dial().say(b"%H").half_close().rest(), "%H")
        self.assertRegex(peer.say(b"!\n").rest(), rb"^[0-9]{2}:[0-9]{2}!\n$")

    @everywhere("time")
    def test_t10_an_empty_line_asks_for_the_default_and_no_byte_for_nothing(self, dial):
        self.prints(lambda: dial().say(b"\n").rest(), "%Y-%m-%d %x\n")
        dial().half_close().ended()

    @everywhere("time")
    def test_t10_what_follows_the_format_does_not_destroy_the_answer(self, dial):
        def ask():
            peer = dial().say(b"%Y\n")
            select.select([peer.link], [], [], DEADLINE)  # the answer is there, and unread
            return peer.say(b"x" * 100_000).rest()

        self.prints(ask, "%Y\n")

    @everywhere("time")
    def test_t10_what_has_no_answer_has_an_error_of_one_line(self, dial):
        dial().say(b"%Y\0\n").hears(b"onepoll: embedded null character\n").ended()
        dial().say(b"%c" * 400 + b"\n").hears(b"onepoll: the answer would be too long\n").ended()


class Endless:
    """Reads RFC 864's pattern, and compares."""

    def __init__(self, peer):
        self.peer = peer
        self.at = 0

    def reads(self, size):
        heard = self.peer.takes(size)
        start = self.at % len(CHARACTERS)
        pattern = CHARACTERS * (size // len(CHARACTERS) + 2)
        assert heard == pattern[start : start + size], "not the pattern from %d on" % self.at
        self.at += size


if __name__ == "__main__":
    main()
