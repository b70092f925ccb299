"""What identity providers publish (OIDC Discovery, RFC 8414, RFC 7517), kept for a while.

A provider is asked when its keys are first needed, when they are old, and when a token names a key
that is not known, which is how a rotation shows. However many such tokens come, it is asked only so
often; and while it does not answer, keys that were good an hour ago still are.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from api.provider_fetch import FetchFailed, fetch_json
from api.signing_keys import SigningKey, read_keys

log = logging.getLogger("api.identity")

#: Discovery URLs kept at once; the least lately used one is read anew.
MAX_PROVIDERS = 1000


@dataclass(frozen=True)
class Pace:
    """How often a provider is asked.

    Attributes:
        fresh_s: seconds for which its keys are taken as they are.
        stale_s: seconds for which they still are while it cannot be reached.
        fetches: at most so many, successful or not,
        window_s: in so many seconds.
    """

    fresh_s: float = 300.0
    stale_s: float = 3600.0
    fetches: int = 5
    window_s: float = 60.0


PACE = Pace()


@dataclass(frozen=True)
class Provider:
    """What is known of a provider.

    Attributes:
        issuer: what its tokens' `iss` must be.
        keys: that its tokens are signed with.
        at: when it was asked, monotonic seconds.
    """

    issuer: str
    keys: tuple[SigningKey, ...]
    at: float


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    fetches: deque[float] = field(default_factory=deque[float])
    provider: Provider | None = None


class IdentityProviders:
    """Providers by their discovery URL."""

    def __init__(self, *, local: bool, pace: Pace = PACE) -> None:
        """Begin knowing none.

        Args:
            local: whether the API serves this machine only, so that a provider may do so too.
            pace: how often a provider is asked.
        """
        self._local = local
        self._pace = pace
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def get(self, discovery_url: str) -> Provider:
        """A provider as it is known, asked when that is long ago.

        Raises:
            FetchFailed: it was not reached for too long, or publishes nothing usable.
        """
        entry = self._entry(discovery_url)
        if entry.provider is not None and self._age(entry.provider) < self._pace.fresh_s:
            return entry.provider
        async with entry.lock:
            known = entry.provider
            if known is not None and self._age(known) < self._pace.fresh_s:
                return known
            try:
                return await self._ask(discovery_url, entry)
            except FetchFailed as error:
                log.warning("an identity provider cannot be read: %s", error)
                if known is not None and self._age(known) < self._pace.stale_s:
                    return known
                raise

    async def newer(self, discovery_url: str, known: Provider) -> Provider:
        """The provider after `known`, when a token names a key that `known` does not have.

        Returns:
            `known` itself when the provider was asked often enough or does not answer.
        """
        entry = self._entry(discovery_url)
        async with entry.lock:
            if entry.provider is not None and entry.provider is not known:
                return entry.provider
            try:
                return await self._ask(discovery_url, entry)
            except FetchFailed as error:
                log.warning("an identity provider cannot be asked for new keys: %s", error)
                return known

    async def _ask(self, discovery_url: str, entry: _Entry) -> Provider:
        now = time.monotonic()
        while entry.fetches and entry.fetches[0] <= now - self._pace.window_s:
            entry.fetches.popleft()
        if len(entry.fetches) >= self._pace.fetches:
            raise FetchFailed(
                f"{discovery_url}: was asked {self._pace.fetches} times in the last "
                f"{self._pace.window_s:.0f} s; it is asked again when they have passed"
            )
        entry.fetches.append(now)
        described = await fetch_json(discovery_url, local=self._local)
        issuer, keys_url = described.get("issuer"), described.get("jwks_uri")
        if not isinstance(issuer, str) or not issuer or not isinstance(keys_url, str):
            raise FetchFailed(f"{discovery_url}: has no issuer or no jwks_uri")
        published = await fetch_json(keys_url, local=self._local)
        keys = read_keys(published.get("keys"))
        if not keys:
            raise FetchFailed(f"{keys_url}: has no key that signatures can be checked with")
        entry.provider = Provider(issuer, keys, now)
        return entry.provider

    def _entry(self, discovery_url: str) -> _Entry:
        entry = self._entries.setdefault(discovery_url, _Entry())
        self._entries.move_to_end(discovery_url)
        if len(self._entries) > MAX_PROVIDERS:
            self._entries.popitem(last=False)
        return entry

    @staticmethod
    def _age(provider: Provider) -> float:
        return time.monotonic() - provider.at
