"""A key ring whose master key is in KMS: `EVERLOOP_KEYRING=kms:<ARN of the key>`.

What was sealed under the ring in the file, before there was KMS, still opens while the file is
there. Keys of another AWS account than the configured key's are never used: who can write to the
database, but has no keys, could otherwise bring one of their own.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from contracts.errors import KeyRefused, SecretUnreadable
from contracts.vault import KMS_KEY_ARN
from store.vault_keyring import DataKey, RingSource
from store.vault_kms import Kms


async def _configured() -> None:
    """Nothing was chosen in the place of the configured key."""


@dataclass(frozen=True)
class KmsRing:
    """Master keys in KMS.

    Attributes:
        configured: the ARN of the key that the operator gave.
        before: the ring in the file, for what was sealed under it.
        kms: the service.
        chosen: tells which key was chosen in the place of the configured one.
    """

    configured: str
    before: RingSource
    kms: Kms = field(default_factory=Kms)
    chosen: Callable[[], Awaitable[str | None]] = _configured

    def following(self, chosen: Callable[[], Awaitable[str | None]]) -> "KmsRing":
        """The same ring with the key that SetTokenVaultCMK chose."""
        return replace(self, chosen=chosen)

    def may_use(self, key_arn: str) -> bool:
        """Whether a key is one of the configured key's account."""
        theirs, ours = KMS_KEY_ARN.fullmatch(key_arn), KMS_KEY_ARN.fullmatch(self.configured)
        return bool(theirs and ours and theirs["account"] == ours["account"])

    async def created(self, key_arn: str) -> datetime | None:
        """When a key was made, UTC; None when it does not exist.

        Raises:
            KeyRingFault: KMS refused or cannot be reached.
        """
        return await self.kms.created(key_arn)

    async def check(self, key_arn: str) -> None:
        """See that secrets can be sealed and opened under a key.

        Raises:
            KeyRingFault: KMS refused or cannot be reached.
        """
        context = b"check"
        plain, wrapped = await self.kms.generate(key_arn, context)
        await self.kms.decrypt(key_arn, wrapped, context)
        await self.kms.encrypt(key_arn, plain, context)

    async def primary(self) -> str:
        """See `KeyWrapper.primary`."""
        key_arn = await self.chosen() or self.configured
        if not self.may_use(key_arn):
            raise KeyRefused(f"{key_arn} is of another account than {self.configured}", "Account")
        return key_arn

    async def new_data_key(self, context: bytes) -> DataKey:
        """See `KeyWrapper.new_data_key`."""
        key_arn = await self.primary()
        plain, wrapped = await self.kms.generate(key_arn, context)
        return DataKey(plain, key_arn, wrapped)

    async def wrap(self, data_key: bytes, context: bytes) -> tuple[str, bytes]:
        """See `KeyWrapper.wrap`."""
        key_arn = await self.primary()
        return key_arn, await self.kms.encrypt(key_arn, data_key, context)

    async def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """See `KeyWrapper.unwrap`."""
        if not KMS_KEY_ARN.fullmatch(key_id):
            return await self.before.unwrap(key_id, wrapped, context)
        if not self.may_use(key_id):
            raise SecretUnreadable(f"{key_id} is of another account than {self.configured}")
        return await self.kms.decrypt(key_id, wrapped, context)
