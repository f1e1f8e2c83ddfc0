#!/usr/bin/env python3
"""How many of CPython's own socket tests pass on onepoll's sockets, and why the rest do not.

    python3 tests/python_socket/score.py              all
    python3 tests/python_socket/score.py BasicTCPTest one class, or one test, with its tracebacks

The test files are the installed Python's, unmodified; they import a module named `socket` that asks onepoll
for everything the tutorials list (shim/socket.py). Exit code 1 if a test fails that expectations.txt does
not excuse, 77 if there is nothing to judge by.
"""

import argparse
import collections
import concurrent.futures
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MISSING = 77
#: The version whose test files expectations.txt was written for.
VERSION = (3, 11)

#: The classes that concern the functions of the tutorials.
CLASSES = {
    "test_timeout": ["CreationTestCase", "TCPTimeoutTestCase", "UDPTimeoutTestCase"],
    "test_socket": [
        "GeneralModuleTests",
        "BasicTCPTest",
        "BasicUDPTest",
        "InterruptedRecvTimeoutTest",
        "InterruptedSendTimeoutTest",
        "TCPCloserTest",
        "BasicSocketPairTest",
        "NonBlockingTCPTests",
        "FileObjectClassTestCase",
        "UnbufferedFileObjectClassTestCase",
        "LineBufferedFileObjectClassTestCase",
        "SmallBufferedFileObjectClassTestCase",
        "UnicodeReadFileObjectClassTestCase",
        "UnicodeWriteFileObjectClassTestCase",
        "UnicodeReadWriteFileObjectClassTestCase",
        "BasicTCPTest2",
        "NetworkConnectionNoServer",
        "NetworkConnectionAttributesTest",
        "NetworkConnectionBehaviourTest",
        "TCPTimeoutTest",
        "UDPTimeoutTest",
        "TestExceptions",
        "TestLinuxAbstractNamespace",
        "TestUnixDomain",
        "BufferIOTest",
        "ContextManagersTest",
        "InheritanceTest",
        "NonblockConstantTest",
        "CreateServerTest",
        "CreateServerFunctionalTest",
    ],
}
#: Classes whose tests wait for seconds each: they begin first, each test beside the others.
LONG = ("test_socket.NetworkConnectionBehaviourTest", "test_socket.TCPTimeoutTest")
#: And the class that takes longest with work.
LONGEST_CLASS = "test_socket.GeneralModuleTests"
#: No class takes longer; one that does waits for ever.
CLASS_SECONDS_MAX = 60

RUNNER = """
import faulthandler, json, sys, unittest, warnings
faulthandler.dump_traceback_later(%d, exit=True)
import socket
assert hasattr(socket, "_bridge"), "this is not our socket module"
from test import support
# Tests that need a network skip themselves where there is none.
support.use_resources = ["network"]
support.verbose = False

class Result(unittest.TestResult):
    def say(self, test, outcome, why=""):
        name = test.id().removeprefix("test.")
        print(json.dumps([name, outcome, why]), file=sys.stderr, flush=True)
    def addSuccess(self, test):
        super().addSuccess(test)
        if not getattr(test, "part_failed", False):
            self.say(test, "passes")
    def addSkip(self, test, reason):
        self.say(test, "skipped", reason)
    def addFailure(self, test, error):
        self.say(test, "fails", self._exc_info_to_string(error, test))
    addError = addFailure
    def addSubTest(self, test, subtest, error):
        if error is not None:
            test.part_failed = True
            self.addFailure(test, error)

sys.stdout = open("/dev/null", "w")
suite = unittest.defaultTestLoader.loadTestsFromName(sys.argv[1])
suite.run(Result())
sys.stderr.flush()
"""


def build_bridge():
    built = subprocess.run(
        ["cargo", "test", "--test", "socket_cpython", "--no-run", "--message-format=json"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "socket_cpython":
            return message["executable"]
    raise SystemExit("cargo built no bridge")


def run(bridge, name):
    """The outcomes of a class's tests: [name, outcome, why]."""
    with tempfile.TemporaryDirectory() as room:
        path = os.path.join(room, "bridge")
        environment = {**os.environ, "ONEPOLL_SOCKET_BRIDGE": path,
                       "PYTHONPATH": str(HERE / "shim"), "PYTHONDONTWRITEBYTECODE": "1"}
        lender = subprocess.Popen([bridge, "bridge", "--exact", "--ignored"], env=environment,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        try:
            while not os.path.exists(path) and lender.poll() is None:
                time.sleep(0.01)
            judge = subprocess.run(
                [sys.executable, "-c", RUNNER % CLASS_SECONDS_MAX, "test." + name],
                env=environment, cwd=room, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True, timeout=CLASS_SECONDS_MAX + 30)
        finally:
            lender.kill()
            lender.wait()
    outcomes, rest = [], []
    for line in judge.stderr.splitlines():
        try:
            outcomes.append(json.loads(line))
        except ValueError:
            rest.append(line)
    if judge.returncode:
        outcomes.append([name, "fails", "\n".join(rest)])
    return outcomes


def tests_of(name):
    """The tests of a class."""
    file, _, cls = name.partition(".")
    cls = getattr(importlib.import_module("test." + file), cls)
    return [f"{name}.{test}" for test in unittest.defaultTestLoader.getTestCaseNames(cls)]


def expectations():
    """Test or class: (outcome, reason)."""
    expected = {}
    for line in (HERE / "expectations.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, outcome, reason = line.split(None, 2)
            expected[name] = outcome, reason
    return expected


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bridge", help="the test binary socket_cpython, if it is built")
    arguments.add_argument("only", nargs="*", help="classes or tests")
    arguments = arguments.parse_args()
    try:
        import test.test_socket  # noqa: F401
        import test.test_timeout  # noqa: F401
    except ImportError as error:
        print(f"skipped: this Python has no test files: {error}")
        return MISSING
    if sys.version_info[:2] != VERSION:
        print(f"skipped: the expectations are for Python {VERSION[0]}.{VERSION[1]}")
        return MISSING
    bridge = arguments.bridge or build_bridge()
    names = [f"{file}.{cls}" for file, classes in CLASSES.items() for cls in classes]
    names.sort(key=lambda name: name != LONGEST_CLASS)
    if arguments.only:
        names = [f"{name}{word.partition('.')[1]}{word.partition('.')[2]}"
                 for word in arguments.only for name in names
                 if word.partition(".")[0] == name.partition(".")[2]]
    else:
        tests = [test for name in LONG for test in tests_of(name)]
        names = tests + [name for name in names if name not in LONG]
    expected = expectations()
    tally = collections.Counter()
    reasons = collections.defaultdict(list)
    surprises = []
    with concurrent.futures.ThreadPoolExecutor(6) as judges:
        ran = list(judges.map(lambda name: run(bridge, name), names))
    for name, outcomes in zip(names, ran):
        if any(outcome == "fails" and test not in expected for test, outcome, _ in outcomes):
            outcomes = run(bridge, name)  # once more, with the machine to itself
        for test, outcome, why in outcomes:
            excuse, reason = expected.get(test, (None, None))
            if arguments.only and outcome == "fails":
                print(why)
            if excuse == "not-ours":
                tally["not ours"] += 1
                reasons[f"not ours: {reason}"].append(test)
                continue
            if outcome == "skipped":
                tally["skipped"] += 1
                reasons[f"skipped by itself: {why}"].append(test)
                continue
            tally[outcome] += 1
            if outcome == "fails" and excuse == "fails":
                reasons[f"fails: {reason}"].append(test)
            elif outcome == "fails":
                surprises.append(f"fails, and should pass: {test}: {(why.splitlines() or ['?'])[-1]}")
            elif excuse == "fails":
                print(f"passes, and is excused: {test}")
    for reason, tests in sorted(reasons.items()):
        print(f"{len(tests):4} {reason}")
        for test in tests:
            print(f"         {test}")
    for surprise in surprises:
        print(surprise)
    judged = tally["passes"] + tally["fails"]
    print(f"{tally['passes']} of {judged} pass; {tally['skipped']} skip themselves here, "
          f"{tally['not ours']} are about functions that are not ours")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
