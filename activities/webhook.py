"""The request that carries a notice: its body in the format of the receiver, and its signature."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

from contracts.notices import NoticeKind, NoticeRecord
from contracts.webhook_settings import WebhookSettings

#: Characters of a call's arguments as JSON; of longer ones the API shows the whole.
TOLD_ARGUMENTS = 4000

_HEADLINES = {
    NoticeKind.OPENED: "A decision is waited for",
    NoticeKind.ESCALATED: "A decision was passed on",
    NoticeKind.CLOSED: "A decision was closed",
}


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
        told["arguments"] = _short(found)
    return {
        "id": found.id,
        "kind": found.kind.value,
        "at": found.at.isoformat(),
        "decision": told,
        "url": _url(found, settings),
    }


def _slack(found: NoticeRecord, settings: WebhookSettings) -> dict[str, Any]:
    about = found.decision
    status = about.status.value
    by = f" by {about.decided_by}" if about.decided_by else ""
    until = f", until {about.due_at:%Y-%m-%d %H:%M} UTC" if about.due_at else ""
    who = f"{about.gate.terms.deciders} may decide{until}"
    lines = [
        f"{_HEADLINES[found.kind]}: {about.tool}",
        f"{about.harness_id}, session {about.runtime_session_id}",
        f"{status}{by}" if found.kind is NoticeKind.CLOSED else f"{status}: {who}",
    ]
    if settings.arguments and (arguments := _short(found)) is not None:
        lines.append(json.dumps(arguments, ensure_ascii=False))
    # Names come from models and from tool servers: none may ping a channel or fake a link.
    safe = [line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in lines]
    return {"text": "\n".join([*safe, _url(found, settings)])}


def _short(found: NoticeRecord) -> dict[str, Any] | None:
    arguments = found.decision.arguments
    return arguments if len(json.dumps(arguments)) <= TOLD_ARGUMENTS else None


def _url(found: NoticeRecord, settings: WebhookSettings) -> str:
    return f"{settings.public_url}/everloop/v1/decisions/{found.decision.id}"
