"""T6, chat: names, lobby and rooms, private messages, who, notices; and what text may not do."""

from behind import without
from harness import DEADLINE, Case, Shared, everywhere, main, shown

import time

FLOOD = 30  # lines at once, more than a person types


class Member:
    """Somebody in the room. Notices begin with `* `, everything else is somebody's line."""

    def __init__(self, peer, name=None):
        self.peer = peer
        self.name = None
        self.skipped = []
        if name:
            self.is_called(name)

    def is_called(self, name):
        self.name = name
        self.says("/nick %s\n" % name).notice(name)

    def says(self, text):
        self.peer.say(text if isinstance(text, bytes) else text.encode())
        return self

    def notice(self, *containing, deadline=DEADLINE):
        """The next notice that has all of these in it; what others say meanwhile is skipped."""
        until = time.monotonic() + deadline
        while True:
            line = self.peer.line(max(0, until - time.monotonic())).decode()
            if line.startswith("* ") and all(part in line for part in containing):
                return line

    def told(self, containing):
        """There was such a notice among those that `line` skipped, or it comes next."""
        while self.skipped:
            if containing in self.skipped.pop(0):
                return
        self.notice(containing)

    def line(self):
        """The next line that is no notice, as bytes."""
        while True:
            line = self.peer.line()
            if not line.startswith(b"* "):
                return line
            self.skipped.append(line.decode())

    def hears(self, line):
        """Exactly this line is the next that is no notice."""
        heard, line = self.line(), line if isinstance(line, bytes) else line.encode()
        assert heard == line, "heard %s, expected %s%s" % (
            shown(heard),
            shown(line),
            self.peer.story(),
        )
        return self


class Chat(Shared):
    endpoints = {"chat": "chat?flood=off"}

    def enter(self, dial, *names):
        """Members by these names. Each is known to the room before the next comes."""
        return [Member(dial(), name) for name in names]

    @everywhere("chat")
    def test_t6_a_line_reaches_the_others_and_never_oneself(self, dial):
        ann, bob, eve = self.enter(dial, "ann", "bob", "eve")
        ann.says("hello\n")
        bob.hears("ann: hello")
        eve.hears("ann: hello")
        bob.says("hi ann\n")
        ann.hears("bob: hi ann")  # and not her own line
        eve.hears("bob: hi ann")

    @everywhere("chat")
    def test_t6_a_newcomer_has_a_name_and_is_in_the_lobby_at_once(self, dial):
        (ann,) = self.enter(dial, "ann")
        newcomer = Member(dial())
        newcomer.says("here I am\n")
        name, _, text = ann.line().partition(b": ")
        self.assertEqual(text, b"here I am")
        self.assertRegex(name, rb"\A\S+\Z")
        another = Member(dial())
        another.says("me too\n")
        self.assertNotEqual(ann.line().partition(b": ")[0], name)

    @everywhere("chat")
    def test_t6_byte_by_byte_and_glued(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        ann.peer.drip(b"one\ntwo\r\n")
        bob.hears("ann: one").hears("ann: two")
        ann.says("three\nfour\n\nfive\nsi").says("x\n")
        bob.hears("ann: three").hears("ann: four")
        self.assertIn(bob.line(), (b"ann: five", b"ann: "))  # an empty line may be a line
        while bob.line() != b"ann: six":
            pass

    @everywhere("chat")
    def test_t6_crlf_is_one_line_end(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        ann.says("one\r\n").says("two\r").says("\nthree\n")
        bob.hears("ann: one").hears("ann: two").hears("ann: three")

    @everywhere("chat")
    def test_t6_utf8_is_intact_also_when_cut_inside_a_character(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        text = "你好 straße 🦀 naïve"
        ann.says(text + "\n")
        bob.hears("ann: " + text)
        ann.peer.drip((text + "\n").encode())
        bob.hears("ann: " + text)
        for cut in range(1, 6):
            data = ("🦀" + text + "\n").encode()
            ann.says(data[:cut]).says(data[cut:])
            bob.hears("ann: 🦀" + text)

    @everywhere("chat")
    def test_fault_c1_what_is_not_utf8_does_no_harm(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        for bad in (b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\xa6", b"\xe4\xbd", b"a\x80b"):
            ann.says(b"[" + bad + b"]\n")
        ann.says("fin\n")
        while True:
            line = bob.line()
            line.decode("utf-8")  # whatever became of it, it is UTF-8 now
            if line == b"ann: fin":
                break

    @everywhere("chat")
    def test_fault_c8_control_characters_are_neutralised(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        ann.says(b"red \x1b[31m bell \x07 back \x08 del \x7f c1 \xc2\x9b31m nul \x00 cr \r mid end\n")
        line = bob.line()
        self.assertTrue(line.startswith(b"ann: red "), line)
        self.assertTrue(line.endswith(b" mid end"), line)
        for character in line.decode():
            code = ord(character)
            self.assertFalse(code < 32 and code != 9 or 127 <= code < 160, line)

    @everywhere("chat")
    def test_fault_c10_no_text_is_a_format(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        ann.says("%s%n%x {} {0} ${PATH} `id` \\n\n")
        bob.hears("ann: %s%n%x {} {0} ${PATH} `id` \\n")

    @everywhere("chat")
    def test_t6_a_forged_notice_is_a_line_of_its_author(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        ann.says("* eve has left\n")
        bob.hears("ann: * eve has left")

    # Names.

    @everywhere("chat")
    def test_t6_names_are_announced_and_unique(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        ann.notice("bob")
        bob.says("/nick ann\n")
        bob.notice("ann")  # a refusal
        bob.says("still me\n")
        ann.hears("bob: still me")
        bob.says("/nick rob\n")
        ann.notice("bob", "rob")
        bob.says("me again\n")
        ann.hears("rob: me again")
        # A name that was given up is free.
        (other,) = self.enter(dial, "bob")
        other.says("new here\n")
        ann.hears("bob: new here")

    @everywhere("chat")
    def test_fault_c9_names_that_deceive_are_refused(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        for bad in ("", "a b", "a\x1b[31mb", "ann\u200b", "\u202ebob", "*", "a:b", "x" * 300, "/x", "\xe9\x01"):
            bob.says("/nick %s\n" % bad)
            bob.says("/nick\n")
            bob.says("who am I\n")
            ann.hears("bob: who am I")

    # Rooms.

    @everywhere("chat")
    def test_t6_rooms_are_apart(self, dial):
        ann, bob, eve = self.enter(dial, "ann", "bob", "eve")
        ann.says("/join den\n").notice("den")
        bob.notice("ann")  # she left the lobby
        bob.says("/join den\n").notice("den")
        ann.notice("bob")
        eve.says("anyone in the lobby?\n")
        ann.says("just us\n")
        bob.hears("ann: just us")
        bob.says("yes\n")
        ann.hears("bob: yes")
        bob.says("/join lobby\n").notice("lobby")
        eve.says("welcome back\n")
        bob.hears("eve: welcome back")
        bob.says("thanks\n")
        eve.hears("bob: thanks")
        ann.says("alone\n/join lobby\n").notice("lobby")
        bob.says("all here\n")
        ann.hears("bob: all here")
        eve.hears("bob: all here")

    # Private messages.

    @everywhere("chat")
    def test_t6_a_private_message_reaches_one(self, dial):
        ann, bob, eve = self.enter(dial, "ann", "bob", "eve")
        ann.says("/msg bob the key is 你好\n")
        line = bob.peer.line()
        while b"the key is" not in line:
            line = bob.peer.line()
        self.assertIn(b"ann", line)
        self.assertIn("你好".encode(), line)
        ann.says("and all\n")
        eve.hears("ann: and all")
        bob.hears("ann: and all")

    @everywhere("chat")
    def test_t6_a_private_message_crosses_rooms(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        bob.says("/join den\n").notice("den")
        ann.says("/msg bob come back\n")
        while b"come back" not in bob.peer.line():
            pass

    @everywhere("chat")
    def test_t6_a_private_message_to_nobody_is_answered(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        ann.says("/msg nobody hello\n").notice("nobody")
        ann.says("/msg\n/msg bob\n/msg  \non\n")
        bob.hears("ann: on")

    # Who.

    @everywhere("chat")
    def test_t6_who_is_here(self, dial):
        ann, bob, eve = self.enter(dial, "ann", "bob", "eve")
        eve.says("/join den\n").notice("den")
        ann.notice("eve")  # has come
        ann.notice("eve")  # has gone
        self.assertEqual(self.who(ann, bob) & {"ann", "bob", "eve"}, {"ann", "bob"})
        bob.says("/quit\n")
        bob.peer.gone()
        ann.notice("bob", "left")
        (rob,) = self.enter(dial, "rob")
        self.assertEqual(self.who(ann, rob) & {"ann", "bob", "rob"}, {"ann", "rob"})

    def who(self, member, other):
        """The words of the notices that answer `/who`; the end is known by the next answer."""
        member.says("/who\n/msg nobody-at-all x\n")
        words = set()
        while True:
            line = member.peer.line().decode()
            assert line.startswith("* "), line
            if "nobody-at-all" in line:
                return words
            for word in line[2:].replace(",", " ").replace(":", " ").split():
                words.add(word.strip("()[].@+"))

    # Commands that do not exist.

    @everywhere("chat")
    def test_t6_an_unknown_command_is_answered_and_not_said(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        ann.says("/frobnicate now\n").notice("frobnicate")
        ann.says("/\n/help\non\n")
        bob.hears("ann: on")

    # The end.

    @everywhere("chat")
    def test_t6_quit_and_half_close_are_told(self, dial):
        ann, bob, eve = self.enter(dial, "ann", "bob", "eve")
        bob.says("/quit\n")
        ann.notice("bob", "left")
        self.assertNotIn(b"bob: ", bob.peer.rest())
        eve.says("last words\n").peer.half_close()
        ann.hears("eve: last words").notice("eve", "left")
        eve.peer.rest()

    @everywhere("chat")
    def test_t6_a_last_line_without_newline_is_a_line(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        bob.says("no newline").peer.half_close()
        ann.hears("bob: no newline").notice("bob", "left")

    @everywhere("chat")
    def test_t6_commands_glued_to_the_end(self, dial):
        (ann,) = self.enter(dial, "ann")
        peer = dial().say(b"/nick bob\nhello\n/quit\nnever said\n")
        ann.hears("bob: hello").notice("bob", "left")
        peer.rest()
        ann.says("/who\n").notice("ann")

    @everywhere("chat")
    def test_t6_whoever_is_reset_has_left(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        bob.peer.reset()
        ann.notice("bob", "left")
        (rob,) = self.enter(dial, "bob")  # the name is free
        rob.says("again\n")
        ann.hears("bob: again")

    @everywhere("chat")
    def test_t6_nothing_at_all(self, dial):
        peer = dial().half_close()
        for line in peer.rest().splitlines():
            self.assertTrue(line.startswith(b"* "), line)

    @everywhere("chat")
    def test_threat_model_a_browser_is_hung_up_on(self, dial):
        ann, = self.enter(dial, "ann")
        peer = dial().say(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nhello room\n")
        peer.rest()
        (bob,) = self.enter(dial, "bob")
        bob.says("quiet here\n")
        ann.hears("bob: quiet here")

    @everywhere("chat")
    def test_a_telnet_client_is_understood(self, dial):
        ann, = self.enter(dial, "ann")
        bob = dial()
        bob.say(b"\xff\xfb\x1f\xff\xfa\x1f\0\x0a\0\x0a\xff\xf0/nick bob\r\0\xff\xf4\xff\xfd\x06hello\r\0")
        ann.hears("bob: hello")
        bob.half_close()
        said = bob.rest()
        self.assertIn(b"\xff\xfe\x1f", said)  # WILL NAWS: DONT
        self.assertIn(b"\xff\xfc\x06", said)  # DO TIMING-MARK: WONT

    # Limits.

    @everywhere("chat")
    def test_fault_b8_the_longest_line_and_one_more(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        text = "x" * (64 * 1024 - 100)
        ann.says(text + "\n")
        bob.hears("ann: " + text)
        ann.says("x" * (64 * 1024 + 100) + "\n")
        ann.notice("too long")
        bob.notice("ann", "left")
        ann.peer.rest()

    @everywhere("chat")
    def test_fault_b9_b16_a_line_without_end_is_refused_and_the_reason_is_heard(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        # Much more than the limit, none of it read before the refusal: it must not be a reset.
        bob.says(b"x" * (512 << 10))
        said = bob.peer.rest().splitlines()
        self.assertTrue(said and said[-1].startswith(b"* "), said[-1:])
        ann.notice("bob", "left")

    @everywhere("chat")
    def test_fault_b3_ten_thousand_lines_in_one_write(self, dial):
        ann, bob = self.enter(dial, "ann", "bob")
        ann.says("".join("line %d\n" % n for n in range(10000)))
        for n in range(10000):
            bob.hears("ann: line %d" % n)

    @everywhere("chat")
    def test_fault_i11_all_hear_one_order(self, dial):
        ann, bob, eve, joe = self.enter(dial, "ann", "bob", "eve", "joe")
        for n in range(50):
            ann.says("a%d\n" % n)
            bob.says("b%d\n" % n)
        one = [eve.line() for _ in range(100)]
        two = [joe.line() for _ in range(100)]
        self.assertEqual(one, two)
        self.assertEqual([x for x in one if x.startswith(b"ann")], [b"ann: a%d" % n for n in range(50)])


class Limited(Case):
    def test_t6_history_is_shown_to_a_newcomer(self):
        server = self.serve("chat://127.0.0.1:0?history=2&flood=off")
        at = server.at("chat")
        ann, bob = Member(self.dial(at), "ann"), Member(self.dial(at), "bob")
        ann.says("one\ntwo\nthree\n")
        bob.hears("ann: one").hears("ann: two").hears("ann: three")
        newcomer = Member(self.dial(at))
        for said in (b"ann: two", b"ann: three"):
            self.assertRegex(newcomer.line(), rb"\A\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] " + said + rb"\Z")
        for member in (ann, bob, newcomer):
            member.peer.close()
        server.rests()
        server.drain()

    def test_t6_a_flood_is_slowed_down_and_nothing_is_lost(self):
        server = self.serve("chat://127.0.0.1:0?flood=on")
        at = server.at("chat")
        ann, bob = Member(self.dial(at), "ann"), Member(self.dial(at), "bob")
        ann.says("".join("line %d\n" % n for n in range(FLOOD)))
        bob.says("and me\n")
        self.assertEqual(ann.line(), b"bob: and me")  # the others are not held back
        for n in range(FLOOD):
            bob.hears("ann: line %d" % n)
        ann.peer.close()
        bob.peer.close()
        server.rests()
        server.drain()

    @without("secret", "nothing is said before a challenge")
    @without("tls", "nothing is said before the handshake")
    def test_fault_a5_the_full_room_says_why(self):
        server = self.serve("chat://127.0.0.1:0?max-connections=2")
        at = server.at("chat")
        ann, bob = Member(self.dial(at), "ann"), Member(self.dial(at), "bob")
        for _ in range(20):
            refused = self.dial(at)
            self.assertRegex(refused.rest(), rb"\A\* [^\n]+\n\Z")
            refused.close()
        # Also to one who spoke at once; what it said must not destroy the answer.
        with server.suspended():
            eager = self.dial(at).say(b"hello?\n")
        self.assertRegex(eager.line(), rb"\A\* ")
        eager.close()
        ann.says("quiet\n")
        bob.hears("ann: quiet")
        bob.peer.close()
        ann.notice("bob", "left")
        eve = Member(self.dial(at), "eve")
        eve.says("at last\n")
        ann.hears("eve: at last")
        ann.peer.close()
        eve.peer.close()
        self.assertEqual(server.rests()["refused"]["listener_full"], 21)
        server.drain()


if __name__ == "__main__":
    main()
