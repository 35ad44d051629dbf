"""pyftpdlib, imported without the warning that asyncore, which it stands on, is old.

Python has dropped asyncore with 3.12; from there on pyftpdlib brings a kept copy. Owns the imports and nothing else.
"""

from __future__ import annotations

import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from OpenSSL import SSL
    from OpenSSL._util import lib as openssl
    from pyftpdlib.authorizers import AuthenticationFailed
    from pyftpdlib.filesystems import AbstractedFS
    from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
    from pyftpdlib.handlers.ftp.dispatchers import PassiveDTP
    from pyftpdlib.ioloop import IOLoop, asynchat
    from pyftpdlib.servers import FTPServer

__all__ = [
    "SSL",
    "AbstractedFS",
    "AuthenticationFailed",
    "DTPHandler",
    "FTPHandler",
    "FTPServer",
    "IOLoop",
    "PassiveDTP",
    "TLS_DTPHandler",
    "TLS_FTPHandler",
    "asynchat",
    "is_session_reused",
]


def is_session_reused(connection: Any) -> bool:
    """Whether a TLS connection goes on with the session of an earlier one: pyOpenSSL has no words for it."""
    return bool(openssl.SSL_session_reused(connection._ssl))
