"""A small AWS Key Management Service: AWS JSON 1.1 over HTTP, with real AES-GCM underneath.

It knows the operations that wrap data keys. Ciphertexts are bound to their key and context, as
AWS's are; keys can be disabled, deleted and rotated inside.
"""

import base64
import json
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.e2e.threaded import ThreadedServer

Json = dict[str, Any]
CREATED = 1_700_000_000
_NONCE = 12


class Refusal(Exception):
    """An error that KMS answers with."""

    def __init__(self, name: str, message: str = "refused", status: int = 400) -> None:
        super().__init__(name)
        self.name, self.message, self.status = name, message, status


@dataclass
class MasterKey:
    """A key: its materials, the newest last, and whether it may be used."""

    materials: list[bytes] = field(default_factory=lambda: [secrets.token_bytes(32)])
    enabled: bool = True


@dataclass
class KmsServer:
    """The service.

    Attributes:
        keys: by ARN.
        asked: operation and key of each request that was signed as KMS wants it.
        fails: called before each request is answered; may raise a Refusal.
    """

    account: str = "111122223333"
    keys: dict[str, MasterKey] = field(default_factory=dict[str, MasterKey])
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    fails: Callable[[str], None] = lambda operation: None
    url: str = ""

    def __post_init__(self) -> None:
        route = Route("/", self._answer, methods=["POST"])
        self._server = ThreadedServer(Starlette(routes=[route]))

    def start(self) -> "KmsServer":
        self.url = self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop()

    def make_key(self, account: str | None = None) -> str:
        arn = f"arn:aws:kms:eu-west-1:{account or self.account}:key/{uuid.uuid4()}"
        self.keys[arn] = MasterKey()
        return arn

    def rotate(self, arn: str) -> None:
        """As KMS does once a year: a new material under the same name; old ones still open."""
        self.keys[arn].materials.append(secrets.token_bytes(32))

    def materials_of(self, wrapped: bytes) -> int:
        """Which of a key's materials wrapped something, from 0."""
        return wrapped[36]

    @property
    def env(self) -> dict[str, str]:
        """What points an AWS SDK here."""
        return {
            "AWS_ENDPOINT_URL_KMS": self.url,
            "AWS_ACCESS_KEY_ID": "kms-user",
            "AWS_SECRET_ACCESS_KEY": "kms-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    async def _answer(self, request: Request) -> Response:
        operation = request.headers["x-amz-target"].removeprefix("TrentService.")
        asked: Json = json.loads(await request.body())
        scope = request.headers["authorization"]
        try:
            if "/eu-west-1/kms/aws4_request" not in scope or "Credential=kms-user/" not in scope:
                raise Refusal("InvalidSignatureException")
            self.asked.append((operation, asked["KeyId"]))
            self.fails(operation)
            body = self._do(operation, asked)
        except Refusal as refusal:
            named = {"__type": refusal.name, "message": refusal.message}
            return JSONResponse(named, refusal.status, media_type="application/x-amz-json-1.1")
        return JSONResponse(body, media_type="application/x-amz-json-1.1")

    def _do(self, operation: str, asked: Json) -> Json:
        arn: str = asked["KeyId"]
        key = self.keys.get(arn)
        if key is None:
            raise Refusal("NotFoundException", f"Key '{arn}' does not exist")
        if operation == "DescribeKey":
            return {"KeyMetadata": {"KeyId": arn[-36:], "Arn": arn, "CreationDate": CREATED}}
        if not key.enabled:
            raise Refusal("DisabledException", f"{arn} is disabled.")
        context = _canonical(asked.get("EncryptionContext", {}))
        if operation == "Decrypt":
            blob = base64.b64decode(asked["CiphertextBlob"])
            return {"KeyId": arn, "Plaintext": _text(self._open(arn, key, blob, context))}
        if operation == "Encrypt":
            plain = base64.b64decode(asked["Plaintext"])
            return {"KeyId": arn, "CiphertextBlob": _text(_wrap(arn, key, plain, context))}
        if operation == "GenerateDataKey":
            assert asked["KeySpec"] == "AES_256"
            plain = secrets.token_bytes(32)
            wrapped = _wrap(arn, key, plain, context)
            return {"KeyId": arn, "Plaintext": _text(plain), "CiphertextBlob": _text(wrapped)}
        raise Refusal("UnknownOperationException", operation, 404)

    @staticmethod
    def _open(arn: str, key: MasterKey, blob: bytes, context: bytes) -> bytes:
        if blob[:36].decode("latin-1") != arn[-36:]:
            raise Refusal("IncorrectKeyException")
        nonce, text = blob[37 : 37 + _NONCE], blob[37 + _NONCE :]
        try:
            return AESGCM(key.materials[blob[36]]).decrypt(nonce, text, context)
        except (InvalidTag, IndexError):
            raise Refusal("InvalidCiphertextException", "") from None


def _wrap(arn: str, key: MasterKey, plain: bytes, context: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    newest = len(key.materials) - 1
    sealed = AESGCM(key.materials[newest]).encrypt(nonce, plain, context)
    return arn[-36:].encode() + bytes([newest]) + nonce + sealed


def _canonical(context: Json) -> bytes:
    return json.dumps(context, sort_keys=True).encode()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
