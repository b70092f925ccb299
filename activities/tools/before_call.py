"""What the sandbox host does before a tool call runs: notes files, makes a snapshot by a rule."""

import hashlib
import logging

from activities.tools import file_operations
from activities.tools.outcome import Outcome
from activities.tools.schemas import BUILTIN_TOOLS, FILE_OPERATIONS
from contracts.errors import EnvironmentUnavailable, ServiceError
from contracts.messages import ToolStatus
from contracts.records import CallRecord
from contracts.snapshot_rules import SnapshotRules
from contracts.tools import CallState
from environments.snapshot_work import SnapshotWork
from environments.turn_files import TurnFilesWatch
from store import Store

log = logging.getLogger(__name__)

_NOT_RUN = (
    "Error: the call was not run: the rules of this harness want a snapshot of the session's files "
    "before it, and none could be made: {why}"
)


class BeforeCalls:
    """Watches the files of turns, and makes snapshots when rules ask for them."""

    def __init__(self, store: Store, watch: TurnFilesWatch, work: SnapshotWork) -> None:
        """Do nothing yet.

        Args:
            store: keeps which snapshot was made before which call.
            watch: lists what calls do to files.
            work: makes snapshots.
        """
        self._store = store
        self._watch = watch
        self._work = work

    async def begin(
        self, session: str, invocation_id: str, record: CallRecord, rules: SnapshotRules | None
    ) -> Outcome | None:
        """See to what must be done before a call runs, once, however often it is tried.

        Args:
            session: the session's key.
            invocation_id: the invocation that runs the call.
            record: the call.
            rules: of its harness.

        Returns:
            The call's outcome, when it must not run.
        """
        if only_reads(record):
            return None
        await self._watch.before(session, invocation_id)
        if rules is None or record.state is not CallState.REQUESTED:
            return None
        spec = next((each for each in BUILTIN_TOOLS if each.name == record.name), None)
        rule = None if spec is None else rules.selecting(spec, record.input)
        if rule is None:
            return None
        digest = hashlib.sha256(f"{session} before {record.id}".encode()).hexdigest()
        id = f"snap-{digest[:32]}"
        label = rule.name or f"before {record.name}"
        try:
            await self._work.before_call(session, record.id, id, label, rules.keep)
        except ServiceError as error:
            return Outcome(ToolStatus.ERROR, _NOT_RUN.format(why=error.detail.message))
        except EnvironmentUnavailable as error:
            return Outcome(ToolStatus.ERROR, _NOT_RUN.format(why=error))
        log.info("snapshot %s was made before the call %s of %s", id, record.id, session)
        await self._store.calls.note_snapshot(session, record.id, id)
        return None

    def end(self, session: str, invocation_id: str) -> None:
        """A call of an invocation has ended."""
        self._watch.after(session, invocation_id)


def only_reads(record: CallRecord) -> bool:
    """Whether a call changes nothing, and may be done again."""
    return record.name == FILE_OPERATIONS.name and file_operations.only_reads(record.input)
