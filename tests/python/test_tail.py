"""One command of an endpoint's, and many readers (`run=LINE&tail=true`)."""

import json
import os
import re
import urllib.parse

from harness import Case, main


def tailed(line, more=""):
    return "command://127.0.0.1:0?auth=none&tail=true&run=" + urllib.parse.quote(line) + more


class Tail(Case):
    def test_what_is_appended_to_a_file_reaches_all_readers_and_latecomers_see_the_last_lines(self):
        path = os.path.join(self.directory(), "log")
        with open(path, "w", buffering=1) as log:
            for n in range(30):
                print("line %d" % n, file=log)
            server = self.serve(tailed("tail -n 100 -F '%s'" % path, "&history=3"))
            first = self.dial(server.at("command"))
            while first.line() != b"line 29":
                pass  # it came before the command had read the file, or after
            readers = [first, self.dial(server.at("command"))]
            readers[1].hears(b"line 27\nline 28\nline 29\n")
            # A reader that says something, and one that ends its input, read on.
            readers[0].say(b"is anybody there?\n")
            readers[1].half_close()
            print("\xe9 is two bytes", file=log)
            for reader in readers:
                reader.hears("\xe9 is two bytes\n".encode())
        server.stop()

    def test_it_has_no_input_and_both_its_outputs_are_told(self):
        server = self.serve(tailed("cat; echo out; echo err >&2", "&restart=never"))
        reader = self.dial(server.at("command"))
        lines = sorted(reader.rest().splitlines())
        self.assertEqual(lines, [b"err", b"out"])
        server.stop()

    def test_it_is_started_again_when_it_ends(self):
        path = os.path.join(self.directory(), "times")
        server = self.serve(tailed("echo x >> '%s'; wc -l < '%s'" % (path, path)))
        reader = self.dial(server.at("command"))
        said = [reader.line(), reader.line()]
        self.assertEqual([line.strip() for line in said], [b"1", b"2"])
        server.waits_for(lambda line: "it is started again" in line)
        server.stop()

    def test_the_audit_and_the_log_say_how_it_ended_and_that_nobody_asked_for_it(self):
        audit = os.path.join(self.directory(), "audit")
        server = self.serve(tailed("echo once; exit 3", "&restart=never"), arguments=("--audit", audit))
        self.assertEqual(self.dial(server.at("command")).rest(), b"once\n")
        server.waits_for(lambda line: re.search(r"the command of the endpoint has ended endpoint=.* exit=3$", line))
        server.stop()
        with open(audit) as file:
            events = [json.loads(line) for line in file if '"command-' in line]
        self.assertEqual([event["event"] for event in events], ["command-started", "command-ended"])
        self.assertEqual((events[1]["exit"], events[1]["output_bytes"]), (3, 5))
        for event in events:
            self.assertFalse({"peer", "uid", "pid", "connection"} & set(event), event)

    def test_it_ends_with_the_server_and_with_its_endpoint(self):
        server = self.serve(tailed("echo $$; exec sleep 1000"))
        pid = int(self.dial(server.at("command")).line())
        server.stop()
        self.assertFalse(os.path.exists("/proc/%d" % pid))

    def test_a_reader_who_does_not_read_is_let_go_and_the_others_read_on(self):
        server = self.serve(tailed("yes 'a line of the command, which is long enough to fill what there is'"))
        slow = self.dial(server.at("command")).enters()
        fast = self.dial(server.at("command")).enters()
        server.waits_for(lambda line: "did not keep up" in line)
        for _ in range(1000):
            self.assertEqual(fast.line(), b"a line of the command, which is long enough to fill what there is")
        slow.close()
        server.kill()


if __name__ == "__main__":
    main()
