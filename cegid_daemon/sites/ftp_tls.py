"""TLS of our own FTP site: one context for all connections, or one for each control connection.

Where a data connection must go on with the session of its control connection, each control connection has a context of
its own: a session that OpenSSL takes up again is then one of that client, and of nobody else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cegid_daemon.sites.pyftpdlib_quietly import SSL

_OPTIONS = (
    SSL.OP_NO_SSLv2 | SSL.OP_NO_SSLv3 | SSL.OP_NO_TLSv1 | SSL.OP_NO_TLSv1_1
    | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
)  # fmt: skip


class TlsContexts:
    """Certificate and key are read once: a new certificate counts from the next reload on."""

    def __init__(self, certificate: str, key: str) -> None:
        """Both are PEM files. Raises OSError."""
        try:
            self._chain = x509.load_pem_x509_certificates(Path(certificate).read_bytes())
            self._key: Any = load_pem_private_key(Path(key or certificate).read_bytes(), None)
            self.shared = self.own()
        except (ValueError, TypeError, SSL.Error) as error:
            raise OSError(f"the certificate cannot be used: {error}") from error

    def own(self) -> Any:
        """A context that shares no session with another."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(self._chain[0])
        for above in self._chain[1:]:
            context.add_extra_chain_cert(above)
        context.use_privatekey(self._key)
        context.set_options(_OPTIONS)
        context.set_session_id(os.urandom(16))
        return context
