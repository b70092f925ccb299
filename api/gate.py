"""Who is let in: anyone on this machine in development, else whoever signs with a key of ours.

A request is judged twice: by its headers before its body is read, so that a stranger cannot make us
hold megabytes, and by its signature once the body is there.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from api.guard import check_origin, is_loopback
from api.principal import key_principal, local_principal
from api.request import WireRequest
from api.sigv4 import Claim, check_signature, read_claim
from contracts.decisions import Principal
from contracts.errors import AwsError, ServiceError
from contracts.settings import Settings
from contracts.vault import AccessKey
from store import Store

#: A deleted key is refused after this long at the latest; a busy caller's is read once in it.
KEY_KEPT_S = 5.0
#: Keys kept at once; more callers than this read theirs anew.
MAX_KEPT_KEYS = 10_000

#: Judges the body of a request whose headers were let in, and says who sent it.
CheckBody = Callable[[bytes], Principal]


class Gate(Protocol):
    """Judges requests."""

    async def admit(self, request: WireRequest, raw_query: str) -> CheckBody:
        """Judge a request by its headers.

        Returns:
            What judges its body, before anything is done with it.

        Raises:
            ServiceError: it is not let in; AWS's names and statuses.
        """
        ...


class OpenGate:
    """Any signature, from this machine only. For `everloop dev`."""

    async def admit(self, request: WireRequest, raw_query: str) -> CheckBody:
        """See `Gate.admit`."""
        check_origin(request)
        principal = local_principal(request.headers)
        return lambda _: principal


class SignedGate:
    """Signatures by access keys of the account that is served."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Take keys from a store."""
        self._store = store
        self._settings = settings
        self._kept: dict[str, tuple[float, AccessKey]] = {}

    async def admit(self, request: WireRequest, raw_query: str) -> CheckBody:
        """See `Gate.admit`."""
        claim = read_claim(request.headers, self._settings.region, datetime.now(UTC))
        if "x-amz-security-token" in request.headers:
            # Only AWS's STS makes session tokens, and no key of ours comes with one.
            raise _unrecognised()
        key = await self._key(claim.access_key_id)

        def check(body: bytes) -> Principal:
            _check(claim, key, request, raw_query, body)
            self._check_owner(key)
            return key_principal(key.record, request.headers)

        return check

    async def _key(self, access_key_id: str) -> AccessKey:
        now = time.monotonic()
        until, key = self._kept.get(access_key_id, (0.0, None))
        if key is None or until <= now:
            self._kept.pop(access_key_id, None)
            key = await self._store.access_keys.find(access_key_id)
            if key is None:
                raise _unrecognised()
            if len(self._kept) >= MAX_KEPT_KEYS:
                self._kept.clear()
            self._kept[access_key_id] = (now + KEY_KEPT_S, key)
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
    return SignedGate(store, settings) if verifies(settings) else OpenGate()


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
