"""Who is let in: anyone on this machine in development, else whoever signs with a key of ours.

Before both stands the gate for tokens, which harnesses with an authorizer take instead.

A request is judged twice: by its headers before its body is read, so that a stranger cannot make us
hold megabytes, and by its signature once the body is there.
"""

import logging
import time
from datetime import UTC, datetime

from api.admission import Admission, Gate, anything
from api.guard import check_origin, is_loopback
from api.identity_providers import IdentityProviders
from api.request import WireRequest
from api.sigv4 import Claim, check_signature, read_claim
from api.token_gate import TokenGate
from contracts.errors import AwsError, SecretUnreadable, ServiceError
from contracts.settings import Settings
from contracts.vault import AccessKey
from store import Store

log = logging.getLogger("api.gate")

#: A deleted key is refused after this long at the latest; a busy caller's is read once in it.
KEY_KEPT_S = 5.0
#: Keys kept at once; more callers than this read theirs anew.
MAX_KEPT_KEYS = 10_000


class OpenGate:
    """Any signature, from this machine only. For `everloop dev`."""

    async def admit(self, request: WireRequest, raw_query: str) -> Admission:
        """See `Gate.admit`."""
        check_origin(request)
        return Admission(anything)


class SignedGate:
    """Signatures by access keys of the account that is served."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Take keys from a store."""
        self._store = store
        self._settings = settings
        self._kept: dict[str, tuple[float, AccessKey | None]] = {}

    async def admit(self, request: WireRequest, raw_query: str) -> Admission:
        """See `Gate.admit`."""
        claim = read_claim(request.headers, self._settings.region, datetime.now(UTC))
        if "x-amz-security-token" in request.headers:
            # Only AWS's STS makes session tokens, and no key of ours comes with one.
            raise _unrecognised()
        key = await self._key(claim.access_key_id)

        def check(body: bytes) -> None:
            _check(claim, key, request, raw_query, body)
            self._check_owner(key)

        return Admission(check)

    async def _key(self, access_key_id: str) -> AccessKey:
        now = time.monotonic()
        until, key = self._kept.get(access_key_id, (0.0, None))
        if until <= now:
            self._kept.pop(access_key_id, None)
            key = await self._find(access_key_id)
            if len(self._kept) >= MAX_KEPT_KEYS:
                self._kept.clear()
            self._kept[access_key_id] = (now + KEY_KEPT_S, key)
        if key is None:
            raise _unrecognised()
        return key

    async def _find(self, access_key_id: str) -> AccessKey | None:
        """A key; None for one that does not open, which is not tried again at once."""
        try:
            key = await self._store.access_keys.find(access_key_id)
        except SecretUnreadable as error:
            # To whoever signs with it, a key that nobody can check is one that does not exist.
            log.error(
                "access key %s cannot be used, and its caller is told that there is no such key: "
                "%s Mend the key ring, or delete the key and make another one with: "
                "everloop keys create",
                access_key_id,
                error,
            )
            return None
        if key is None:
            raise _unrecognised()
        return key

    def _check_owner(self, key: AccessKey) -> None:
        """What only the key's owner may learn, so it is checked behind the signature."""
        expires_at = key.record.expires_at
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise ServiceError(
                AwsError.EXPIRED_TOKEN, "The security token included in the request is expired"
            )
        if key.record.account != self._settings.account:
            raise ServiceError(
                AwsError.ACCESS_DENIED,
                f"Access key {key.record.access_key_id} belongs to account {key.record.account}; "
                f"this Everloop serves {self._settings.account}.",
            )


def verifies(settings: Settings) -> bool:
    """Whether signatures are verified.

    Raises:
        ValueError: any signature is to be accepted beyond this machine.
    """
    local = is_loopback(settings.api_host)
    if settings.signatures == "any" and not local:
        raise ValueError(
            f"EVERLOOP_SIGNATURES is any and EVERLOOP_API_HOST is {settings.api_host}: any "
            "signature is accepted on a loopback address only, such as 127.0.0.1"
        )
    return settings.signatures == "verified" or not local


def make_gate(store: Store, settings: Settings) -> Gate:
    """The gate that the settings ask for."""
    signed = verifies(settings)
    signatures = SignedGate(store, settings) if signed else OpenGate()
    return TokenGate(signatures, store, settings, IdentityProviders(local=not signed))


def _check(claim: Claim, key: AccessKey, request: WireRequest, raw_query: str, body: bytes) -> None:
    check_signature(
        claim,
        key.secret,
        method=request.method,
        raw_path=request.raw_path,
        raw_query=raw_query,
        headers=request.headers,
        body=body,
    )


def _unrecognised() -> ServiceError:
    return ServiceError(
        AwsError.UNRECOGNIZED_CLIENT, "The security token included in the request is invalid."
    )
