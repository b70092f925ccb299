"""A real OpenID Connect provider on loopback: discovery, keys, and tokens signed with them."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.e2e.threaded import ThreadedServer

Json = dict[str, Any]


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def public_jwk(key: PrivateKeyTypes, kid: str | None, **members: Any) -> Json:
    """A key as a JSON Web Key Set publishes it."""
    if isinstance(key, rsa.RSAPrivateKey):
        jwk: Json = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        curve_key = cast("ec.EllipticCurvePrivateKey", key)
        jwk = ECAlgorithm.to_jwk(curve_key.public_key(), as_dict=True)
    jwk.pop("key_ops", None)
    return {**jwk, **({} if kid is None else {"kid": kid}), **members}


def certificate(directory: Path) -> Json:
    """A server's options for TLS on 127.0.0.1, with a certificate that vouches for itself."""
    key = ec_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    paths = {"ssl_certfile": directory / "cert.pem", "ssl_keyfile": directory / "key.pem"}
    paths["ssl_certfile"].write_bytes(made.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    paths["ssl_keyfile"].write_bytes(private)
    return {name: str(path) for name, path in paths.items()}


@dataclass
class IdentityProvider:
    """A provider.

    Attributes:
        key: what it signs with.
        kid: that key's name.
        published: the keys that it shows.
        asked: paths that were asked for.
        answers: what a path answers instead.
        metadata: further members of the discovery document.
        options: of the server, as for TLS.
    """

    key: Any = field(default_factory=rsa_key)
    kid: str = "first"
    published: list[Json] = field(default_factory=list[Json])
    asked: list[str] = field(default_factory=list[str])
    answers: dict[str, Response] = field(default_factory=dict[str, Response])
    metadata: Json = field(default_factory=dict[str, Any])
    options: Json = field(default_factory=dict[str, Any])
    url: str = ""

    def __post_init__(self) -> None:
        self.published.append(public_jwk(self.key, self.kid))
        path = "/{tenant}/.well-known/openid-configuration"
        routes = [Route(path, self._discovery), Route("/{tenant}/keys", self._keys)]
        self._server = ThreadedServer(Starlette(routes=routes), **self.options)

    def start(self) -> "IdentityProvider":
        self.url = self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop()

    def issuer(self, tenant: str = "main") -> str:
        return f"{self.url}/{tenant}"

    def discovery_url(self, tenant: str = "main") -> str:
        return f"{self.issuer(tenant)}/.well-known/openid-configuration"

    def authorizer(self, tenant: str = "main", **members: Any) -> Json:
        """`authorizerConfiguration`; lets in audience `everloop` unless told otherwise."""
        asked = members or {"allowedAudience": ["everloop"]}
        return {"customJWTAuthorizer": {"discoveryUrl": self.discovery_url(tenant), **asked}}

    def rotate(self) -> None:
        """Sign with another key from now on, and show only that."""
        self.key, self.kid = rsa_key(), f"after-{self.kid}"
        self.published[:] = [public_jwk(self.key, self.kid)]

    def token(
        self,
        *,
        tenant: str = "main",
        algorithm: str = "RS256",
        key: Any = None,
        headers: Json | None = None,
        **claims: Any,
    ) -> str:
        """A token that is let in, save for what is told otherwise; a claim of None is left out."""
        now = int(time.time())
        said = {
            "iss": self.issuer(tenant),
            "sub": "user-1",
            "aud": "everloop",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            **claims,
        }
        named = {"kid": self.kid, **(headers or {})}
        return jwt.encode(
            {name: value for name, value in said.items() if value is not None},
            self.key if key is None else key,
            algorithm=algorithm,
            headers={name: value for name, value in named.items() if value is not None},
        )

    def _discovery(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        issuer = self.issuer(request.path_params["tenant"])
        said = {"issuer": issuer, "jwks_uri": f"{issuer}/keys", **self.metadata}
        return self.answers.get(request.url.path) or JSONResponse(said)

    def _keys(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        return self.answers.get(request.url.path) or JSONResponse({"keys": self.published})
