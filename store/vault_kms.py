"""AWS's Key Management Service, as far as the vault needs it.

Data keys are wrapped by KMS and never leave it unwrapped but for our memory. The encryption context
binds them to what they are for, and shows in CloudTrail. Credentials and endpoint are those of the
AWS SDKs: `AWS_ENDPOINT_URL_KMS`, profiles, roles of the machine.
"""

import asyncio
import importlib
import threading
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

from contracts.errors import KeyRefused, KeyRingAway, KeyRingFault, SecretUnreadable
from contracts.vault import KMS_KEY_ARN

#: A context of ours has one member; policies can ask for it.
CONTEXT_MEMBER = "everloop:secret"
#: Seconds for which an unwrapped data key is kept in memory. Each signed call to the API needs one;
#: a key that is disabled in KMS opens nothing after this.
KEPT_S = 300.0
#: Data keys kept at once: 32 bytes and their wrapped form each.
MAX_KEPT = 10_000

CONNECT_S = 3
#: KMS answers in milliseconds.
READ_S = 5
ATTEMPTS = 3

#: What KMS says of a blob that was altered, or that another key or context wrapped.
_UNREADABLE = ("InvalidCiphertextException", "IncorrectKeyException")
_NOT_FOUND = "NotFoundException"
_PASSING = (
    "ThrottlingException",
    "KMSInternalException",
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "ServiceUnavailableException",
)


class Kms:
    """Calls of KMS, made in threads, with what they unwrapped kept for a while."""

    def __init__(self, *, kept_s: float = KEPT_S) -> None:
        """Prepare; nothing is loaded or sent yet.

        Args:
            kept_s: seconds for which what was unwrapped is kept.
        """
        self._kept_s = kept_s
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, bytes, bytes], tuple[float, bytes]] = OrderedDict()

    async def generate(self, key_arn: str, context: bytes) -> tuple[bytes, bytes]:
        """A new data key, plain and wrapped.

        Raises:
            KeyRingFault: KMS refused or cannot be reached.
        """
        asked = {"KeySpec": "AES_256", "EncryptionContext": _context(context)}
        answer = await self._call("generate_data_key", key_arn, **asked)
        return answer["Plaintext"], answer["CiphertextBlob"]

    async def encrypt(self, key_arn: str, data_key: bytes, context: bytes) -> bytes:
        """A data key, wrapped.

        Raises:
            KeyRingFault: KMS refused or cannot be reached.
        """
        asked = {"Plaintext": data_key, "EncryptionContext": _context(context)}
        return (await self._call("encrypt", key_arn, **asked))["CiphertextBlob"]

    async def decrypt(self, key_arn: str, wrapped: bytes, context: bytes) -> bytes:
        """A data key, unwrapped.

        Raises:
            KeyRingFault: KMS refused or cannot be reached.
            SecretUnreadable: it was tampered with, or its key exists no more.
        """
        name = (key_arn, wrapped, context)
        now = time.monotonic()
        until, plain = self._kept.get(name, (0.0, b""))
        if until > now:
            return plain
        asked = {"CiphertextBlob": wrapped, "EncryptionContext": _context(context)}
        try:
            plain = (await self._call("decrypt", key_arn, **asked))["Plaintext"]
        except KeyRefused as refused:
            if refused.code == _NOT_FOUND:
                raise SecretUnreadable(f"the KMS key {key_arn} does not exist") from None
            raise
        self._kept[name] = (now + self._kept_s, plain)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return plain

    async def created(self, key_arn: str) -> datetime | None:
        """When a key was made, UTC; None when it does not exist.

        A key that is disabled, or that is to be deleted some day, does.

        Raises:
            KeyRingFault: KMS refused or cannot be reached.
        """
        try:
            answer = await self._call("describe_key", key_arn)
        except KeyRefused as refused:
            if refused.code == _NOT_FOUND:
                return None
            raise
        made: datetime = answer["KeyMetadata"]["CreationDate"]
        return made.astimezone(UTC)

    async def _call(self, operation: str, key_arn: str, **asked: Any) -> dict[str, Any]:
        return await asyncio.to_thread(self._send, operation, key_arn, asked)

    def _send(self, operation: str, key_arn: str, asked: dict[str, Any]) -> dict[str, Any]:
        exceptions: Any = importlib.import_module("botocore.exceptions")
        try:
            return getattr(self._client(key_arn), operation)(KeyId=key_arn, **asked)
        except exceptions.ClientError as error:
            raise _refusal(error, operation, key_arn) from None
        except exceptions.BotoCoreError as error:
            told = " ".join(str(error).split())
            raise KeyRingAway(f"KMS cannot be asked about {key_arn}: {told}") from None

    def _client(self, key_arn: str) -> Any:
        match = KMS_KEY_ARN.fullmatch(key_arn)
        if match is None:
            raise KeyRingFault(f"{key_arn} is not the ARN of a KMS key")
        region = match["region"]
        with self._lock:
            if region not in self._clients:
                session: Any = importlib.import_module("botocore.session")
                config: Any = importlib.import_module("botocore.config")
                self._clients[region] = session.get_session().create_client(
                    "kms",
                    region_name=region,
                    config=config.Config(
                        connect_timeout=CONNECT_S,
                        read_timeout=READ_S,
                        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                    ),
                )
            return self._clients[region]


def _context(context: bytes) -> dict[str, str]:
    return {CONTEXT_MEMBER: context.decode()}


def _refusal(error: Any, operation: str, key_arn: str) -> Exception:
    detail: dict[str, str] = error.response.get("Error", {})
    code = detail.get("Code", "Unknown")
    if code in _UNREADABLE:
        return SecretUnreadable(f"it does not open under {key_arn}")
    told = f"KMS refused {operation} under {key_arn}: {code}: {detail.get('Message', '')}"
    return KeyRingAway(told) if code in _PASSING else KeyRefused(told, code)
