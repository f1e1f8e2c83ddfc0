"""Certificates that no program of ours has made: by `openssl`."""

import os
import subprocess


class Authority:
    """Signs certificates, whose files are in `directory`."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.count = 0
        self.ca = self._file("ca.pem")
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", self._file("ca.key"), "-out", self.ca, "-days", "2", "-subj", "/CN=" + name),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
        )

    def signs(self, names, days=2):
        """The paths of a certificate for these names (`IP:127.0.0.1`) and of its key."""
        self.count += 1
        cert, key = self._file("%d.pem" % self.count), self._file("%d.key" % self.count)
        request, extensions = self._file("request"), self._file("extensions")
        with open(extensions, "w") as file:
            file.write("subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n" % names)
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-out", request, "-subj", "/CN=one"),
        )
        os.chmod(key, 0o600)
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._file("ca.key")),
            *("-CAcreateserial", "-days", str(days), "-extfile", extensions, "-out", cert),
        )
        return cert, key

    def _file(self, name):
        return os.path.join(self.directory, "%s-%s" % (self.name, name))


def fingerprint(cert):
    """As `openssl` prints it."""
    said = _openssl("x509", "-in", cert, "-noout", "-fingerprint", "-sha256")
    return said.strip().rpartition("=")[2]


def _openssl(*arguments):
    done = subprocess.run(
        ["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
