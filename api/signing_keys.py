"""The public keys of an identity provider, and which of them may have signed a token.

Only asymmetric algorithms: with HS256 whoever can read a public key could sign with it, and `none`
is no signature at all (RFC 8725, sections 2.1 and 3.1).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

#: RFC 7518, section 3.3: shorter keys must not be used.
MIN_RSA_BITS = 2048
#: More keys than any provider publishes at once.
MAX_KEYS = 100

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
ALGORITHMS = frozenset((*_RSA, *_CURVES))

PublicKey = RSAPublicKey | EllipticCurvePublicKey


@dataclass(frozen=True)
class SigningKey:
    """A key that a provider signs with.

    Attributes:
        kid: its name; None when it has none.
        algorithms: those it may be used with.
        key: the key itself.
    """

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey


def read_keys(entries: object) -> tuple[SigningKey, ...]:
    """The keys of a JSON Web Key Set that can check signatures; others are passed over.

    Args:
        entries: what the set's `keys` holds (RFC 7517).
    """
    if not isinstance(entries, list):
        return ()
    read = (_read(each) for each in cast("list[object]", entries)[:MAX_KEYS])
    return tuple(key for key in read if key is not None)


def fitting(keys: Iterable[SigningKey], kid: str | None, algorithm: str) -> SigningKey | None:
    """The key that a token's header names; without a name, the only one that fits."""
    found = [key for key in keys if algorithm in key.algorithms and (kid is None or key.kid == kid)]
    if kid is None and len(found) != 1:
        return None
    return found[0] if found else None


def _read(entry: object) -> SigningKey | None:
    if not isinstance(entry, dict):
        return None
    jwk = cast("dict[str, Any]", entry)
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or "d" in jwk:
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    key = _public_key(jwk)
    if key is None:
        return None
    algorithms = _algorithms(key)
    named = jwk.get("alg")
    if named is not None:
        algorithms &= {named} if isinstance(named, str) else set()
    kid = jwk.get("kid")
    return SigningKey(kid if isinstance(kid, str) else None, algorithms, key)


def _public_key(jwk: dict[str, Any]) -> PublicKey | None:
    loaders: dict[object, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm}
    loader = loaders.get(jwk.get("kty")) if isinstance(jwk.get("kty"), str) else None
    if loader is None:
        return None
    try:
        key: object = loader.from_jwk(jwk)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return key if isinstance(key, RSAPublicKey | EllipticCurvePublicKey) else None


def _algorithms(key: PublicKey) -> frozenset[str]:
    if isinstance(key, RSAPublicKey):
        return frozenset(_RSA) if key.key_size >= MIN_RSA_BITS else frozenset()
    return frozenset(name for name, curve in _CURVES.items() if curve == key.curve.name)
