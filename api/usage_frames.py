"""Usage with money within a stream, for callers who ask for it.

AWS's `metadata` has tokens only and its members are fixed. So money comes in an event of its own:
behind the `metadata` of each model call, and at the end for the invocation and for its session.
"""

from collections.abc import Mapping

from api.frames import Frame, everloop_usage
from api.usage_view import show_call, show_usage
from contracts.errors import invalid
from contracts.usage import Usage
from store import Store

USAGE_HEADER = "x-everloop-usage"


def wants_usage(headers: Mapping[str, str]) -> bool:
    """Whether a caller asks for usage in the stream.

    Raises:
        ServiceError: ValidationException naming the header.
    """
    choice = headers.get(USAGE_HEADER, "omit")
    if choice not in ("include", "omit"):
        raise invalid(USAGE_HEADER, "must be include or omit")
    return choice == "include"


async def of_call(store: Store, session: str, invocation_id: str, step: int) -> list[Frame]:
    """What follows the `metadata` of a model call."""
    call = await store.usage.call(session, invocation_id, step)
    if call is None:
        return []
    told = show_call(call)
    return [everloop_usage("modelCall", {**told, "endedAt": call.at.isoformat()})]


async def of_end(store: Store, session: str, invocation_id: str) -> list[Frame]:
    """What comes last, before an error that ends the stream."""
    calls = await store.usage.calls(session, invocation_id)
    models = await store.usage.of_session(session)
    invocation = Usage.total(each.usage for each in calls)
    whole = Usage.total(each.usage for each in models)
    return [
        everloop_usage("invocation", {"usage": show_usage(invocation)}),
        everloop_usage("session", {"usage": show_usage(whole)}),
    ]
