"""An FTP server as an endpoint (`ftp://`, `ftps://` with explicit TLS, `ftps+implicit://`).

The url's path is relative to the login folder, absolute with a second slash. What FTP cannot promise and what is done
about it: a reply 550 means many things, so what lies there is looked at; a rename may replace, so where that is not
wanted the new name is looked for first; a server's MLSD may show a symlink as the file it leads to. May be used from
several threads at once; `close` from any of them ends what the others wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as changed

from cegid_daemon.endpoints.bounds import MAX_EXCESS_BYTES, Beat
from cegid_daemon.endpoints.connections import Connections, Logins
from cegid_daemon.endpoints.ftp_batches import FtpBatches
from cegid_daemon.endpoints.ftp_link import FtpLink
from cegid_daemon.endpoints.ftp_place import FtpPlace
from cegid_daemon.endpoints.ftp_words import Refusal
from cegid_daemon.endpoints.net import interrupting, taken
from cegid_daemon.endpoints.paths import checked_name, folder_parts
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.errors import Absent, Exists, Permanent, Place, SourceChanged, Transient
from cegid_daemon.model import EndpointSpec, Identity, Listed

_CHUNK = 1 << 20


class FtpEndpoint(FtpBatches):
    """Files on an FTP server."""

    def __init__(self, server: Server) -> None:
        """Nothing is connected yet."""
        self.abilities = Abilities(remote=True, together=True)
        self._server = server
        self._logins = Logins(server)
        super().__init__(Connections(server, self._connect), FtpPlace(server), server.channels)

    @classmethod
    def of(cls, spec: EndpointSpec, beat: Beat | None = None) -> FtpEndpoint:
        """From the configuration. ConfigurationError if the url or an option is wrong."""
        return cls(Server.of(spec, beat))

    @property
    def where(self) -> str:
        """`ftp://user@host:port/path`."""
        return self._server.where

    def facts(self) -> Mapping[str, str]:
        """What the server said of itself; lists the folder of the url once, to see how data connections are secured."""
        with self._pool.lend() as link, link.telling("cannot ask what the server can do", self.where):
            if link.accepts(f"CWD {self._site.path(link, '') or '/'}"):
                self._site.entries(link, "", lambda _name: False)
            return link.facts()

    def list(self, folder: str, wanted: Callable[[str], bool] | None = None) -> list[Listed]:
        """The entries of `folder`. What cannot be named in a command is listed as not regular."""
        text = self._site.text(folder)
        with self._pool.lend() as link, link.telling("cannot list the folder", text):
            if not link.accepts(f"CWD {self._site.path(link, folder) or '/'}"):
                raise Absent("the folder is not there", where=Place(file=text))
            return self._site.entries(link, folder, wanted)

    def stat(self, folder: str, name: str) -> Listed | None:
        """The entry as it is now."""
        checked_name(name)
        text = self._site.text(folder, name)
        with self._pool.lend() as link, link.telling("cannot look at the file", text):
            found = self._site.look(link, folder, name)
            if found is None and not link.accepts(f"CWD {self._site.path(link, folder) or '/'}"):
                raise Absent("the folder is not there", where=Place(file=text))
            return found

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[FtpReading]:
        """Opens a regular file."""
        checked_name(name)
        text = self._site.text(folder, name)
        with self._pool.lend() as link:
            with self._site.explaining(link, "cannot read the file", folder, name):
                found = self._site.look(link, folder, name)
                if found is None:
                    raise Absent("cannot read the file", where=Place(file=text), why="it is not there")
                if not found.regular:
                    raise _not_regular(text)
                link.begin(f"RETR {self._site.path(link, folder, name)}", start)
            yield FtpReading(self, link, folder, name, found.identity, start)

    def put(self, folder: str, name: str, chunks: Iterable[bytes]) -> Identity:
        """Writes the file, and reads its size back; FTP can neither sync nor refuse to write through a link."""
        checked_name(name)
        text, what, sent = self._site.text(folder, name), "cannot write the file", 0
        with self._pool.lend() as link, interrupting(Refusal):
            with self._site.explaining(link, what, folder, name):
                link.begin(f"STOR {self._site.path(link, folder, name)}")
            for chunk in chunks:  # an error of the caller's passes as it is; the connection is then given up
                sent += len(chunk)
                with link.telling(what, text):
                    link.send(chunk)
            with link.telling(what, text), link.once(what, text):
                link.complete()
                found = self._site.written(link, folder, name, sent)
        if found is None:
            raise taken(text)
        if found.size != sent:
            raise Transient(
                f"sent {sent} bytes, but the server has {found.size}",
                where=Place(file=text),
                remedy="The server's disk may be full. It is tried again by itself.",
            )
        return found

    def rename(self, folder: str, name: str, to_folder: str, to_name: str, *, replace: bool) -> None:
        """Renames; most servers replace what has the new name, so it is looked for where that is not wanted.

        One that refuses to replace a file is known for that from then on (`abilities`).
        """
        checked_name(name)
        checked_name(to_name)
        text, what = self._site.text(folder, name), f"cannot rename the file to {self._site.text(to_folder, to_name)}"
        with self._pool.lend() as link:
            to = self._site.path(link, to_folder, to_name)
            with link.telling(what, text):
                if not replace and self._site.taken(link, to):
                    raise Exists(f"{what}: the name is taken", where=Place(file=text))
            try:
                with self._site.explaining(link, what, folder, name, to=to):
                    link.command(f"RNFR {self._site.path(link, folder, name)}")
                    link.command_once(f"RNTO {to}", what, text)
            except Exists:
                self._learn_of_refusal(link, to_folder, to_name)
                raise
            self._site.forget(folder, [name])
            self._site.forget(to_folder, [to_name])

    def _learn_of_refusal(self, link: FtpLink, folder: str, name: str) -> None:
        """A rename onto a taken name was refused: if a file has it, the server does not replace."""
        with link.telling("cannot look at the file", self._site.text(folder, name)):
            found = self._site.look(link, folder, name)
        if found is not None and found.regular:
            self.abilities = changed(self.abilities, replaces=False)

    def remove(self, folder: str, name: str) -> None:
        """Removes a file."""
        checked_name(name)
        with self._pool.lend() as link, self._site.explaining(link, "cannot remove the file", folder, name):
            link.command(f"DELE {self._site.path(link, folder, name)}")

    def make_folder(self, folder: str) -> None:
        """Makes what is missing below the url's own folder."""
        parts, text = folder_parts(folder), self._site.text(folder)
        with self._pool.lend() as link, link.telling("cannot make the folder", text):
            if link.accepts(f"CWD {self._site.path(link, folder) or '/'}"):
                return
            if not link.accepts(f"CWD {self._site.path(link, '') or '/'}"):
                raise Absent("the endpoint's folder is not there", where=Place(file=self.where))
            for depth in range(len(parts)):
                self._make(link, "/".join(parts[: depth + 1]))

    def make_new_folder(self, folder: str) -> None:
        """MKD alone: it is refused where the name is taken."""
        text = self._site.text(folder)
        with self._pool.lend() as link, link.telling("cannot make the folder", text):
            path = self._site.path(link, folder)
            try:
                link.command(f"MKD {path}")
            except Refusal as refusal:
                if link.accepts(f"CWD {path}"):
                    raise Exists("the folder is there already", where=Place(file=text)) from refusal
                raise Permanent("cannot make the folder", where=Place(file=text), why=refusal.reply) from refusal

    def remove_folder(self, folder: str) -> None:
        """RMD: servers refuse it where the folder is not empty."""
        parent, _, name = "/".join(folder_parts(folder)).rpartition("/")
        with self._pool.lend() as link, self._site.explaining(link, "cannot remove the folder", parent, name):
            link.command(f"RMD {self._site.path(link, folder)}")

    def sync(self, folder: str) -> None:
        """FTP cannot sync a folder."""
        folder_parts(folder)

    def close(self) -> None:
        """Ends the connections, and whatever another thread waits for on them."""
        self._pool.close()

    def identity_now(self, link: FtpLink, folder: str, name: str) -> Identity | None:
        """The identity over a connection that is already lent."""
        return self._site.identity(link, folder, name)

    def _connect(self) -> FtpLink:
        self._logins.begin()
        return FtpLink(self._server)

    def _make(self, link: FtpLink, folder: str) -> None:
        path = self._site.path(link, folder)
        try:
            link.command(f"MKD {path}")
        except Refusal as refusal:
            if not link.accepts(f"CWD {path}"):
                text = self._site.text(folder)
                raise Permanent("cannot make the folder", where=Place(file=text), why=refusal.reply) from refusal


class FtpReading:
    """An open file on the server."""

    def __init__(
        self, endpoint: FtpEndpoint, link: FtpLink, folder: str, name: str, identity: Identity, start: int
    ) -> None:
        self.identity = identity
        self._endpoint = endpoint
        self._link = link
        self._folder = folder
        self._name = name
        self._start = start

    def __iter__(self) -> Iterator[bytes]:
        """The bytes; SourceChanged if the file changed meanwhile."""
        given = self._start
        text = "/".join(part for part in (self._endpoint.where, self._folder, self._name) if part)
        received = self._link.received()
        while chunk := self._next(received, text):
            given += len(chunk)
            if given > self.identity.size:
                given += self._read_excess(received, text)
                break
            yield chunk
        with self._link.telling("cannot read the file", text):
            self._link.complete()
            now = self._endpoint.identity_now(self._link, self._folder, self._name)
        if now == self.identity and given < now.size:  # the data connection was cut, and the server has not noticed
            raise Transient(
                "the transfer ended before the end of the file", where=Place(file=text),
                why=f"{given} of {now.size} bytes came", remedy="It is tried again by itself.",
            ).by_place()  # fmt: skip
        if now != self.identity or now.size != given:
            raise SourceChanged(
                "the file changed while it was read",
                where=Place(file=text),
                remedy="It is read again when it has come to rest.",
            )

    def _read_excess(self, received: Iterator[bytes], text: str) -> int:
        """A file may have grown since it was looked at. Transient if so much comes that it may be without end."""
        size = 0
        while chunk := self._next(received, text):
            size += len(chunk)
            told = self.identity.size
            if size > MAX_EXCESS_BYTES:
                raise Transient(
                    "the server sends more than the file has", where=Place(file=text),
                    why=f"it says {told} bytes, and more than {told + MAX_EXCESS_BYTES} came",
                    remedy="If it is being written, it is read when it has come to rest. If not, ask the server's "
                    "operator. It is tried again by itself.",
                )  # fmt: skip
        return size

    def _next(self, received: Iterator[bytes], text: str) -> bytes:
        with self._link.telling("cannot read the file", text):
            return next(received, b"")


def _not_regular(text: str) -> SourceChanged:
    return SourceChanged(
        "this is no regular file, and nothing else is ever opened",
        where=Place(file=text),
        remedy="Put the file itself here instead of a link, pipe, device or folder.",
    )
