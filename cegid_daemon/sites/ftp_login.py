"""How a client of our own FTP site logs in: in time, one password after the other, and without learning who has one.

Owns the clock of the login, and the comparison of passwords beside the site's thread: what a client waits for that
is not its time, and nothing is compared for one that has gone.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cegid_daemon.model import SiteUser
from cegid_daemon.sites.admission import Admission
from cegid_daemon.sites.ftp_data import has_left
from cegid_daemon.sites.pyftpdlib_quietly import AuthenticationFailed

_MAY = "elradfmw"  # everything but rights and times
_REFUSED_SECONDS = 1.0  # until a refused login is answered
_LOOK_SECONDS = 0.02  # between two looks whether a password has been compared
_MORE_SECONDS = 1.0  # for a login whose password waits for its comparison when the time is over


class Door:
    """The users, as pyftpdlib asks for them."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def admits(self, name: str, password: str, address: str) -> bool:
        """Whether a password is right; takes about 100 ms."""
        return self._admission.admits(name, password, address)

    def get_home_dir(self, name: str) -> str:
        """The user's folder."""
        return self.user(name).folder

    def user(self, name: str) -> SiteUser:
        """The user who logged in."""
        user = self._admission.user(name)
        if user is None:
            raise AuthenticationFailed("the login is refused.")
        return user

    def kept_out(self, address: str) -> bool:
        """Whether the address is not listened to."""
        return self._admission.kept_out(address)

    def has_perm(self, name: str, perm: str, path: str | None = None) -> bool:  # noqa: ARG002
        """Everything within the folder."""
        return perm in _MAY

    def get_perms(self, name: str) -> str:  # noqa: ARG002
        """Everything within the folder."""
        return _MAY

    def get_msg_login(self, name: str) -> str:  # noqa: ARG002
        """The greeting."""
        return "Welcome."

    def get_msg_quit(self, name: str) -> str:  # noqa: ARG002
        """The farewell."""
        return "Goodbye."

    def impersonate_user(self, name: str, password: str) -> None:
        """There is one user of the machine only."""

    def terminate_impersonation(self, name: str) -> None:
        """There is one user of the machine only."""


class Login:
    """The login's part of a control connection; comes before pyftpdlib's class."""

    login_seconds = 20.0
    passwords: Any = None  # a ThreadPoolExecutor
    place: Any = None  # a Connection, from the greeting on
    is_login_pending = False  # a password is being compared: commands behind it wait
    _login_clock: Any = None
    _compared: Future[bool] | None = None

    def handle(self: Any) -> None:
        """Greets."""
        self.place = self.server.entering
        self.place.close = self.close
        self._start_login_clock()
        super().handle()  # type: ignore[misc]

    def close(self: Any) -> None:
        """The connection has ended, or is ended."""
        super().close()  # type: ignore[misc]
        if self._closed and self.place is not None:
            self.server.table.remove(self.place)
        if self._closed and self._compared is not None:
            self._compared.cancel()

    def _start_login_clock(self: Any) -> None:
        self._login_clock = self.call_later(self.login_seconds, self._login_took_too_long)

    def _login_took_too_long(self: Any) -> None:
        if self.authenticated:
            return
        if self.place.proves:
            self._login_clock = self.call_later(_MORE_SECONDS, self._login_took_too_long)
        else:
            self._last_word("421 The login took too long.")

    def _last_word(self: Any, reply: str) -> None:
        """Ends the connection whether or not the client takes a last reply."""
        if not getattr(self, "_ssl_accepting", False):
            self.respond(reply)
        self.close()

    def handle_timeout(self: Any) -> None:
        """The client has done nothing for too long."""
        self._last_word("421 Control connection timed out.")

    def ftp_USER(self: Any, line: str) -> None:  # noqa: N802
        """A name; known or not, the answer is the same."""
        was_in = self.authenticated
        super().ftp_USER(line)  # type: ignore[misc]
        self._leave_if(was_in)

    def ftp_REIN(self: Any, line: str) -> None:  # noqa: N802
        """The client gives its login up."""
        was_in = self.authenticated
        super().ftp_REIN(line)  # type: ignore[misc]
        self._leave_if(was_in)

    def _leave_if(self: Any, was_logged_in: bool) -> None:
        if was_logged_in and not self._closed:
            self.server.table.log_out(self.place, time.monotonic())
            self._start_login_clock()

    def ftp_PASS(self: Any, line: str) -> None:  # noqa: N802
        """A password. It is compared beside this thread, which serves the other clients meanwhile."""
        if self.authenticated:
            self.respond("503 User already authenticated.")
        elif not self.username:
            self.respond("503 Login with USER first.")
        else:
            executor: ThreadPoolExecutor = self.passwords
            self._compared = executor.submit(self.authorizer.admits, self.username, line, self.remote_ip)
            self.is_login_pending = self.place.proves = True
            self._set_events()
            self.call_later(_LOOK_SECONDS, self._await_comparison, self._compared)

    def _await_comparison(self: Any, compared: Future[bool]) -> None:
        if has_left(self.socket) and compared.cancel():
            self.close()  # nothing is read meanwhile, which would tell
            return
        if not compared.done():
            self.call_later(_LOOK_SECONDS, self._await_comparison, compared)
            return
        self.place.proves = False
        if compared.cancelled() or not compared.result():
            self.call_later(_REFUSED_SECONDS, self._refuse_login)
        elif not self.server.table.log_in(self.place):
            self._last_word("421 Too many connections; try again later.")
        else:
            self._login_clock.cancel()
            self.is_login_pending = False
            self.handle_auth_success(self.authorizer.get_home_dir(self.username), "", "Welcome.")
            self.go_on()

    def _refuse_login(self: Any) -> None:
        self.is_login_pending = False
        self.username = ""
        self.attempted_logins += 1
        if self.attempted_logins >= self.max_login_attempts:
            self.respond("530 The login is refused. Disconnecting.")
            self.close_when_done()
        else:
            self.respond("530 The login is refused.")
            self.go_on()
