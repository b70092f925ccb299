"""The key ring: the master keys under which the vault's data keys are wrapped.

A ring is JSON: `{"primary": id, "keys": {id: {"key": base64 of 32 bytes, "created": ISO time}}}`.
New data keys are wrapped under the primary; the others open what was wrapped under them before a
rotation. It comes from `EVERLOOP_KEYRING`, or from a file that only its owner can read. Whoever has
the ring and the database has the secrets; whoever has one of them has nothing.
"""

import base64
import json
import os
import secrets
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field, ValidationError, field_validator

from contracts.base import Value
from contracts.errors import KeyRingFault, SecretUnreadable
from contracts.settings import Settings
from contracts.vault import KMS_KEY_ARN, KMS_PREFIX

#: AES-256.
KEY_BYTES = 32
#: What GCM is made for. Random ones are safe far beyond the number of secrets that a vault holds.
NONCE_BYTES = 12
#: Read and write by its owner, nobody else.
PRIVATE = 0o600


@dataclass(frozen=True)
class DataKey:
    """A data key.

    Attributes:
        plain: the key.
        key_id: the master key that it is wrapped under.
        wrapped: the key, wrapped.
    """

    plain: bytes = field(repr=False)
    key_id: str
    wrapped: bytes


class KeyWrapper(Protocol):
    """Wraps data keys under a master key, and knows which master key is the one to use."""

    async def primary(self) -> str:
        """The id of the master key under which data keys are wrapped now."""
        ...

    async def new_data_key(self, context: bytes) -> DataKey:
        """A data key that nothing was encrypted with yet, wrapped under the primary.

        Raises:
            KeyRingFault: there is no usable ring.
        """
        ...

    async def wrap(self, data_key: bytes, context: bytes) -> tuple[str, bytes]:
        """Wrap a data key under the primary: the master key's id, and the wrapped key.

        Raises:
            KeyRingFault: there is no usable ring.
        """
        ...

    async def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Unwrap a data key.

        Raises:
            KeyRingFault: there is no usable ring.
            SecretUnreadable: the ring has no such master key, or the bytes were tampered with.
        """
        ...


class MasterKey(Value):
    """One key of a ring."""

    key: str = Field(repr=False)
    created: datetime

    @field_validator("key")
    @classmethod
    def _check_length(cls, text: str) -> str:
        if len(base64.b64decode(text, validate=True)) != KEY_BYTES:
            raise ValueError(f"must be base64 of {KEY_BYTES} bytes")
        return text

    @property
    def cipher(self) -> AESGCM:
        """AES-GCM under this key."""
        return AESGCM(base64.b64decode(self.key))


class KeyRing(Value):
    """Master keys by id, and which of them is the primary."""

    primary: str
    keys: dict[str, MasterKey]

    @classmethod
    def new(cls) -> "KeyRing":
        """A ring with one new key."""
        return cls(primary="", keys={}).rotated()

    @classmethod
    def read(cls, text: str, source: str) -> "KeyRing":
        """Read a ring's JSON.

        Raises:
            KeyRingFault: it is not a ring. The message names the source, never the content.
        """
        try:
            ring = cls.model_validate_json(text)
        except ValidationError as error:
            places = {".".join(str(step) for step in fault["loc"]) for fault in error.errors()}
            where = ", ".join(sorted(places - {""})) or "its JSON"
            raise KeyRingFault(f"{source} is not a key ring; wrong: {where}") from None
        if ring.primary not in ring.keys:
            raise KeyRingFault(f"{source} is not a key ring; its primary is none of its keys")
        return ring

    def rotated(self) -> "KeyRing":
        """The ring with a new primary; the earlier keys stay, to open what they wrapped."""
        now = datetime.now(UTC).replace(microsecond=0)
        key_id = f"k{now:%Y%m%d}-{secrets.token_hex(4)}"
        made = MasterKey(key=base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode(), created=now)
        return KeyRing(primary=key_id, keys={**self.keys, key_id: made})

    def text(self) -> str:
        """The ring's JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=2)


@dataclass
class RingSource:
    """A ring that is read when it is needed, and again when its file has changed.

    Attributes:
        path: the file.
        given: the ring's JSON, which takes the place of the file.
        may_create: whether a missing file is made. Only where one machine has all processes: two
            machines that each made one could not read each other's secrets.
    """

    path: Path
    given: str | None = field(default=None, repr=False)
    may_create: bool = False
    _read: tuple[tuple[int, int, int] | None, KeyRing] | None = field(
        default=None, init=False, repr=False
    )

    @classmethod
    def of(cls, settings: Settings) -> "RingSource":
        """Where the settings say that the ring is."""
        return cls(
            settings.data_dir / "keyring.json",
            given=settings.keyring,
            may_create=settings.database_url.startswith("sqlite"),
        )

    def ring(self) -> KeyRing:
        """The ring as it is now.

        Raises:
            KeyRingFault: it is missing, open to others, or no ring.
        """
        mark = None if self.given is not None else self._mark()
        if self._read is not None and self._read[0] == mark:
            return self._read[1]
        if self.given is not None:
            ring = KeyRing.read(self.given, "EVERLOOP_KEYRING")
        else:
            ring = KeyRing.read(self.path.read_text(), str(self.path))
        self._read = (mark, ring)
        return ring

    def rotate(self) -> KeyRing:
        """Put a ring with a new primary in the place of the file.

        Raises:
            KeyRingFault: the ring is not in a file of ours.
        """
        if self.given is not None:
            raise KeyRingFault(
                "the key ring comes from EVERLOOP_KEYRING: set that to a ring with a new primary, "
                "which `everloop vault keyring` prints, and rotate again with --rewrap-only"
            )
        ring = self.ring().rotated()
        fresh = self._write_beside(ring)
        fresh.replace(self.path)
        _sync_directory(self.path.parent)
        return ring

    def created(self) -> datetime:
        """When the primary was made, UTC.

        Raises:
            KeyRingFault: there is no usable ring.
        """
        ring = self.ring()
        return ring.keys[ring.primary].created

    async def primary(self) -> str:
        """See `KeyWrapper.primary`."""
        return self.ring().primary

    async def new_data_key(self, context: bytes) -> DataKey:
        """See `KeyWrapper.new_data_key`."""
        plain = secrets.token_bytes(KEY_BYTES)
        return DataKey(plain, *await self.wrap(plain, context))

    async def wrap(self, data_key: bytes, context: bytes) -> tuple[str, bytes]:
        """See `KeyWrapper.wrap`."""
        ring = self.ring()
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = ring.keys[ring.primary].cipher
        return ring.primary, nonce + cipher.encrypt(nonce, data_key, context)

    async def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """See `KeyWrapper.unwrap`."""
        master = self.ring().keys.get(key_id)
        if master is None and KMS_KEY_ARN.fullmatch(key_id):
            raise SecretUnreadable(f"it is under KMS: EVERLOOP_KEYRING was {KMS_PREFIX}{key_id}")
        if master is None:
            raise SecretUnreadable(f"the key ring has no key {key_id}")
        try:
            return master.cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except InvalidTag:
            raise SecretUnreadable(f"it does not open under key {key_id}") from None

    def _mark(self) -> tuple[int, int, int]:
        """What changes when the file does."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._create()
            found = self.path.stat()
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyRingFault(f"{self.path} is open to others; run: chmod 600 {self.path}")
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _create(self) -> None:
        if not self.may_create:
            raise KeyRingFault(
                f"there is no key ring: neither EVERLOOP_KEYRING nor {self.path}. Make one with "
                "`everloop vault keyring` and give it to every API server and worker"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._write_beside(KeyRing.new())
        try:
            # Unlike a rename, a link fails when another process was quicker: its ring is in use.
            os.link(fresh, self.path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        _sync_directory(self.path.parent)

    def _write_beside(self, ring: KeyRing) -> Path:
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as file:
            file.write(ring.text())
            file.flush()
            # A ring that a power cut takes back takes every secret with it.
            os.fsync(file.fileno())
        return fresh


class NoRing:
    """Stands where a process has no business with secrets."""

    async def primary(self) -> str:
        """Refuse."""
        raise KeyRingFault("this process has no key ring")

    async def new_data_key(self, context: bytes) -> DataKey:
        """Refuse."""
        raise KeyRingFault("this process has no key ring")

    async def wrap(self, data_key: bytes, context: bytes) -> tuple[str, bytes]:
        """Refuse."""
        raise KeyRingFault("this process has no key ring")

    async def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Refuse."""
        raise KeyRingFault("this process has no key ring")


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
