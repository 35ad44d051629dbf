"""The SSH connection under SFTP: host key checked, user authenticated, kept alive, its death noticed.

Owns the login: which algorithms are preferred, which proofs of identity are tried, what each failure means. paramiko
does the cryptography. Everything has a deadline: a socket whose peer takes nothing for the endpoint's timeout is ended
by the kernel, because paramiko would wait for it for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

import paramiko

from cegid_daemon.endpoints.bounds import Beat
from cegid_daemon.endpoints.net import connected, net_error
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.endpoints.ssh_bounds import BoundedPackets, BoundedTransport
from cegid_daemon.endpoints.trust import HostKey, KnownHosts
from cegid_daemon.errors import Barred, CegidDaemonError, ConfigurationError, Place

WINDOW = 1 << 23  # bytes the server may send ahead on a channel
_KEEPALIVE = 15  # seconds
_FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_STRONG_CIPHERS = ("aes128-ctr", "aes192-ctr", "aes256-ctr")
_STRONG_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_OLD_MAC = "hmac-sha1"  # the best that some old servers know, and as a MAC it holds: the last choice
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


class SshLink:
    """An authenticated SSH connection; channels may be opened and used from several threads."""

    def __init__(self, server: Server) -> None:
        """Connects and logs in. Untrusted, Barred or Transient if that fails."""
        self._server = server
        known = KnownHosts.read(server)
        try:
            sock = connected(server.host, server.port, server.seconds)
        except OSError as error:
            raise net_error(error, "cannot connect", server.where) from error
        self._transport = BoundedTransport(sock, default_window_size=WINDOW, packetizer_class=BoundedPackets)
        try:
            self._shake_hands(known)
            self._log_in()
        except BaseException:
            self.end()
            raise
        self._transport.packetizer.is_logged_in = True
        self._transport.set_keepalive(_KEEPALIVE)

    @property
    def where(self) -> str:
        """The endpoint, for messages."""
        return self._server.where

    @property
    def timeout_seconds(self) -> float:
        """How long the server may be silent."""
        return self._server.seconds

    @property
    def beat(self) -> Beat:
        """Whom to tell while an answer comes."""
        return self._server.beat

    @property
    def alive(self) -> bool:
        """Whether the connection has not been noticed to be dead."""
        return bool(self._transport.is_active())

    @property
    def software(self) -> str:
        """What the server calls itself (`SSH-2.0-OpenSSH_9.2p1 …`)."""
        return str(self._transport.remote_version)

    @property
    def host_key(self) -> HostKey:
        """The server's key, which was checked."""
        key = self._transport.get_remote_server_key()
        return HostKey(key.get_name(), key.get_base64())

    def sftp_channel(self) -> paramiko.Channel:
        """A new channel with the SFTP subsystem, each of its waits bounded by the endpoint's timeout.

        A server that allows no further channel is Transient; any other failure ends the connection.
        """
        try:
            with _translating(self, "cannot open an SFTP session"):
                channel = self._transport.open_session(window_size=WINDOW, timeout=self._server.seconds)
                channel.settimeout(self._server.seconds)
                channel.invoke_subsystem("sftp")
                return channel
        except CegidDaemonError as error:
            if not isinstance(error.__cause__, paramiko.ChannelException):
                self.end()
            raise

    def end(self) -> None:
        """Ends the connection and its thread; everything waiting on it fails at once."""
        self._transport.close()
        self._transport.packetizer.complete_handshake()  # stops a timer that close() forgets

    def _shake_hands(self, known: KnownHosts) -> None:
        options = self._transport.get_security_options()
        options.digests = (*(kind for kind in options.digests if kind in _STRONG_MACS), _OLD_MAC)
        options.kex = tuple(kind for kind in options.kex if not kind.endswith("sha1"))
        options.ciphers = _FAST_CIPHERS + _STRONG_CIPHERS
        options.key_types = _known_kinds_first(tuple(options.key_types), known)
        self._transport.banner_timeout = self._transport.handshake_timeout = self._server.seconds
        self._transport.auth_timeout = self._transport.channel_timeout = self._server.seconds
        with _translating(self, "cannot agree with the server on a secure connection"):
            self._transport.start_client(timeout=self._server.seconds)
            if not self._transport.initial_kex_done:  # paramiko says nothing when the time is up
                raise TimeoutError
            offered = self.host_key
        known.check(offered, self._server.where)

    def _log_in(self) -> None:
        """Tries the configured key, else the agent's, then the password, as far as the server asks for more."""
        refusals: list[str] = []
        for prove in self._proofs():
            with _translating(self, "cannot log in"):
                try:
                    if not prove():
                        return
                except paramiko.AuthenticationException as error:
                    if not self.alive or not self._was_answered(error):
                        raise
                    refusals.append(str(error))
        raise Barred(
            "the server refused the login",
            where=Place(file=self._server.where),
            why="; ".join(dict.fromkeys(refusals)) or "no password, private_key or agent key to offer",
            remedy="Check the user in the url, and password or private_key; the server's log says more.",
        )

    def _proofs(self) -> Iterator[Callable[[], Sequence[str]]]:
        """Ways to prove who we are; each gives the kinds of proof the server wants besides, none when logged in."""
        user, transport = self._server.user, self._transport
        if self._server.private_key:
            key = _private_key(self._server)
            yield lambda: transport.auth_publickey(user, key)
        elif self._server.password is None:
            with closing(paramiko.Agent()) as agent:
                for agent_key in agent.get_keys():
                    yield partial(transport.auth_publickey, user, agent_key)
        if self._server.password is not None:
            password = self._server.password.reveal()
            yield lambda: transport.auth_password(user, password)

    def _was_answered(self, error: paramiko.AuthenticationException) -> bool:
        """paramiko says with one class that the server refused and that it was silent."""
        return "timeout" not in str(error).lower()

    @property
    def offered(self) -> str:
        """The algorithms the server named, for messages."""
        return self._transport.offered


def _known_kinds_first(kinds: tuple[str, ...], known: KnownHosts) -> tuple[str, ...]:
    """So that a server with several keys shows the one that known_hosts has."""
    wanted = {kind for key in known.keys for kind in (_RSA if key.kind == "ssh-rsa" else (key.kind,))}
    return tuple(sorted(kinds, key=lambda kind: kind not in wanted))


def _private_key(server: Server) -> paramiko.PKey:
    passphrase = server.passphrase.reveal().encode() if server.passphrase else None
    try:
        return paramiko.PKey.from_path(server.private_key, passphrase)
    except (OSError, ValueError, TypeError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        raise ConfigurationError(
            f"the private key {server.private_key!r} cannot be used",
            where=Place(field=f"endpoint.{server.name}.private_key"),
            why=(error.strerror if isinstance(error, OSError) else None) or str(error),
            remedy="Give an OpenSSH or PEM private key the daemon's user can read, and its passphrase if it has one.",
        ) from error


@contextmanager
def _translating(link: SshLink, what: str) -> Iterator[None]:
    """Translates what paramiko and the socket raise; what was said already passes."""
    try:
        yield
    except CegidDaemonError:
        raise
    except paramiko.ssh_exception.IncompatiblePeer as error:
        raise Barred(
            f"{what}: the server knows only algorithms that are no longer safe",
            where=Place(file=link.where),
            why=f"{error}; offered: {link.offered}",
            remedy="Have the server updated, or allow stronger ones: SHA-1 and older are refused here.",
        ) from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise net_error(error, what, link.where) from error
