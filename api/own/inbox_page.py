"""The inbox as pages: what waits for people, one decision with what was said before it, a vote.

They are what a browser gets where a program gets JSON, at the same paths, so that the address in a
notice can be followed. A form names who votes, as headers do where any signature is accepted; a
browser cannot sign, so that there are no forms elsewhere.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.responses import RedirectResponse, Response

from api.context import Context
from api.errors import error_answer
from api.gate import verifies
from api.own import decisions
from api.own.pages import page
from api.own.request import PREFIX, OwnRequest
from api.own.show import show_message
from api.principal import named_principal
from contracts.decisions import DecisionStatus, Principal
from contracts.errors import AwsError, ServiceError, invalid

#: Messages before the call, and characters of each of their parts, that a decision's page shows.
MESSAGES = 12
PART_CHARACTERS = 4000
#: Characters of a call's arguments in the list.
LINE_CHARACTERS = 400
#: Fields of a form; the page has seven.
MAX_FIELDS = 20
#: What the page's own address says, beside what the list is asked.
_WHO = ("user", "roles")


async def show_inbox(context: Context, request: OwnRequest) -> Response:
    """The page of decisions of a status, which looks again by itself while they are open.

    Raises:
        ServiceError: as `decisions.list_decisions`.
    """
    _expect_open(context)
    asked = {name: value for name, value in request.query.items() if name not in _WHO}
    principal = _principal(request.query)
    told = await decisions.list_decisions(
        context, replace(request, query=asked, principal=principal)
    )
    who = _who(principal)
    after = told.get("nextToken")
    return page(
        "inbox",
        decisions=[{**each, "line": _line(each["arguments"])} for each in told["decisions"]],
        status=asked.get("status", DecisionStatus.OPEN.value),
        statuses=[each.value for each in DecisionStatus],
        mine=asked.get("mine") == "true",
        more=f"?{urlencode({**asked, 'nextToken': after})}&{who}" if after else None,
        **_fields(principal),
    )


async def show_decision(context: Context, request: OwnRequest) -> Response:
    """The page of one decision.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException.
    """
    _expect_open(context)
    return await _decision_page(context, request, _principal(request.query))


async def vote_by_form(context: Context, request: OwnRequest) -> Response:
    """Vote as the form says, and lead back to the decision; a refusal is shown above the form.

    Raises:
        ServiceError: ValidationException for a form that no page of ours has; AccessDeniedException
            where signatures are verified.
    """
    _expect_open(context)
    form = _read_form(request.body)
    principal = _principal(form)
    try:
        body = await _vote(context, request, form)
        vote = replace(request, body=json.dumps(body).encode(), principal=principal)
        await decisions.cast_vote(context, vote)
    except ServiceError as error:
        return await _decision_page(context, request, principal, form, error)
    decision_id = quote(request.labels["decisionId"], safe="")
    return RedirectResponse(f"{PREFIX}decisions/{decision_id}?{_who(principal)}", 303)


async def _decision_page(
    context: Context,
    request: OwnRequest,
    principal: Principal,
    form: Mapping[str, str] | None = None,
    refusal: ServiceError | None = None,
) -> Response:
    told = (await decisions.get_decision(context, request))["decision"]
    votes = [{**each, "shown": _voted(each)} for each in told["votes"]]
    edited = told["proposedArguments"] != told["arguments"]
    arguments = _pretty(told["arguments"])
    session = (
        f"{PREFIX}harnesses/{quote(told['harnessId'], safe='')}"
        f"/sessions/{quote(told['runtimeSessionId'], safe='')}"
    )
    return page(
        "decision",
        code=200 if refusal is None else error_answer(refusal.detail, None).status,
        decision={**told, "votes": votes},
        deciders=_names(told.get("deciders")),
        escalates_to="escalateTo" in told and _names(told["escalateTo"]["deciders"]),
        proposed=_pretty(told["proposedArguments"]) if edited else None,
        arguments=arguments,
        answers=told["runBy"] == "caller" and told["required"] == 1,
        files=f"{session}/files/browse",
        form={"arguments": arguments, "answer": "", "reason": "", **(form or {})},
        vote_id=str(uuid.uuid4()),
        refusal=refusal and refusal.detail.message,
        messages=await _said_before(context, told["decisionId"]),
        **_fields(principal),
    )


def _names(deciders: dict[str, list[str]] | None) -> str:
    given = deciders or {"users": [], "roles": []}
    names = [*given["users"], *(f"role {each}" for each in given["roles"])]
    return ", ".join(names) or "anybody"


def _voted(vote: dict[str, Any]) -> str | None:
    """What a vote says beside its reason: edited arguments, an answer, or why it did not count."""
    said = None if vote["arguments"] is None else _pretty(vote["arguments"])
    return said or vote["answer"] or vote["refusal"]


async def _vote(context: Context, request: OwnRequest, form: Mapping[str, str]) -> dict[str, Any]:
    """The body of the vote that a form stands for; arguments only when they were edited."""
    body: dict[str, Any] = {
        name: form[name] for name in ("decision", "digest", "voteId") if name in form
    }
    if form.get("reason"):
        body["reason"] = form["reason"]
    if form.get("decision") == "answer":
        body["answer"] = form.get("answer", "")
    if form.get("decision") == "approve" and "arguments" in form:
        told = (await decisions.get_decision(context, request))["decision"]
        try:
            edited = json.loads(form["arguments"])
        except ValueError as error:
            raise invalid("arguments", f"must be JSON: {error}") from None
        if edited != told["arguments"]:
            body["arguments"] = edited
    return body


async def _said_before(context: Context, decision_id: str) -> list[dict[str, Any]]:
    found = await context.store.decisions.get(context.settings.account, decision_id)
    newest = (await context.store.sessions.get(found.session)).messages
    entries = await context.store.sessions.transcript(
        found.session, after_seq=max(newest - MESSAGES, 0), limit=MESSAGES
    )
    shown = [show_message(entry.message) for entry in entries]
    return [
        {"role": each["role"], "parts": [_short(_part(block)) for block in each["content"]]}
        for each in shown
    ]


def _part(block: dict[str, Any]) -> str:
    match block:
        case {"text": text}:
            return text
        case {"toolUse": use}:
            return f"{use['name']} {_pretty(use['input'])}"
        case {"toolResult": result}:
            return "\n".join(each["text"] for each in result["content"])
        case {"reasoningContent": {"reasoningText": {"text": text}}}:
            return f"({text})"
        case _:
            return "(thoughts that only the provider can read)"


def _short(text: str, most: int = PART_CHARACTERS) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def _line(arguments: Any) -> str:
    """A call's arguments in one line; long ones are left out of the list as it comes."""
    if arguments is None:
        return "..."
    return _short(json.dumps(arguments, ensure_ascii=False), LINE_CHARACTERS)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _expect_open(context: Context) -> None:
    if verifies(context.settings):
        raise ServiceError(
            AwsError.ACCESS_DENIED,
            "Pages are served where any signature is accepted; ask for application/json.",
        )


def _principal(given: Mapping[str, str]) -> Principal:
    """Who a query or a form says that looks on or votes."""
    return named_principal(given, *_WHO)


def _who(principal: Principal) -> str:
    return urlencode({"user": principal.user, "roles": ",".join(principal.roles)})


def _fields(principal: Principal) -> dict[str, Any]:
    roles = ",".join(principal.roles)
    inbox = f"{PREFIX}decisions"
    return {"user": principal.user, "roles": roles, "who": _who(principal), "inbox": inbox}


def _read_form(body: bytes) -> dict[str, str]:
    try:
        fields = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise invalid("body", f"is no form: {error}") from None
    # A browser ends the lines of a text field with two characters.
    return {name: value.replace("\r\n", "\n") for name, value in fields}
