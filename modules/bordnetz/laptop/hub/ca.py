"""The hub's own certificate authority: made once, trusted by its modules alone."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bordnetz.errors import BordnetzError

_DAY = datetime.timedelta(days=1)


class CaError(BordnetzError):
    """Certificate files that cannot be used."""


class Ca:
    """Certificate and key of the authority, ``ca.pem`` and ``ca.key`` in a folder."""

    def __init__(self, folder: Path) -> None:
        """Loads the authority, or makes it.

        Raises:
            CaError: The files are there but unusable.
        """
        self._folder = folder
        certificate, key = folder / "ca.pem", folder / "ca.key"
        if not certificate.exists():
            self._make(certificate, key)
        try:
            self.bundle = certificate.read_text()
            self._certificate = x509.load_pem_x509_certificate(self.bundle.encode())
            loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        except (OSError, ValueError) as error:
            raise CaError(
                f"{folder}: ca.pem or ca.key is unusable ({error}); delete both"
            ) from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise CaError(f"{key}: not a key that this hub has made; delete it and ca.pem")
        self._key = loaded

    def server_context(self, address: str) -> ssl.SSLContext:
        """A TLS context (1.2 and later) with a fresh certificate for a loopback address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("edgehub")]
        names.append(x509.IPAddress(ipaddress.ip_address(address)))
        certificate = (
            _builder("edgehub", self._certificate.subject, key.public_key(), 365)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        chain = self._folder / "server.pem"
        _write_private(chain, certificate.public_bytes(serialization.Encoding.PEM) + _pem(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(chain)
        return context

    def _make(self, certificate: Path, key: Path) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bordnetz stand-in hub CA")])
        made = (
            _builder("bordnetz stand-in hub CA", name, private.public_key(), 3650)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(private, hashes.SHA256())
        )
        _write_private(key, _pem(private))
        _write_private(certificate, made.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + days * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write_private(path: Path, data: bytes) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    unfinished.replace(path)
