"""Keys and certificates for a demonstration on loopback: made on the fly, good for a few days, trusted by nobody else.

Owns how they are made. Never used for a site that a configuration names: those bring their own.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import asyncssh
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAYS = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: whom to trust, and the server's certificate with its key."""

    authority: Path
    server: Path


def ssh_key(path: Path) -> str:
    """A new SSH key pair; the private one, without passphrase, in `path`. Returns the public one as a line."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="throw-away")
    _private(path, key.export_private_key())
    return key.export_public_key().decode("ascii").strip()


def certificate(folder: Path, address: str, now: datetime) -> Certificate:
    """An authority of its own, and a certificate it signed for an IP address."""
    top_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    top = _name("cegid-daemon demo: throw-away authority")
    known = x509.SubjectKeyIdentifier.from_public_key(top_key.public_key())
    authority = _builder(top, top, top_key.public_key(), now).add_extension(known, critical=False)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    authority = authority.add_extension(_signs(), critical=True)
    server = _builder(_name("cegid-daemon demo"), top, key.public_key(), now)
    place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)
    server = server.add_extension(place, critical=False).add_extension(by, critical=False)
    made = Certificate(folder / "authority.pem", folder / "server.pem")
    made.authority.write_bytes(_signed(authority, top_key))
    _private(made.server, _key(key) + _signed(server, top_key))
    return made


def _private(path: Path, content: bytes) -> None:
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _DAYS).not_valid_after(now + _DAYS)


def _signs() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> bytes:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
