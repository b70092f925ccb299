"""From a path under `/everloop/v1/` to its handler, and the handler's result as JSON."""

import json
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from starlette.responses import Response
from starlette.websockets import WebSocket

from api.context import Context
from api.errors import unknown_operation
from api.own import (
    approvals,
    browse,
    cancel,
    decisions,
    deletion,
    events,
    extensions,
    files,
    fork,
    inbox_page,
    notices,
    protected_resource,
    sessions,
    shell,
    snapshots,
    turn_files,
    usage,
)
from api.own.pages import from_browser
from api.own.request import PREFIX, OwnHandler, OwnRequest
from api.request import WireRequest
from contracts.decisions import Principal
from contracts.errors import AwsError, ServiceError


@dataclass(frozen=True)
class OwnRoute:
    """A path and who answers it.

    Attributes:
        name: what the access log calls it.
        method: the HTTP method.
        path: the path after the prefix; `{name}` stands for one segment.
        handler: makes the answer.
        page: makes it where a person looks on with a browser; None where that makes no difference.
    """

    name: str
    method: str
    path: str
    handler: OwnHandler
    page: OwnHandler | None = None


_SESSION = "harnesses/{harnessId}/sessions/{runtimeSessionId}"
_SNAPSHOT = f"{_SESSION}/snapshots/{{snapshotId}}"
_DECISION = "decisions/{decisionId}"
_INVOCATION = f"{_SESSION}/invocations/{{invocationId}}"

_ROUTES = (
    OwnRoute("HarnessUsage", "GET", "harnesses/{harnessId}/usage", usage.harness_usage),
    OwnRoute(
        "SessionUsage",
        "GET",
        "harnesses/{harnessId}/sessions/{runtimeSessionId}/usage",
        usage.session_usage,
    ),
    OwnRoute(
        "InvocationUsage",
        "GET",
        "harnesses/{harnessId}/sessions/{runtimeSessionId}/invocations/{invocationId}/usage",
        usage.invocation_usage,
    ),
    OwnRoute(
        "GetHarnessExtensions",
        "GET",
        "harnesses/{harnessId}/extensions",
        extensions.get_extensions,
    ),
    OwnRoute(
        "PutHarnessExtensions",
        "PUT",
        "harnesses/{harnessId}/extensions",
        extensions.put_extensions,
    ),
    OwnRoute("ReadSessionFiles", "GET", f"{_SESSION}/files", files.read_files),
    OwnRoute("WriteSessionFile", "PUT", f"{_SESSION}/files", files.write_file),
    OwnRoute("ChangeSessionFiles", "POST", f"{_SESSION}/files", files.change_files),
    OwnRoute("DeleteSessionFile", "DELETE", f"{_SESSION}/files", files.delete_file),
    OwnRoute("CreateSnapshot", "POST", f"{_SESSION}/snapshots", snapshots.create_snapshot),
    OwnRoute("ListSnapshots", "GET", f"{_SESSION}/snapshots", snapshots.list_snapshots),
    OwnRoute("RestoreSnapshot", "POST", f"{_SNAPSHOT}/restore", snapshots.restore_snapshot),
    OwnRoute("DeleteSnapshot", "DELETE", _SNAPSHOT, snapshots.delete_snapshot),
    OwnRoute("BrowseSessionFiles", "GET", f"{_SESSION}/files/browse", browse.browse_files),
    OwnRoute(
        "HarnessProtectedResource",
        "GET",
        "harnesses/{harnessId}/oauth-protected-resource",
        protected_resource.protected_resource,
    ),
    OwnRoute("ListAccountSessions", "GET", "sessions", sessions.list_sessions),
    OwnRoute("ListSessions", "GET", "harnesses/{harnessId}/sessions", sessions.list_sessions),
    OwnRoute("GetSession", "GET", _SESSION, sessions.get_session),
    OwnRoute("ListInvocations", "GET", f"{_SESSION}/invocations", sessions.list_invocations),
    OwnRoute("GetInvocation", "GET", _INVOCATION, sessions.get_invocation),
    OwnRoute("ListInvocationFiles", "GET", f"{_INVOCATION}/files", turn_files.list_turn_files),
    OwnRoute("ReadTranscript", "GET", f"{_SESSION}/transcript", sessions.read_transcript),
    OwnRoute("ExportSession", "GET", f"{_SESSION}/export", sessions.export_session),
    OwnRoute("DeleteSession", "DELETE", _SESSION, deletion.delete_session),
    OwnRoute("DeleteActor", "DELETE", "actors/{actorId}", deletion.delete_actor),
    OwnRoute("GetDeletion", "GET", "deletions/{deletionId}", deletion.get_deletion),
    OwnRoute("ForkSession", "POST", f"{_SESSION}/fork", fork.fork_session),
    OwnRoute("CancelInvocation", "POST", f"{_INVOCATION}/cancel", cancel.cancel_invocation),
    OwnRoute("SessionEvents", "GET", f"{_SESSION}/events", events.session_events),
    OwnRoute("InvocationStream", "GET", f"{_INVOCATION}/stream", events.invocation_stream),
    OwnRoute(
        "DryRunApprovals", "POST", "harnesses/{harnessId}/approvals/dry-run", approvals.dry_run
    ),
    OwnRoute("ListDecisions", "GET", "decisions", decisions.list_decisions, inbox_page.show_inbox),
    OwnRoute("GetDecision", "GET", _DECISION, decisions.get_decision, inbox_page.show_decision),
    OwnRoute(
        "CastVote", "POST", f"{_DECISION}/votes", decisions.cast_vote, inbox_page.vote_by_form
    ),
    OwnRoute("ListNotices", "GET", "notices", notices.list_notices),
)
_SHELL: str = f"{_SESSION}/shell"


def is_own(raw_path: str) -> bool:
    """Whether a path is ours and not AWS's."""
    return raw_path.startswith(PREFIX)


async def answer_own(
    context: Context, wire: WireRequest, principal: Principal
) -> tuple[str, Response]:
    """Answer a request to one of our own paths, which `principal` sends.

    Returns:
        The route's name for the log, and the answer.

    Raises:
        ServiceError: as the handler says.
    """
    segments = wire.raw_path.removeprefix(PREFIX).split("/")
    for route in _ROUTES:
        labels = _labels(route.path.split("/"), segments)
        if labels is not None and route.method == wire.method:
            request = OwnRequest(
                labels,
                dict(wire.query),
                wire.headers,
                wire.body,
                scheme=wire.scheme,
                principal=principal,
            )
            handler = route.page if route.page and from_browser(request) else route.handler
            result = await handler(context, request)
            if isinstance(result, Response):
                return route.name, result
            body = json.dumps(result, default=_plain).encode()
            return route.name, Response(body, media_type="application/json")
    unknown = unknown_operation(wire.method, wire.raw_path[:200])
    return "-", Response(unknown.body, unknown.status, unknown.headers)


async def answer_socket(context: Context, wire: WireRequest, socket: WebSocket) -> str:
    """Serve a WebSocket at one of our own paths.

    Returns:
        The route's name for the log.

    Raises:
        ServiceError: before it was accepted, as the handler says.
    """
    segments = wire.raw_path.removeprefix(PREFIX).split("/")
    template: list[str] = _SHELL.split("/")
    labels = _labels(template, segments) if is_own(wire.raw_path) else None
    if labels is None:
        raise ServiceError(AwsError.NOT_FOUND, "There is no WebSocket at this path.")
    request = OwnRequest(labels, dict(wire.query), wire.headers)
    await shell.show_shell(context, request, socket)
    return "SessionShell"


def _labels(template: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    labels: dict[str, str] = {}
    for expected, given in zip(template, segments, strict=True):
        if expected.startswith("{"):
            labels[expected[1:-1]] = unquote(given)
        elif expected != given:
            return None
    return labels


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"not JSON: {type(value).__name__}")
