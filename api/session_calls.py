"""What calls beside turns have in common: whose session, and with which version of the harness."""

import re

from api.context import Context
from api.harness_view import harness_arn
from contracts.errors import AwsError, ServiceError, invalid
from contracts.harness import Overrides, RunConfig
from contracts.ids import HarnessArn, session_key
from contracts.own_arn import check_own
from store.references import find_served

#: `SessionId` of the service model, which the answer must fit; the request's has more room.
_SESSION_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-_]{32,99}")
#: Nobody in particular; only invocations have actors.
_ACTOR = "default"


def read_runtime_arn(text: str, context: Context) -> HarnessArn:
    """The harness that `agentRuntimeArn` names.

    Raises:
        ServiceError: ValidationException, it is no harness; those of `check_own`.
    """
    try:
        arn = HarnessArn.parse(text)
    except ValueError:
        raise invalid(
            "agentRuntimeArn", "must be the ARN of a harness; runtimes of their own are not served"
        ) from None
    check_own(arn, context.settings)
    return arn


def check_session_id(runtime_session_id: str, name: str = "runtimeSessionId") -> None:
    """Refuse what cannot name a session.

    Raises:
        ServiceError: ValidationException.
    """
    if not _SESSION_ID.fullmatch(runtime_session_id):
        raise invalid(
            name, "must have 33 to 100 letters, digits, - and _, beginning with letter or digit"
        )


async def fix_config(context: Context, harness_id: str, qualifier: str) -> tuple[str, RunConfig]:
    """What a call beside turns runs with: a version as it is, kept under its digest.

    Returns:
        The digest and the configuration.

    Raises:
        ServiceError: ResourceNotFoundException, there is no such harness or endpoint.
    """
    account, store = context.settings.account, context.store
    harness = await find_served(store, account, harness_id, qualifier)
    config = RunConfig.merge(
        harness_arn=harness_arn(harness, context.settings),
        harness_name=harness.name,
        harness_version=harness.version,
        actor_id=_ACTOR,
        config=harness.config,
        overrides=Overrides(),
    )
    return await store.configs.put(config), config


async def begin_session(context: Context, harness_id: str, runtime_session_id: str) -> str:
    """See that a session is there; its key.

    Raises:
        ServiceError: ValidationException.
    """
    check_session_id(runtime_session_id)
    account = context.settings.account
    key = session_key(account, harness_id, runtime_session_id)
    await context.store.hosts.begin_session(
        key, account=account, harness_id=harness_id, runtime_session_id=runtime_session_id
    )
    return key


async def known_session(context: Context, harness_id: str, runtime_session_id: str) -> str:
    """The key of a session that is there.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    key = session_key(context.settings.account, harness_id, runtime_session_id)
    if not await context.store.hosts.knows(key):
        raise ServiceError(
            AwsError.NOT_FOUND, f"Harness {harness_id} has no session {runtime_session_id}."
        )
    return key
