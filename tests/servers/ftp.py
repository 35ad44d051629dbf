"""FTP servers: vsftpd as Debian ships it, and pyftpdlib in this process for machines without it."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.servers.places import HOST, Hidden, Place, free_port, make_certificates, program, running

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # before Python 3.12 it stands on asyncore
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.filesystems import AbstractedFS
    from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer
__all__ = ["BARE", "PASSWORD", "FTPHandler", "Filesystem", "TLS_FTPHandler", "in_process", "vsftpd"]

_TELLING = ("FEAT", "SIZE", "MDTM", "MLST", "MLSD", "MFMT", "STAT")
BARE = {word: about for word, about in FTPHandler.proto_cmds.items() if word not in _TELLING}  # as servers of old

PASSWORD = "geheim"


class Filesystem(AbstractedFS):  # type: ignore[misc]
    """Enters a folder without taking the process there: a test that removes it would leave all others nowhere."""

    def chdir(self, path: str) -> None:
        with os.scandir(path):
            self.cwd = self.fs2ftp(path)


@contextmanager
def vsftpd(folder: Path, scheme: str = "ftp", host: str = HOST, **settings: str) -> Iterator[Place]:
    """vsftpd for anonymous users with every right; TLS as strict as it can be, session reuse demanded.

    Its certificate is for `host`, by which a proxy may be reached that leads to it.
    """
    server = program("vsftpd", "vsftpd")
    port = free_port()
    top = folder / "top"
    root = top / "exchange"
    root.mkdir(parents=True)
    for path, mode in ((folder, 0o755), (top, 0o555), (root, 0o777), (folder / "empty", 0o555)):
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    certificates = make_certificates(folder / "tls", host)
    tls = {
        "ssl_enable": "YES",
        "allow_anon_ssl": "YES",
        "force_anon_data_ssl": "YES",
        "force_anon_logins_ssl": "YES",
        "require_ssl_reuse": "YES",
        "ssl_ciphers": "HIGH",
        "rsa_cert_file": str(certificates.certificate),
        "rsa_private_key_file": str(certificates.key),
        "implicit_ssl": "YES" if scheme == "ftps+implicit" else "NO",
    }
    lines = {
        "listen": "YES",
        "listen_address": HOST,
        "listen_port": str(port),
        "background": "NO",
        "anonymous_enable": "YES",
        "local_enable": "NO",
        "no_anon_password": "YES",
        "anon_root": str(top),
        "anon_umask": "022",
        "write_enable": "YES",
        "anon_upload_enable": "YES",
        "anon_mkdir_write_enable": "YES",
        "anon_other_write_enable": "YES",
        "anon_world_readable_only": "NO",
        "secure_chroot_dir": str(folder / "empty"),
        "xferlog_enable": "NO",
        **(tls if scheme != "ftp" else {}),
        **settings,
    }
    config = folder / "vsftpd.conf"
    config.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    options: dict[str, Any] = {"timeout": timedelta(seconds=10)}
    if scheme != "ftp":
        options["ca"] = str(certificates.authority)
    with running([server, str(config)], port, folder / "log") as process:
        yield Place(f"{scheme}://anonymous@{HOST}:{port}/exchange", root, options, process)


@contextmanager
def in_process(folder: Path, scheme: str = "ftp", **settings: Any) -> Iterator[Place]:
    """pyftpdlib in a thread of its own, password login; `settings` are attributes of its handler."""
    root = folder / "root"
    root.mkdir(parents=True)
    port = free_port()
    authorizer = DummyAuthorizer()
    authorizer.add_user("cegid", PASSWORD, str(root), perm="elradfmwMT")
    options: dict[str, Any] = {"timeout": timedelta(seconds=10), "password": Hidden(PASSWORD)}
    attributes: dict[str, Any] = {
        "authorizer": authorizer, "auth_failed_timeout": 0, "abstracted_fs": Filesystem, **settings,
    }  # fmt: skip
    if scheme != "ftp":
        certificates = make_certificates(folder / "tls")
        options["ca"] = str(certificates.authority)
        attributes |= {"certfile": str(certificates.both), "tls_control_required": True, "tls_data_required": True}
    handler = type("Handler", (FTPHandler if scheme == "ftp" else TLS_FTPHandler,), attributes)
    server = FTPServer((HOST, port), handler, ioloop=IOLoop())
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            server.serve_forever(timeout=0.05, blocking=False)

    thread = threading.Thread(target=serve, name="shared server, FTP")
    thread.start()
    try:
        yield Place(f"{scheme}://cegid@{HOST}:{port}/", root, options)
    finally:
        stop.set()
        thread.join()
        server.close_all()
