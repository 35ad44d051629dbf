"""SFTP servers: OpenSSH's sshd as Debian ships it, and asyncssh in this process for machines without it."""

from __future__ import annotations

import asyncio
import getpass
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh

from tests.servers.places import HOST, Hidden, Place, free_port, make_key, program, running

PASSWORD = "geheim und länger"


def known_hosts(folder: Path, port: int, *public_keys: Path) -> Path:
    """A known_hosts file with these keys."""
    path = folder / "known_hosts"
    lines = [f"[{HOST}]:{port} {' '.join(key.read_text().split()[:2])}" for key in public_keys]
    path.write_text("\n".join(lines) + "\n")
    return path


@contextmanager
def openssh(folder: Path, *settings: str) -> Iterator[Place]:
    """sshd for the current user, key login only; `settings` go ahead of the others and so win."""
    sshd = program("sshd", "openssh-server")
    port = free_port()
    root = folder / "root"
    root.mkdir(parents=True)
    host_key, user_key = make_key(folder / "host_key"), make_key(folder / "user_key")
    config = folder / "sshd_config"
    config.write_text(
        "\n".join(
            [
                *settings,
                f"Port {port}",
                f"ListenAddress {HOST}",
                f"HostKey {host_key}",
                f"AuthorizedKeysFile {folder}/user_key.pub",
                f"PidFile {folder}/pid",
                "StrictModes no",
                "UsePAM no",
                "PermitRootLogin prohibit-password",
                "Subsystem sftp internal-sftp",
                "",
            ]
        )
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    hosts = known_hosts(folder, port, host_key.with_suffix(".pub"))
    options = {"private_key": str(user_key), "known_hosts": str(hosts), "timeout": timedelta(seconds=10)}
    with running([sshd, "-D", "-e", "-f", str(config)], port, folder / "log") as server:
        yield Place(f"sftp://{getpass.getuser()}@{HOST}:{port}{root}", root, options, server)


class _Login(asyncssh.SSHServer):
    def __init__(self, connections: list[asyncssh.SSHServerConnection]) -> None:
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("cegid", PASSWORD)


@contextmanager
def in_process(folder: Path, kind: type[asyncssh.SFTPServer] = asyncssh.SFTPServer, **options: Any) -> Iterator[Place]:
    """asyncssh in a thread of its own; password login, the folder as the server's root; `kind` serves it."""
    root = folder / "root"
    root.mkdir(parents=True)
    host_key = make_key(folder / "host_key")
    port = free_port()
    connections: list[asyncssh.SSHServerConnection] = []
    loop = asyncio.new_event_loop()
    workers = ThreadPoolExecutor(max_workers=1)
    workers.submit(bool).result()  # its thread belongs to the server, not to the first test
    loop.set_default_executor(workers)
    thread = threading.Thread(target=loop.run_forever, name="shared server, SFTP")
    thread.start()

    def factory(channel: asyncssh.SSHServerChannel) -> asyncssh.SFTPServer:
        return kind(channel, chroot=os.fsencode(root))

    async def listen() -> asyncssh.SSHAcceptor:
        keys = options.pop("server_host_keys", [str(host_key)])
        return await asyncssh.listen(
            HOST,
            port,
            server_factory=lambda: _Login(connections),
            server_host_keys=keys,
            sftp_factory=factory,
            **options,
        )

    async def end(server: asyncssh.SSHAcceptor) -> None:
        server.close()
        for connection in connections:
            connection.abort()
            await connection.wait_closed()
        await server.wait_closed()

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    hosts = known_hosts(folder, port, host_key.with_suffix(".pub"))
    try:
        yield Place(
            f"sftp://cegid@{HOST}:{port}/",
            root,
            {"password": Hidden(PASSWORD), "known_hosts": str(hosts), "timeout": timedelta(seconds=10)},
        )
    finally:
        asyncio.run_coroutine_threadsafe(end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        workers.shutdown()
