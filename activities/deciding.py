"""What the session workflow asks of the store about its decisions, as local activities.

Each is one transaction, and may run again after it committed.
"""

from dataclasses import replace

from temporalio import activity

from activities.context import session_key
from contracts.decisions import CastVote, Standing
from contracts.turn import Activity
from store import Store


class DecisionActivities:
    """Counts votes, applies deadlines, tells what waits."""

    def __init__(self, store: Store, *, shows: bool) -> None:
        """Work on a store.

        Args:
            store: has the decisions.
            shows: whether Temporal knows the search attributes of `activities.search_attributes`.
        """
        self._store = store
        self._shows = shows

    @activity.defn(name=Activity.COUNT_VOTE)
    async def count_vote(self, cast: CastVote) -> Standing:
        """Count a vote that is written down."""
        await self._store.decisions.count(session_key(), cast.decision_id, cast.vote_id)
        return await self._standing()

    @activity.defn(name=Activity.EXPIRE_DECISIONS)
    async def expire_decisions(self) -> Standing:
        """Do what deadlines that have passed say."""
        await self._store.decisions.expire(session_key())
        return await self._standing()

    @activity.defn(name=Activity.STANDING)
    async def standing(self) -> Standing:
        """How the session's decisions stand."""
        return await self._standing()

    async def _standing(self) -> Standing:
        found = await self._store.decisions.standing(session_key())
        return found if self._shows else replace(found, shown=None)
