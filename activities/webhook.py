"""The request that carries a notice: its body in the format of the receiver, and its signature."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

from activities.told import arguments_of, lines_of, url_of
from contracts.notices import NoticeRecord
from contracts.webhook_settings import WebhookSettings


def request_of(found: NoticeRecord, settings: WebhookSettings) -> tuple[bytes, dict[str, str]]:
    """The body and the headers that carry a notice.

    Args:
        found: the notice.
        settings: the receiver.
    """
    body = json.dumps(
        _slack(found, settings) if settings.format == "slack" else _plain(found, settings)
    ).encode()
    timestamp = str(int(datetime.now(UTC).timestamp()))
    headers = {
        "content-type": "application/json",
        "user-agent": "everloop",
        "x-everloop-delivery": found.id,
        "x-everloop-timestamp": timestamp,
    }
    if settings.secret is not None:
        signature = sign(settings.secret, timestamp, body)
        headers["x-everloop-signature"] = signature
    return body, headers


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC in hexadecimal of `timestamp.body` under the UTF-8 of the secret."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _plain(found: NoticeRecord, settings: WebhookSettings) -> dict[str, Any]:
    about = found.decision
    terms = about.gate.terms
    told: dict[str, Any] = {
        "id": about.id,
        "status": about.status.value,
        "tool": about.tool,
        "harnessId": about.harness_id,
        "runtimeSessionId": about.runtime_session_id,
        "requestedAt": about.requested_at.isoformat(),
        "dueAt": about.due_at.isoformat() if about.due_at else None,
        "deciders": terms.deciders.model_dump(mode="json"),
        "required": terms.required,
        "decidedBy": about.decided_by,
    }
    if settings.arguments:
        told["arguments"] = arguments_of(found)
    return {
        "id": found.id,
        "kind": found.kind.value,
        "at": found.at.isoformat(),
        "decision": told,
        "url": url_of(found, settings.public_url),
    }


def _slack(found: NoticeRecord, settings: WebhookSettings) -> dict[str, Any]:
    lines = lines_of(found, arguments=settings.arguments)
    # Names come from models and from tool servers: none may ping a channel or fake a link.
    safe = [line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in lines]
    return {"text": "\n".join([*safe, url_of(found, settings.public_url)])}
