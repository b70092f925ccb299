"""The search attributes of a parked session, by which Temporal's own UI finds what waits for whom.

They are set when a run parks and taken away when it goes on; a server that does not know them is
never asked to.
"""

from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from contracts import decisions
from contracts.decisions import WaitsFor

WAITING_FOR = SearchAttributeKey.for_keyword_list(decisions.WAITING_FOR)
WAITING_TOOLS = SearchAttributeKey.for_keyword_list(decisions.WAITING_TOOLS)


def show(waits: WaitsFor | None) -> None:
    """Set the attributes, or take them away when there is nothing to wait for.

    Args:
        waits: what the session waits for.
    """
    shown = workflow.info().typed_search_attributes
    if waits is None:
        if WAITING_FOR in shown:
            _upsert([WAITING_FOR.value_unset(), WAITING_TOOLS.value_unset()])
        return
    who, tools = list(waits.who), list(waits.tools)
    if (shown.get(WAITING_FOR), shown.get(WAITING_TOOLS)) != (who, tools):
        _upsert([WAITING_FOR.value_set(who), WAITING_TOOLS.value_set(tools)])


def _upsert(updates: Sequence[SearchAttributeUpdate[list[str]]]) -> None:
    workflow.upsert_search_attributes(updates)  # pyright: ignore[reportUnknownMemberType]
