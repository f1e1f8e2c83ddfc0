"""What the whole suite can be put behind, by one switch of the harness.

    ONEPOLL_BEHIND=secret python3 tests/python/test_streams.py

Knows no test and no server. Each guard adds its options to every stream endpoint that the harness
starts, and passes every connection that it dials to one of them, when the test first uses it; the
tests are the same. What cannot be asked behind a guard says so with `without`.
"""

import contextlib
import hashlib
import hmac
import os
import shutil
import tempfile
import unittest

import tls

SWITCH = "ONEPOLL_BEHIND"

CHALLENGE_BYTES = 32


class Secret:
    """A1 to A3."""

    def __init__(self, directory):
        path = os.path.join(directory, "secret")
        self.secret = os.urandom(24).hex().encode()
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(self.secret + b"\n")
        self.options = ["secret-file=" + path]

    def passes(self, link):
        """The same connection, to the service behind the gate; as it is, if it ends before."""
        challenge = b""
        with contextlib.suppress(ConnectionError):
            while len(challenge) < CHALLENGE_BYTES:
                more = link.recv(CHALLENGE_BYTES - len(challenge))
                if not more:
                    return link
                challenge += more
            link.sendall(hmac.new(self.secret, challenge, hashlib.sha256).digest())
        return link


class Tls:
    """TLS 1.3, with a certificate of our own making."""

    def __init__(self, directory):
        cert, key, _ = tls.certificate(os.path.join(directory, "pair"))
        self.context = tls.trusting(cert)
        self.options = tls.options(cert, key).split("&")

    def passes(self, link):
        """The same connection, inside its session; as it is, if it ends before."""
        try:
            return tls.Link(link, self.context)
        except ConnectionError:
            return link


KINDS = {"secret": Secret, "tls": Tls}
"""By their names in the switch; `a+b` is both, the first of them outside."""


def _guards():
    names = [name for name in os.environ.get(SWITCH, "").split("+") if name]
    if not names:
        return {}
    directory = tempfile.mkdtemp(prefix="onepoll-behind-")
    unittest.addModuleCleanup(shutil.rmtree, directory, ignore_errors=True)
    return {name: KINDS[name](directory) for name in names}


GUARDS = _guards()


def options_of(query):
    """The options of a stream endpoint, with those of the guards."""
    options = [option for option in query.split("&") if option]
    if not GUARDS or any(option.startswith(("secret-file=", "tls=")) for option in options):
        return "&".join(options)
    # A secret is what `auth=none` does without.
    if "secret" in GUARDS:
        options = [option for option in options if option != "auth=none"]
    return "&".join(options + [option for guard in GUARDS.values() for option in guard.options])


def is_guarded(query):
    """Whether an endpoint that was reported with these options has those of the guards, and not its own."""
    options = query.split("&")
    return bool(GUARDS) and all(
        option in options for guard in GUARDS.values() for option in guard.options
    )


def passes(link):
    """A connection to a guarded endpoint, to the service itself."""
    for guard in GUARDS.values():
        link = guard.passes(link)
    return link


def without(name, why):
    """Skips a test behind this guard, where what it asks cannot be."""
    return unittest.skipIf(name in GUARDS, "behind a %s: %s" % (name, why))
