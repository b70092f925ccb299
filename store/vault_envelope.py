"""Envelopes: a secret under a data key of its own, that key under a master key. AES-256-GCM.

Both encryptions are bound to what the secret is for and to its version, so that an envelope does
not open in another row, nor an old value in the place of a newer one.
"""

import secrets
from dataclasses import dataclass, replace
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from contracts.errors import SecretUnreadable
from store.vault_keyring import NONCE_BYTES, KeyWrapper


@dataclass(frozen=True)
class Sealed:
    """A secret in its envelope.

    Attributes:
        version: 1 for the first value, one more with each replacement.
        key_id: the master key under which the data key is wrapped.
        wrapped_key: the data key, wrapped.
        body: nonce and ciphertext under the data key.
    """

    version: int
    key_id: str
    wrapped_key: bytes
    body: bytes

    @classmethod
    def of_row(cls, row: Any) -> "Sealed":
        """The envelope in a row of the vault's tables."""
        return cls(row.version, row.key_id, row.wrapped_key, row.body)

    def columns(self) -> dict[str, Any]:
        """The envelope as columns of the vault's tables."""
        return {
            "version": self.version,
            "key_id": self.key_id,
            "wrapped_key": self.wrapped_key,
            "body": self.body,
        }


class Envelopes:
    """Seals and unseals secrets."""

    def __init__(self, wrapper: KeyWrapper) -> None:
        """Use these master keys."""
        self._wrapper = wrapper

    async def primary(self) -> str:
        """The id of the master key under which envelopes are sealed now."""
        return await self._wrapper.primary()

    async def seal(self, secret: str, about: str, version: int) -> Sealed:
        """Put a secret in an envelope.

        Args:
            secret: the value.
            about: what it belongs to: an ARN, the id of an access key.
            version: the value's number.

        Raises:
            KeyRingFault: there is no usable key ring.
        """
        context = _context(about, version)
        data_key = await self._wrapper.new_data_key(context)
        nonce = secrets.token_bytes(NONCE_BYTES)
        body = nonce + AESGCM(data_key.plain).encrypt(nonce, secret.encode(), context)
        return Sealed(version, data_key.key_id, data_key.wrapped, body)

    async def unseal(self, sealed: Sealed, about: str) -> str:
        """Take the secret out.

        Raises:
            KeyRingFault: there is no usable key ring.
            SecretUnreadable: it does not open; the message names what it is about.
        """
        context = _context(about, sealed.version)
        try:
            data_key = await self._wrapper.unwrap(sealed.key_id, sealed.wrapped_key, context)
            nonce, text = sealed.body[:NONCE_BYTES], sealed.body[NONCE_BYTES:]
            return AESGCM(data_key).decrypt(nonce, text, context).decode()
        except SecretUnreadable as error:
            raise SecretUnreadable(f"The secret of {about} cannot be read: {error}.") from None
        except InvalidTag:
            raise SecretUnreadable(
                f"The secret of {about} cannot be read: it is damaged."
            ) from None

    async def rewrap(self, sealed: Sealed, about: str) -> Sealed:
        """The same envelope with its data key wrapped under the primary.

        Raises:
            KeyRingFault: there is no usable key ring.
            SecretUnreadable: the data key does not open.
        """
        context = _context(about, sealed.version)
        try:
            data_key = await self._wrapper.unwrap(sealed.key_id, sealed.wrapped_key, context)
        except SecretUnreadable as error:
            raise SecretUnreadable(f"The secret of {about} cannot be read: {error}.") from None
        key_id, wrapped = await self._wrapper.wrap(data_key, context)
        return replace(sealed, key_id=key_id, wrapped_key=wrapped)


def _context(about: str, version: int) -> bytes:
    return f"{about}#{version}".encode()
