"""Whether a certificate can be served: the rule for every listener of ours that speaks TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from cegid_daemon.config.faults import Trouble
from cegid_daemon.config.lines import KeyPath


def troubles_of_certificate(path: KeyPath, certificate: str, key: str | None) -> Iterator[Trouble]:
    """What keeps a PEM file, and the key in it or in a file of its own, from being used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        yield Trouble(
            path, "the certificate cannot be used", why=getattr(error, "reason", None) or str(error),
            remedy="Give a PEM file with the chain and its private key, without passphrase, or name the key in `key`.",
        )  # fmt: skip


def _no_passphrase() -> str:
    raise ValueError("its key has a passphrase")
