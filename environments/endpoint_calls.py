"""What every call of a sandbox host's endpoint needs: whose it is, and its parameters."""

from starlette.requests import HTTPConnection

from contracts.errors import StaleAttempt, invalid
from environments.host import SandboxHost
from store import Store


async def session_of(call: HTTPConnection, store: Store, host: SandboxHost) -> str:
    """The session that a call names, which is this host's.

    Raises:
        StaleAttempt: its environment and files are on another host.
        ServiceError: there is no such session.
        EnvironmentUnavailable: the files that it begins with are gone.
    """
    session = text(call, "session")
    if await store.environments.assign(session, host.name) != host.name:
        raise StaleAttempt("the session's environment is on another sandbox host")
    await host.begin_files(session)
    return session


def text(call: HTTPConnection, name: str) -> str:
    """A parameter that must be given.

    Raises:
        ServiceError: ValidationException naming it.
    """
    value = call.query_params.get(name)
    if value is None:
        raise invalid(name, "is required")
    return value


def whole(call: HTTPConnection, name: str, default: int | None = None) -> int:
    """A parameter that is a whole number from 0.

    Raises:
        ServiceError: ValidationException naming it.
    """
    value = call.query_params.get(name)
    if value is None and default is not None:
        return default
    if value is None or not value.isdecimal():
        raise invalid(name, "must be a whole number")
    return int(value)
