"""From what a program asks of a harness to an invocation in the store."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace

from contracts.agents import Lineage
from contracts.errors import AwsError, ServiceError, invalid
from contracts.faults import Faults
from contracts.harness import OutputSpec, RunConfig
from contracts.ids import RUNTIME_SESSION_ID, HarnessArn, session_key
from contracts.messages import Message, TextBlock
from contracts.overrides import read_document
from contracts.records import HarnessRecord
from contracts.runs import AdmittedRun
from contracts.settings import Settings
from contracts.tool_config import object_schema
from contracts.tools import OUTPUT_TOOL
from everloop.runs import MAX_TEXT_BYTES, HarnessRun
from store import Store
from store.digests import digest
from store.references import find_version

DEFAULT_ACTOR = "default"
#: Of the digest in ids that are minted: 160 bits, and within the grammar of both ids.
_DIGEST_CHARACTERS = 40
#: Of an actor's name; it is stored with every invocation.
MAX_ACTOR_CHARACTERS = 1024


@dataclass(frozen=True)
class Asker:
    """Who asks.

    Attributes:
        workflow_id: the `RunHarness` workflow, which is told of the end.
        key: names the invocation, together with the workflow's id.
    """

    workflow_id: str
    key: str

    @property
    def minted(self) -> str:
        """An id that follows from these two."""
        text = f"{self.workflow_id}\0{self.key}"
        return f"run-{hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]}"


async def admit(
    store: Store,
    settings: Settings,
    run: HarnessRun,
    asker: Asker,
    lineage: Lineage | None = None,
    called_from: str | None = None,
    begins: bool = True,
) -> AdmittedRun:
    """Keep an invocation; when it was admitted before, find it.

    Args:
        store: keeps it.
        settings: how the process is configured.
        run: what is asked for.
        asker: who asks.
        lineage: where it comes from, when another harness asks.
        called_from: the session in which it asks.
        begins: whether it may begin now; one that began earlier is only found.

    Raises:
        ServiceError: the run is refused; the message names what is wrong.
    """
    _check(run)
    harness = await find_version(store, settings, run.harness, run.qualifier)
    arn = str(HarnessArn(settings.region, harness.account, harness.harness_id))
    session_id = run.session_id or asker.minted
    admitted = AdmittedRun(
        session=session_key(harness.account, harness.harness_id, session_id),
        session_id=session_id,
        invocation_id=asker.minted,
        harness_arn=arn,
        harness_version=harness.version,
    )
    known = await store.turns.invocation(admitted.session, admitted.invocation_id)
    if known is None and not begins:
        raise ServiceError(AwsError.NOT_FOUND, "its session was deleted")
    if known is None:
        config = _config(run, harness, arn, lineage)
        config_digest = await store.configs.put(config)
    else:
        # A repeated admission keeps what the first one fixed.
        config_digest = known.config_digest
        config = await store.configs.get(config_digest)
    await store.turns.admit(
        session=admitted.session,
        account=harness.account,
        harness_id=harness.harness_id,
        runtime_session_id=session_id,
        invocation_id=admitted.invocation_id,
        request_digest=digest(asdict(replace(run, key=None, deadline_s=None))),
        config_digest=config_digest,
        messages=(Message(role="user", blocks=(TextBlock(text=run.prompt),)),),
        reply_to=asker.workflow_id,
        actor_id=config.actor_id,
        called_from=called_from,
    )
    return replace(admitted, harness_version=config.harness_version)


def _check(run: HarnessRun) -> None:
    for member in fields(run):
        try:
            json.dumps(getattr(run, member.name), ensure_ascii=False, allow_nan=False).encode()
        except ValueError:
            # Python reads more as JSON than can be written.
            raise invalid(member.name, "must be Unicode text and finite numbers") from None
    if not run.prompt:
        raise invalid("prompt", "must hold text")
    if run.session_id is not None and not RUNTIME_SESSION_ID.fullmatch(run.session_id):
        raise invalid("session_id", f"must match {RUNTIME_SESSION_ID.pattern}")
    if run.actor_id is not None and not 1 <= len(run.actor_id) <= MAX_ACTOR_CHARACTERS:
        raise invalid("actor_id", f"must have 1 to {MAX_ACTOR_CHARACTERS} characters")
    if not 1 <= run.max_text_bytes <= MAX_TEXT_BYTES:
        raise invalid("max_text_bytes", f"must be from 1 to {MAX_TEXT_BYTES}")
    if run.timeout_s is not None and run.timeout_s <= 0:
        raise invalid("timeout", "must be more than nothing")


def _config(
    run: HarnessRun, harness: HarnessRecord, arn: str, lineage: Lineage | None
) -> RunConfig:
    config = RunConfig.merge(
        harness_arn=arn,
        harness_name=harness.name,
        harness_version=harness.version,
        actor_id=run.actor_id or DEFAULT_ACTOR,
        config=harness.config,
        overrides=read_document(run.overrides or {}, "overrides"),
        output=_output(run),
        lineage=lineage,
    )
    if config.output and any(tool.name == OUTPUT_TOOL for tool in config.config.tools):
        raise invalid("tools", f"a run with an output cannot have a tool named {OUTPUT_TOOL}")
    return config


def _output(run: HarnessRun) -> OutputSpec | None:
    if run.output_schema is None:
        return None
    faults = Faults()
    schema = object_schema(run.output_schema, "output", faults)
    faults.raise_if_any()
    assert schema is not None
    return OutputSpec(json_schema=schema)
