"""The gate before InvokeHarness: a harness with an authorizer takes its tokens and nothing else.

What it takes is judged by the request's headers and query alone, before the body is read. A request
that is signed goes on to the other gate; the operation refuses it when the harness wants a token,
which only who may sign is told.
"""

import re

from api.admission import Admission, Gate, anything
from api.authorizing import Target, authorizer_of, mismatch
from api.bearer import subject, verify
from api.caller import Caller
from api.identity_providers import IdentityProviders
from api.request import WireRequest
from contracts.authorizer import JwtAuthorizer
from contracts.errors import AwsError, TokenRefused
from contracts.settings import Settings
from store import Store

_INVOKE = ("POST", "/harnesses/invoke")
#: Public by its nature (RFC 9728, section 3): it says whom to ask for a token.
_METADATA = re.compile(r"/everloop/v1/harnesses/[^/]+/oauth-protected-resource")
_BEARER = re.compile(r"bearer +(?P<token>[^ ]+) *", re.IGNORECASE)
#: What may stand in a header's quoted string; others would let a Host header write the challenge.
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")


class TokenGate:
    """Bearer tokens, before a gate for signatures."""

    def __init__(
        self, signatures: Gate, store: Store, settings: Settings, providers: IdentityProviders
    ) -> None:
        """Stand before a gate.

        Args:
            signatures: judges what carries no token.
            store: has the harnesses.
            settings: the process's.
            providers: those whose keys are known.
        """
        self._signatures = signatures
        self._store = store
        self._settings = settings
        self._providers = providers

    async def admit(self, request: WireRequest, raw_query: str) -> Admission:
        """See `Gate.admit`."""
        if request.method == "GET" and _METADATA.fullmatch(request.raw_path):
            return Admission(anything)
        if (request.method, request.raw_path) != _INVOKE:
            return await self._signatures.admit(request, raw_query)
        given = request.headers.get("authorization", "").strip()
        bearer = _BEARER.fullmatch(given)
        if given and not bearer:
            return await self._signatures.admit(request, raw_query)
        target = Target.of(request)
        authorizer = target and await authorizer_of(self._store, self._settings, target)
        if target is None or authorizer is None:
            if bearer:
                raise mismatch()
            return await self._signatures.admit(request, raw_query)
        try:
            return Admission(anything, await self._caller(bearer, target, authorizer))
        except TokenRefused as refused:
            raise refused.with_challenge(_challenge(refused, request, target, authorizer)) from None

    async def _caller(
        self, bearer: re.Match[str] | None, target: Target, authorizer: JwtAuthorizer
    ) -> Caller:
        if bearer is None:
            raise TokenRefused(AwsError.UNAUTHORIZED, "Missing Authentication Token", challenge="")
        claims = await verify(bearer["token"], authorizer, self._providers)
        return Caller(target.admitted_to, subject(claims))


def _challenge(
    refused: TokenRefused, request: WireRequest, target: Target, authorizer: JwtAuthorizer
) -> str:
    """`WWW-Authenticate`: where the protected resource's metadata is, and what was wrong."""
    parts: list[str] = []
    host = request.headers.get("host", "")
    if _HOST.fullmatch(host):
        base = f"{request.scheme}://{host}/everloop/v1/harnesses/{target.arn.harness_id}"
        url = f"{base}/oauth-protected-resource?qualifier={target.qualifier}"
        parts.append(f'resource_metadata="{url}"')
    if authorizer.advertised_scopes:
        parts.append(f'scope="{" ".join(authorizer.advertised_scopes)}"')
    if refused.challenge:
        parts.append(refused.challenge)
    return f"Bearer {', '.join(parts)}".strip()
