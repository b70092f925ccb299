"""The worker process: what runs workflows and activities, and on which task queues.

`python -m worker` serves the main task queue: the workflows, the store's transactions and the
model. `python -m worker sandbox-host` serves the queue of this machine's sandbox host: the
tools that run in environments it owns. Both take `EVERLOOP_*` variables and stop on SIGTERM.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.deciding import DecisionActivities
from activities.deletion import DeletionActivities
from activities.model import gateway
from activities.model.call import ModelCalls
from activities.model.warm import warm
from activities.notices import NoticeActivities, keep_notifying
from activities.parked import knows_attributes, push_owed
from activities.provisioning import ProvisioningActivities
from activities.retention import schedule_retention
from activities.rollout import deployment, promote
from activities.runs import AgentActivities, HarnessHandler, RunActivities
from activities.sweep import keep_sweeping
from activities.temporal import connect
from activities.tools.before_call import BeforeCalls
from activities.tools.catalog import ToolCatalog
from activities.tools.quick import QuickCalls
from activities.tools.runner import CallRunner, environment_spec
from activities.tools.sandbox import SandboxTools
from activities.tracing import Traces, open_exporter
from activities.turns import TurnActivities
from contracts.errors import EnvironmentUnavailable, invalid
from contracts.ids import sandbox_queue
from contracts.settings import Settings
from contracts.turn import TASK_QUEUE
from contracts.vault import ApiKeyProviderArn
from environments.bubblewrap import Bubblewrap
from environments.egress import EgressProxy
from environments.engines import make_provider
from environments.host import SandboxHost
from environments.provider import EnvironmentProvider
from environments.shared_volumes import volumes_of
from environments.snapshot_work import SnapshotWork
from environments.turn_files import TurnFilesWatch
from store import Store, ring_of
from workflows.deletion import DeleteActor, DeleteSession
from workflows.mailbox import HarnessMailbox
from workflows.notices import DeliverNotice
from workflows.provisioning import Provisioning
from workflows.retention import Retention
from workflows.run_agent import RunAgent
from workflows.run_harness import RunHarness
from workflows.session import HarnessSession

#: A session cached on a dead worker is taken up elsewhere after this long; the SDK's 10 s is the
#: largest part of a recovery.
STICKY_TIMEOUT = timedelta(seconds=1)

#: Heartbeats are sent every second; the SDK would hold them back to 80 % of the time-out.
HEARTBEAT_THROTTLE = timedelta(seconds=1)

#: Values and types only, so the sandbox need not load them anew for every workflow.
PASSTHROUGH = SandboxRestrictions.default.with_passthrough_modules(
    "contracts", "everloop", "pydantic", "pydantic_core", "annotated_types"
)


async def serve_sessions(settings: Settings, stop: asyncio.Event) -> None:
    """Serve the main task queue until told to stop.

    Args:
        settings: how the process is configured.
        stop: set to end it.
    """
    exporter = open_exporter(os.environ)
    warming = asyncio.create_task(_warm())
    client = await connect(settings, stop)
    if client is None:
        return
    store = await Store.open(settings.database_url, ring_of(settings))
    traces = Traces(store, exporter)
    quick = QuickCalls(store)
    try:
        turns = TurnActivities(store, traces)
        decisions = DecisionActivities(store, shows=await knows_attributes(client))
        provisioning = ProvisioningActivities(store)
        deletions = DeletionActivities(store, client, settings)
        catalog = ToolCatalog(store, settings.host_id)
        models = ModelCalls(store, settings, catalog, traces=traces)
        runs = RunActivities(store, settings, client)
        notices = NoticeActivities(store, settings.webhook, settings.email)
        agents = AgentActivities(store, settings)
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[
                HarnessSession,
                RunHarness,
                RunAgent,
                HarnessMailbox,
                Provisioning,
                DeleteSession,
                DeleteActor,
                Retention,
                DeliverNotice,
            ],
            activities=[
                turns.open_turn,
                turns.hand_over,
                turns.find_host,
                turns.give_up_call,
                turns.close_turn,
                turns.turn_waits,
                decisions.count_vote,
                decisions.expire_decisions,
                decisions.standing,
                models.call_model,
                quick.run_quickly,
                runs.admit_run,
                runs.deliver_run,
                runs.read_run,
                runs.run_is_alive,
                runs.stop_run,
                agents.admit_agent,
                agents.finish_agent,
                provisioning.settle,
                provisioning.find_sessions,
                provisioning.end_session,
                provisioning.finish_delete,
                deletions.end_runs,
                deletions.delete_rows,
                deletions.delete_executions,
                deletions.complete_deletion,
                deletions.claim_sessions,
                deletions.claim_agents,
                deletions.expire,
                notices.deliver_notice,
                notices.give_up_notice,
            ],
            nexus_service_handlers=[HarnessHandler()],
            deployment_config=deployment(settings.build_id),
            workflow_runner=SandboxedWorkflowRunner(restrictions=PASSTHROUGH),
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
            default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
            graceful_shutdown_timeout=timedelta(seconds=settings.shutdown_s),
        )
        async with worker:
            if settings.build_id is not None and settings.promote:
                await promote(client, settings.build_id)
            _announce(settings, "worker")
            beside = [
                asyncio.create_task(keep_sweeping(store, client)),
                asyncio.create_task(schedule_retention(client)),
                asyncio.create_task(push_owed(client, store, settings)),
                asyncio.create_task(
                    keep_notifying(store, client, settings.webhook, settings.email)
                ),
            ]
            await stop.wait()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
    finally:
        await warming
        await gateway.close()
        await quick.close()
        if exporter is not None:
            await exporter.close()
        await store.close()


async def serve_environments(settings: Settings, stop: asyncio.Event) -> None:
    """Own this machine's environments and run their tools until told to stop.

    Environments outlive it when it is killed, and where something runs in them.

    Args:
        settings: how the process is configured.
        stop: set to end it.
    """
    # Late: a worker of sessions needs no server.
    from environments.endpoint import HostEndpoint

    exporter = open_exporter(os.environ)
    client = await connect(settings, stop)
    if client is None:
        return
    store = await Store.open(settings.database_url, ring_of(settings))
    traces = Traces(store, exporter)
    proxy = EgressProxy(partial(_egress_secret, store, settings))
    owner = await store.environments.owner(settings.host_id)
    provider = make_provider(settings, proxy, owner)
    host = SandboxHost(
        store,
        data_dir=settings.data_dir,
        host_id=settings.host_id,
        provider=provider,
        settings=settings.sandbox,
        shares=await volumes_of(settings, provider),
    )
    try:
        async with host:
            await _describe(settings, provider)
            files, snapshots = TurnFilesWatch(store, host), SnapshotWork(host)
            runner = CallRunner(store, host, traces, BeforeCalls(store, files, snapshots))
            tools = SandboxTools(runner, host)
            worker = Worker(
                client,
                task_queue=sandbox_queue(settings.host_id),
                activities=[tools.run_tool, tools.drop_environment],
                max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
                default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
                graceful_shutdown_timeout=timedelta(seconds=settings.shutdown_s),
            )
            endpoint = HostEndpoint(
                store,
                host,
                settings,
                spec_of=environment_spec,
                finish_call=runner.finish,
                snapshots=snapshots,
            )
            async with files, worker, endpoint:
                _announce(settings, "sandbox-host")
                await _either(stop, host.lost)
            await runner.close()
            if not host.lost.is_set():
                await host.stop_unused()
    finally:
        if exporter is not None:
            await exporter.close()
        await proxy.close_all()
        await store.close()


async def _either(*events: asyncio.Event) -> None:
    """Wait for the first of several events."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _egress_secret(store: Store, settings: Settings, text: str) -> str:
    """The value that the egress proxy adds to requests; it never enters a sandbox.

    Raises:
        EverloopError: there is none, or it is another account's.
    """
    arn = ApiKeyProviderArn.parse(text)
    if arn.account != settings.account:
        raise invalid("apiKeyArn", f"{arn} belongs to another account")
    return await store.api_keys.reveal(arn)


async def _describe(settings: Settings, provider: EnvironmentProvider) -> None:
    """Write down what isolates environments here, for `everloop status` and for the log."""
    found = {"sandbox": provider.name} | provider.described()
    if isinstance(provider, Bubblewrap):
        # Of this machine, and quickly tried; an engine may be away for a while.
        try:
            await provider.probe()
        except EnvironmentUnavailable as error:
            found = {"sandbox": f"none: {error}"}
    logging.getLogger(__name__).info("isolation: %s", found)
    _write(settings, "isolation", found)


async def _warm() -> None:
    try:
        await warm()
    except Exception:
        # The first turn meets the same trouble and tells its caller; this is for the operator.
        logging.getLogger(__name__).exception("the model gateway could not be warmed")


def _announce(settings: Settings, name: str) -> None:
    _write(settings, name, {"pid": os.getpid()})


def _write(settings: Settings, name: str, value: Mapping[str, object]) -> None:
    run = settings.data_dir / "run"
    run.mkdir(parents=True, exist_ok=True)
    path = run / f"{name}.json"
    fresh = Path(f"{path}.{os.getpid()}")
    fresh.write_text(json.dumps(value))
    fresh.replace(path)


async def _run(role: str, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if role == "promote":
        await _promote(settings, stop)
        return
    serve = serve_environments if role == "sandbox-host" else serve_sessions
    await serve(settings, stop)


async def _promote(settings: Settings, stop: asyncio.Event) -> None:
    if settings.build_id is None:
        raise SystemExit("promote: EVERLOOP_BUILD_ID must name the build")
    client = await connect(settings, stop)
    if client is not None:
        await promote(client, settings.build_id)


def main() -> None:
    """Run a worker process; the command line names its role."""
    parser = argparse.ArgumentParser(
        prog="everloop-worker", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "role", nargs="?", choices=("sessions", "sandbox-host", "promote"), default="sessions"
    )
    role = parser.parse_args().role
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_run(role, Settings.from_env(os.environ)))


if __name__ == "__main__":
    main()
