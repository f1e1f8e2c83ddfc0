"""T0 to T4: discard, echo, upper, one upper burst, greeting; whole, byte by byte, glued, half-closed."""

import hashlib
import os
import struct
import threading

from harness import Shared, everywhere, main, read_to_the_end

EVERY_BYTE = bytes(range(256))
CHINESE = "你好 straße ñ".encode()
GBK = "你好 abc".encode("gbk")


def framed(data):
    return struct.pack("<i", len(data)) + data


class Streams(Shared):
    # Byte by byte, a busy machine may pause longer than 20 ms: those bursts have a longer settle.
    endpoints = {
        "discard": "discard",
        "echo": "echo",
        "upper": "upper",
        "once": "upper?once=true&strip=true",
        "once-patient": "upper?once=true&strip=true&settle=200ms",
        "once-never": "upper?once=true&strip=true&settle=never",
        "once-bare": "upper?once=true",
        "hello": "greeting?greeting=hello&wait=true",
        "hi": "greeting?reply=hi",
        "hi-patient": "greeting?reply=hi&settle=200ms",
        "sbzz": "greeting?greeting=sbzz&greeting=sbzz&greeting=sbzz",
        "framed": "greeting?greeting=hello&greeting=egg&framing=i32",
        "framed-reply": "greeting?greeting=hello&reply=hi&framing=i32",
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

    @everywhere("echo")
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

    @everywhere("once-patient")
    def test_t3_byte_by_byte(self, dial):
        dial().drip(b" \t hello \v\f").hears(b"HELLO").ended()

    @everywhere("once-patient")
    def test_t3_a_newline_or_the_half_close_ends_it_before_the_settling_does(self, dial):
        dial().drip(b"hello\n").hears(b"HELLO").ended()
        dial().drip(b"hello").half_close().hears(b"HELLO").ended()

    @everywhere("once-patient")
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

    @everywhere("hi-patient")
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


if __name__ == "__main__":
    main()
