"""pyftpdlib, imported without the warning that asyncore, which it stands on, is old.

Python has dropped asyncore with 3.12; from there on pyftpdlib brings a kept copy. Owns the imports and nothing else.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from OpenSSL import SSL
    from pyftpdlib.authorizers import AuthenticationFailed
    from pyftpdlib.filesystems import AbstractedFS
    from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

__all__ = [
    "SSL",
    "AbstractedFS",
    "AuthenticationFailed",
    "DTPHandler",
    "FTPHandler",
    "FTPServer",
    "IOLoop",
    "TLS_DTPHandler",
    "TLS_FTPHandler",
]
