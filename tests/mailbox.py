"""A real SMTP server with TLS and a login, which refuses for as long as it is told to."""

import datetime
import ipaddress
import socket
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "postman", "planted-p@ss/word"


class Mailbox:
    """Takes mail in; `refuses` gives the answer to a step (`AUTH`, `RCPT`, `DATA`), or None."""

    def __init__(self, directory: Path, *, starts_with_tls: bool = False) -> None:
        self.taken: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.refused: list[str] = []
        self.refuses: Callable[[str, str], str | None] = lambda step, about: None
        self.certificate = directory / "mail.pem"
        self.tls = starts_with_tls
        self._context = _certified(self.certificate)
        self.port = 0
        self._controller: Controller | None = None

    def start(self, port: int = 0) -> int:
        """Start; the port."""
        secured: dict[str, Any] = {"ssl_context" if self.tls else "tls_context": self._context}
        # It cannot be told to take any free port.
        self.port = port or _free_port()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=self._authenticate,
            auth_required=True,
            auth_require_tls=not self.tls,
            **secured,
        )
        self._controller.start()
        return self.port

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def url(self, password: str = PASSWORD) -> str:
        scheme = "smtps" if self.tls else "smtp"
        quoted = password.replace("@", "%40").replace("/", "%2F")
        return f"{scheme}://{USER}:{quoted}@localhost:{self.port}"

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        if not good:
            self.refused.append("AUTH")
        return AuthResult(success=good, handled=False)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        if (refusal := self.refuses("RCPT", address)) is not None:
            self.refused.append(address)
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if (refusal := self.refuses("DATA", str(envelope.rcpt_tos))) is not None:
            self.refused.append("DATA")
            return refusal
        assert isinstance(envelope.content, bytes)
        read: Any = message_from_bytes(envelope.content, policy=policy.default)
        self.envelopes.append(envelope)
        self.taken.append(read)
        return "250 OK"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _certified(path: Path) -> SSLContext:
    """A context with a certificate of its own for localhost, which is at the path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                ]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
