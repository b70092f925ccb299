"""Which authorizer a call of InvokeHarness must satisfy, and whom its caller may speak for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.caller import Caller
from api.invocation_id import given_invocation_id
from api.request import WireRequest
from contracts.authorizer import JwtAuthorizer
from contracts.errors import AwsError, ServiceError
from contracts.harness import HarnessConfig
from contracts.ids import HarnessArn, session_key
from contracts.records import DEFAULT_ENDPOINT
from contracts.settings import Settings
from store import Store

_SESSION_HEADER = "x-amzn-bedrock-agentcore-runtime-session-id"
_USER_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-User-Id"


@dataclass(frozen=True)
class Target:
    """What a call of InvokeHarness is sent to.

    Attributes:
        arn: the harness.
        qualifier: the endpoint.
        runtime_session_id: the session; empty when none is named.
        invocation_id: the invocation; empty when none is named.
    """

    arn: HarnessArn
    qualifier: str
    runtime_session_id: str
    invocation_id: str

    @classmethod
    def of(cls, request: WireRequest) -> "Target | None":
        """The target of a request; None when it names no harness, or more than one thing."""
        named = [value for name, value in request.query if name == "harnessArn"]
        qualifiers = [value for name, value in request.query if name == "qualifier"]
        if len(named) != 1 or len(qualifiers) > 1:
            return None
        try:
            arn = HarnessArn.parse(named[0])
        except ValueError:
            return None
        headers = request.headers
        invocation = given_invocation_id(headers)
        qualifier = qualifiers[0] if qualifiers else DEFAULT_ENDPOINT
        return cls(arn, qualifier, headers.get(_SESSION_HEADER, ""), invocation)

    @property
    def admitted_to(self) -> tuple[str, str]:
        """`Caller.admitted_to` of who was let in here."""
        return str(self.arn), self.qualifier


async def authorizer_of(store: Store, settings: Settings, target: Target) -> JwtAuthorizer | None:
    """The authorizer that a target has; None also when there is no such harness here."""
    if (target.arn.account, target.arn.region) != (settings.account, settings.region):
        return None
    config = await _config(store, target) or await _repeated(store, target)
    return authorizer_in(config) if config else None


def authorizer_in(config: HarnessConfig) -> JwtAuthorizer | None:
    """The authorizer of a harness's version."""
    found = config.authorizer_configuration
    return found.custom_jwt_authorizer if found else None


def check_method(caller: Caller, target: Target, authorizer: JwtAuthorizer | None) -> None:
    """Refuse who came by another way than the harness takes.

    Raises:
        ServiceError: AccessDeniedException, in AWS's words.
    """
    if caller.admitted_to != (target.admitted_to if authorizer else None):
        raise mismatch()


def with_user(caller: Caller, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the user that a token speaks for.

    Raises:
        ServiceError: AccessDeniedException: the caller names somebody else.
    """
    if caller.admitted_to is None:
        return dict(params)
    named = params.get("runtimeUserId")
    if named is not None and named != caller.subject:
        raise ServiceError(
            AwsError.ACCESS_DENIED,
            f"{_USER_HEADER} names another user than the token's subject; leave it out.",
        )
    return dict(params) if caller.subject is None else {**params, "runtimeUserId": caller.subject}


def mismatch() -> ServiceError:
    """The refusal of a signature where a token is taken, and the reverse."""
    return ServiceError(
        AwsError.ACCESS_DENIED,
        "Authorization method mismatch. The agent is configured for a different authorization "
        "method than what was used in your request. Check the agent's authorization configuration "
        "and ensure your request uses the matching method (OAuth or SigV4)",
    )


async def _config(store: Store, target: Target) -> HarnessConfig | None:
    account, harness_id = target.arn.account, target.arn.harness_id
    try:
        return (await store.harnesses.serving(account, harness_id, target.qualifier)).config
    except ServiceError as error:
        if error.detail.error is AwsError.NOT_FOUND:
            return None
        if error.detail.error is not AwsError.THROTTLING:
            raise
    # It is being created. Nobody has to wait to be told that he is not let in.
    return (await store.harnesses.get(account, harness_id)).config


async def _repeated(store: Store, target: Target) -> HarnessConfig | None:
    """What a repeated call ran with, whose harness is gone since."""
    arn = target.arn
    session = session_key(arn.account, arn.harness_id, target.runtime_session_id)
    known = await store.turns.invocation(session, target.invocation_id)
    return (await store.configs.get(known.config_digest)).config if known else None
