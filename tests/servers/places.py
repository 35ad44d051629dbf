"""What the servers of the tests have in common: a free port, a wait until they answer, throw-away keys."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cegid_daemon.model import EndpointSpec

HOST = "127.0.0.1"


class Hidden:
    """A secret as the configuration hands it over."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True)
class Place:
    """A running server: where it is, how to log in, and the folder it serves."""

    url: str
    root: Path
    options: dict[str, Any] = field(default_factory=dict)
    server: Server | None = None  # None: it runs in this process

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 0

    def spec(self, **options: Any) -> EndpointSpec:
        """The endpoint as it would be configured, some options changed."""
        return EndpointSpec("test", self.url, {**self.options, **options})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def program(name: str, package: str) -> str:
    """The program's path; without it the test is skipped, but never in CI."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing: apt-get install {package}")
        pytest.skip(f"{name} is not installed ({package})")
    return path


class Server:
    """A server's process and those it made; can be killed, and started again on the same port."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self._command = command
        self._port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers on its port."""
        with self._log.open("ab") as output:
            process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._process = process
        wait_until(lambda: process.poll() is not None or answers(self._port))
        assert process.poll() is None, self._log.read_text(errors="replace")

    def kill(self) -> None:
        """With everybody it serves, in the middle of whatever they do."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)  # it takes nobody new while its children are looked for
        for pid in [*descendants(self._process.pid), self._process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        """Ends it; its sessions end with their connections."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)


def descendants(pid: int) -> list[int]:
    """The processes that a process made, and those they made."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []  # it has just ended
    children = [int(one) for text in lists for one in text.split()]
    return [one for child in children for one in (child, *descendants(child))]


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[Server]:
    """A server, from the moment it answers on `port`."""
    server = Server(command, port, log)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def wait_until(ready: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.02)


def answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new SSH key pair; `path` and `path`.pub."""
    command = [
        program("ssh-keygen", "openssh-client"),
        "-q",
        "-t",
        kind,
        "-N",
        passphrase,
        "-C",
        "test",
        "-f",
        str(path),
    ]
    subprocess.run(command, check=True)
    return path


@dataclass(frozen=True)
class Certificates:
    """A throw-away authority and a certificate of it for loopback; PEM files."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def both(self) -> Path:
        """Certificate and key in one file, as some servers want them."""
        path = self.certificate.with_name("both.pem")
        path.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        path.chmod(0o600)
        return path


def make_certificates(folder: Path, host: str = HOST) -> Certificates:
    """An authority and a certificate it signed for `host`, an address or a name."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("throw-away authority of the tests")
    authority = _builder(authority_name, authority_name, authority_key.public_key())
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    authority = authority.add_extension(_usage(sign=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = authority.add_extension(identifier, critical=False)
    leaf = _builder(_name("server of the tests"), authority_name, key.public_key())
    leaf = leaf.add_extension(x509.SubjectAlternativeName([_alternative(host)]), critical=False)
    about = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    leaf = leaf.add_extension(about, critical=False)
    made = Certificates(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    for path, builder in ((made.authority, authority), (made.certificate, leaf)):
        signed = builder.sign(authority_key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    made.key.chmod(0o600)
    return made


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=sign, crl_sign=sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )
