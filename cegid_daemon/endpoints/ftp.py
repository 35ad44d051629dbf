"""An FTP server as an endpoint (`ftp://`, `ftps://` with explicit TLS, `ftps+implicit://`).

The url's path is relative to the login folder, absolute with a second slash. What FTP cannot promise and what is done
about it: a reply 550 means many things, so what lies there is looked at; a rename may replace, so where that is not
wanted the new name is looked for first; a server's MLSD may show a symlink as the file it leads to. May be used from
several threads at once; `close` from any of them ends what the others wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from cegid_daemon.endpoints import ftp_listing
from cegid_daemon.endpoints.connections import Connections, Logins
from cegid_daemon.endpoints.ftp_link import FtpLink, Refusal
from cegid_daemon.endpoints.ftp_times import Times
from cegid_daemon.endpoints.paths import checked_name, folder_parts, is_plain
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.errors import Absent, EndpointError, Exists, Permanent, Place, SourceChanged, Transient
from cegid_daemon.model import EndpointSpec, Identity, Listed

_CHUNK = 1 << 20


class FtpEndpoint:
    """Files on an FTP server."""

    def __init__(self, server: Server) -> None:
        """Nothing is connected yet."""
        self.abilities = Abilities(remote=True)
        self._server = server
        self._logins = Logins(server)
        self._pool = Connections(server, self._connect)
        self._times = Times()

    @classmethod
    def of(cls, spec: EndpointSpec) -> FtpEndpoint:
        """From the configuration. ConfigurationError if the url or an option is wrong."""
        return cls(Server.of(spec))

    @property
    def where(self) -> str:
        """`ftp://user@host:port/path`."""
        return self._server.where

    def facts(self) -> Mapping[str, str]:
        """What the server said of itself; lists the folder of the url once, to see how data connections are secured."""
        with self._pool.lend() as link, link.telling("cannot ask what the server can do", self.where):
            if link.accepts(f"CWD {self._path(link, '') or '/'}"):
                link.listing("MLSD" if link.has_mlst else "LIST")
            return link.facts()

    def list(self, folder: str) -> list[Listed]:
        """The entries of `folder`. What cannot be named in a command is listed as not regular."""
        text = self._text(folder)
        with self._pool.lend() as link, link.telling("cannot list the folder", text):
            if not link.accepts(f"CWD {self._path(link, folder) or '/'}"):
                raise Absent("the folder is not there", where=Place(file=text))
            if link.has_mlst:
                entries: Iterable[ftp_listing.Entry] = ftp_listing.mlsd(link.listing("MLSD"))
            else:
                entries = self._timed(link, folder, ftp_listing.unix_or_dos(link.listing("LIST")))
            return [entry for found in entries if (entry := _listed(link, found)) is not None]

    def stat(self, folder: str, name: str) -> Listed | None:
        """The entry as it is now."""
        checked_name(name)
        text = self._text(folder, name)
        with self._pool.lend() as link, link.telling("cannot look at the file", text):
            found = self._look(link, folder, name)
            if found is None and not link.accepts(f"CWD {self._path(link, folder) or '/'}"):
                raise Absent("the folder is not there", where=Place(file=text))
            return found

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[FtpReading]:
        """Opens a regular file."""
        checked_name(name)
        text = self._text(folder, name)
        with self._pool.lend() as link:
            with self._explaining(link, "cannot read the file", folder, name):
                found = self._look(link, folder, name)
                if found is None:
                    raise Absent("cannot read the file", where=Place(file=text), why="it is not there")
                if not found.regular:
                    raise _not_regular(text)
                link.begin(f"RETR {self._path(link, folder, name)}", start)
            yield FtpReading(self, link, folder, name, found.identity, start)

    def put(self, folder: str, name: str, chunks: Iterable[bytes]) -> Identity:
        """Writes the file, and reads its size back; FTP can neither sync nor refuse to write through a link."""
        checked_name(name)
        text, what, sent = self._text(folder, name), "cannot write the file", 0
        with self._pool.lend() as link:
            with self._explaining(link, what, folder, name):
                link.begin(f"STOR {self._path(link, folder, name)}")
            for chunk in chunks:  # an error of the caller's passes as it is; the connection is then given up
                sent += len(chunk)
                with link.telling(what, text):
                    link.send(chunk)
            with link.telling(what, text):
                link.complete()
                found = self._identity(link, folder, name)
        if found is None or found.size != sent:
            raise Transient(
                f"sent {sent} bytes, but the server has {found.size if found else 'no such file'}",
                where=Place(file=text),
                remedy="The server's disk may be full. It is tried again by itself.",
            )
        return found

    def rename(self, folder: str, name: str, to_folder: str, to_name: str, *, replace: bool) -> None:
        """Renames; most servers replace what has the new name, so it is looked for where that is not wanted."""
        checked_name(name)
        checked_name(to_name)
        text, what = self._text(folder, name), f"cannot rename the file to {self._text(to_folder, to_name)}"
        with self._pool.lend() as link:
            to = self._path(link, to_folder, to_name)
            with link.telling(what, text):
                if not replace and self._taken(link, to):
                    raise Exists(f"{what}: the name is taken", where=Place(file=text))
            with self._explaining(link, what, folder, name, to=to):
                link.command(f"RNFR {self._path(link, folder, name)}")
                link.command_once(f"RNTO {to}", what, text)
            for place, said in ((folder, name), (to_folder, to_name)):
                self._times.forget(place, link.said(said).encode("latin-1"))

    def remove(self, folder: str, name: str) -> None:
        """Removes a file."""
        checked_name(name)
        with self._pool.lend() as link, self._explaining(link, "cannot remove the file", folder, name):
            link.command(f"DELE {self._path(link, folder, name)}")

    def make_folder(self, folder: str) -> None:
        """Makes what is missing below the url's own folder."""
        parts, text = folder_parts(folder), self._text(folder)
        with self._pool.lend() as link, link.telling("cannot make the folder", text):
            if link.accepts(f"CWD {self._path(link, folder) or '/'}"):
                return
            if not link.accepts(f"CWD {self._path(link, '') or '/'}"):
                raise Absent("the endpoint's folder is not there", where=Place(file=self.where))
            for depth in range(len(parts)):
                self._make(link, "/".join(parts[: depth + 1]))

    def sync(self, folder: str) -> None:
        """FTP cannot sync a folder."""
        folder_parts(folder)

    def close(self) -> None:
        """Ends the connections, and whatever another thread waits for on them."""
        self._pool.close()

    def identity_now(self, link: FtpLink, folder: str, name: str) -> Identity | None:
        """The identity over a connection that is already lent."""
        return self._identity(link, folder, name)

    def _connect(self) -> FtpLink:
        self._logins.begin()
        return FtpLink(self._server)

    def _path(self, link: FtpLink, folder: str, name: str = "") -> str:
        """The absolute path as it goes over the line; blank for the server's root."""
        parts = [*folder_parts(folder), *([checked_name(name)] if name else [])]
        return "/".join([link.root, *map(link.said, parts)])

    def _text(self, folder: str, name: str = "") -> str:
        folder_parts(folder)
        return "/".join(part for part in (self.where, folder, name) if part)

    def _make(self, link: FtpLink, folder: str) -> None:
        path = self._path(link, folder)
        try:
            link.command(f"MKD {path}")
        except Refusal as refusal:
            if not link.accepts(f"CWD {path}"):
                text = self._text(folder)
                raise Permanent("cannot make the folder", where=Place(file=text), why=refusal.reply) from refusal

    def _look(self, link: FtpLink, folder: str, name: str) -> Listed | None:
        """The entry, in few round trips; None also where the folder itself is not there."""
        path = self._path(link, folder, name)
        if link.has_mlst:
            return _of_mlst(link, name, path)
        identity = self._identity(link, folder, name)
        if identity is not None:
            return Listed(name, identity, self._is_file(link, folder, name))
        if link.accepts(f"CWD {path}") or _listed_alone(link, path):
            return Listed(name, Identity(0), regular=False)
        return None

    def _identity(self, link: FtpLink, folder: str, name: str) -> Identity | None:
        """Size and time of a file; None if the server has no file of that name."""
        path = self._path(link, folder, name)
        if link.has_mlst:
            found = _of_mlst(link, name, path)
            return found.identity if found else None
        size = _value(link, f"SIZE {path}")
        return Identity(int(size), _time_of(link, path)) if size.isdigit() else None

    def _timed(self, link: FtpLink, folder: str, entries: Iterable[ftp_listing.Entry]) -> Iterable[ftp_listing.Entry]:
        """LIST's entries with real times: one question a file, unless the answer is known to be still right."""
        path = self._path(link, folder)
        return self._times.complete(folder, entries, lambda name: _time_of(link, f"{path}/{name.decode('latin-1')}"))

    def _is_file(self, link: FtpLink, folder: str, name: str) -> bool:
        """Of a name with a size: whether LIST calls it a file. A name that LIST does not show is believed."""
        said = link.said(name).encode("latin-1")
        if self._times.lists_as_file(folder, said):
            return True
        alone = _listed_alone(link, self._path(link, folder, name))
        if alone is not None:
            return alone.regular
        link.command(f"CWD {self._path(link, folder) or '/'}")
        entries = ftp_listing.unix_or_dos(link.listing("LIST"))
        return next((entry.regular for entry in entries if entry.name == said), True)

    def _taken(self, link: FtpLink, path: str) -> bool:
        """Whether something has the name, as far as few questions can tell."""
        return link.accepts(f"MLST {path}" if link.has_mlst else f"SIZE {path}") or link.accepts(f"CWD {path}")

    @contextmanager
    def _explaining(self, link: FtpLink, what: str, folder: str, name: str, *, to: str = "") -> Iterator[None]:
        """As `telling`, but where the reply leaves open why, looks at what lies there."""
        text = self._text(folder, name)
        with link.telling(what, text):
            try:
                yield
            except Refusal as refusal:
                raise self._explained(link, refusal, what, folder, name, to) from refusal

    def _explained(self, link: FtpLink, refusal: Refusal, what: str, folder: str, name: str, to: str) -> EndpointError:
        place = Place(file=self._text(folder, name))
        if refusal.code in {450, 550, 553}:
            if not link.accepts(f"CWD {self._path(link, folder) or '/'}"):
                return Absent(what, where=place, why="the folder is not there")
            found = self._look(link, folder, name)
            writing = what == "cannot write the file"
            if found is None and not writing:
                return Absent(what, where=place, why=refusal.reply)
            if to and self._taken(link, to):
                return Exists(f"{what}: the name is taken", where=place, why=refusal.reply)
            if to and not link.accepts(f"CWD {to.rpartition('/')[0] or '/'}"):
                return Absent(what, where=place, why="the new folder is not there")
            if found is not None and not found.regular:
                return Permanent(what, where=place, why="it is no regular file", remedy="Move it away.")
        return link.refused(refusal, what, place.file)


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
            yield chunk
        with self._link.telling("cannot read the file", text):
            self._link.complete()
            now = self._endpoint.identity_now(self._link, self._folder, self._name)
        if now != self.identity or now.size != given:
            raise SourceChanged(
                "the file changed while it was read",
                where=Place(file=text),
                remedy="It is read again when it has come to rest.",
            )

    def _next(self, received: Iterator[bytes], text: str) -> bytes:
        with self._link.telling("cannot read the file", text):
            return next(received, b"")


def _listed(link: FtpLink, entry: ftp_listing.Entry) -> Listed | None:
    name = link.heard(entry.name)
    if not is_plain(name):
        return None
    return Listed(name, entry.identity, entry.regular and "\n" not in name and "\r" not in name)


def _of_mlst(link: FtpLink, name: str, path: str) -> Listed | None:
    try:
        reply = link.command(f"MLST {path}").splitlines()
    except Refusal:
        return None
    facts = next((line.strip() for line in reply[1:-1] if "=" in line), "")
    entry = ftp_listing.mlst(facts.partition(" ")[0].encode("latin-1") + b" -")
    if entry is None:  # the folder itself
        return Listed(name, Identity(0), regular=False)
    return Listed(name, entry.identity, entry.regular)


def _time_of(link: FtpLink, path: str) -> int:
    """Modification time in nanoseconds; 0 where the server does not tell."""
    return ftp_listing.time_ns(_value(link, f"MDTM {path}").encode())


def _value(link: FtpLink, line: str) -> str:
    """What the server replies after the code; blank where it refuses or says nothing."""
    try:
        return link.command(line).partition(" ")[2].strip()
    except Refusal:
        return ""


def _listed_alone(link: FtpLink, path: str) -> ftp_listing.Entry | None:
    """What LIST says of one name, where it can be asked: servers read blanks, dashes and wildcards in it as orders."""
    wanted = path.rpartition("/")[2].encode("latin-1")
    if wanted.startswith(b"-") or any(sign in path for sign in " *?[]{}\\"):
        return None
    try:
        entries = ftp_listing.unix_or_dos(link.listing(f"LIST {path}"))
    except Refusal:
        return None
    return next((entry for entry in entries if entry.name.rpartition(b"/")[2] == wanted), None)


def _not_regular(text: str) -> SourceChanged:
    return SourceChanged(
        "this is no regular file, and nothing else is ever opened",
        where=Place(file=text),
        remedy="Put the file itself here instead of a link, pipe, device or folder.",
    )
