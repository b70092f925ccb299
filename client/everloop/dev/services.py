"""Everloop's own processes: what is started, in which environment, and when it is ready."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from everloop.dev import ports, probes, temporal
from everloop.dev.credentials import ACCESS_KEY_ID, CREDENTIAL_VARIABLES
from everloop.dev.layout import DataDir
from everloop.dev.spec import ProcessSpec, TaskSpec
from everloop.runs import DEV_ENDPOINT, TASK_QUEUE

MIGRATE = "migrate"
NEXUS_ENDPOINT = "nexus-endpoint"
TEMPORAL = "temporal"
DEMO_MODEL = "demo-model"
SANDBOX_HOST = "sandbox-host"
WORKER = "worker"
API = "api"

#: Holds the vault's key ring, when it is not in a file.
KEYRING_VARIABLE = "EVERLOOP_KEYRING"

#: Of the receivers of notices, which only the worker writes to.
NOTICE_VARIABLES = ("EVERLOOP_WEBHOOK_", "EVERLOOP_SMTP_", "EVERLOOP_EMAIL_")

#: Variables that would change how Temporal runs; its server would trace itself by OTEL_*.
_NOT_TEMPORALS = ("TEMPORAL_", "OTEL_")

#: Seconds for a step in flight to end; who stops `everloop dev` waits for it, and what is cut short
#: is retried.
SHUTDOWN_S = 5
#: Seconds until a process that lets work end is killed when told to stop: its shutdown and room.
STOP_S = SHUTDOWN_S + 5.0


@dataclass(frozen=True)
class Plan:
    """What `everloop dev` runs."""

    tasks: tuple[TaskSpec, ...]
    processes: tuple[ProcessSpec, ...]


def addresses(chosen: Mapping[str, int]) -> dict[str, str]:
    """The address of every listener, by its name in `ports`: URLs, and host:port for Temporal."""
    return {
        ports.API: f"http://{ports.LOOPBACK}:{chosen[ports.API]}",
        ports.TEMPORAL: f"{ports.LOOPBACK}:{chosen[ports.TEMPORAL]}",
        ports.TEMPORAL_UI: f"http://{ports.LOOPBACK}:{chosen[ports.TEMPORAL_UI]}",
        ports.DEMO_MODEL: f"http://{ports.LOOPBACK}:{chosen[ports.DEMO_MODEL]}/v1",
    }


def plan(
    data: DataDir,
    chosen: Mapping[str, int],
    *,
    region: str,
    temporal_binary: str,
    env: Mapping[str, str],
) -> Plan:
    """Describe every process.

    Args:
        data: where state is kept.
        chosen: ports by listener name.
        region: the region in ARNs.
        temporal_binary: the `temporal` to run.
        env: the environment to hand on, for PATH, provider keys and the like.
    """
    where = addresses(chosen)
    workers = {
        "EVERLOOP_SHUTDOWN_S": str(SHUTDOWN_S),
        # The person's own keys are at hand, and the service model wants an ARN all the same.
        "EVERLOOP_KEYS_FROM_ENV": "1",
        **_server_environment(env),
    } | {
        "EVERLOOP_DATA_DIR": str(data.root),
        "EVERLOOP_TEMPORAL_ADDRESS": where[ports.TEMPORAL],
        "EVERLOOP_API_HOST": ports.LOOPBACK,
        "EVERLOOP_SIGNATURES": "any",
        "EVERLOOP_API_PORT": str(chosen[ports.API]),
        "EVERLOOP_REGION": region,
        "EVERLOOP_DEMO_MODEL_URL": where[ports.DEMO_MODEL],
        "PYTHONUNBUFFERED": "1",
    }
    ours = {n: value for n, value in workers.items() if not n.startswith(NOTICE_VARIABLES)}
    # Only the API, the worker and the egress proxy of the sandbox host open secrets.
    keyless = {name: value for name, value in ours.items() if name != KEYRING_VARIABLE}
    plain = {
        name: value
        for name, value in env.items()
        if not name.startswith((*_NOT_TEMPORALS, *NOTICE_VARIABLES)) and name != KEYRING_VARIABLE
    }

    def module(*words: str) -> tuple[str, ...]:
        # -P: a directory called `api` or `store` where the user stands must not be imported.
        return (sys.executable, "-P", "-m", *words)

    return Plan(
        tasks=(
            TaskSpec(MIGRATE, module("store.migrate"), keyless, data.log(MIGRATE)),
            TaskSpec(
                NEXUS_ENDPOINT,
                temporal.nexus_endpoint(
                    temporal_binary,
                    DEV_ENDPOINT,
                    port=chosen[ports.TEMPORAL],
                    task_queue=TASK_QUEUE,
                ),
                plain,
                data.log(NEXUS_ENDPOINT),
                after=(TEMPORAL,),
            ),
        ),
        processes=(
            ProcessSpec(
                TEMPORAL,
                temporal.dev_server(
                    temporal_binary,
                    data,
                    port=chosen[ports.TEMPORAL],
                    ui_port=chosen[ports.TEMPORAL_UI],
                ),
                plain,
                data.log(TEMPORAL),
                probes.serves_temporal(temporal_binary, chosen[ports.TEMPORAL], plain),
                address=where[ports.TEMPORAL],
            ),
            ProcessSpec(
                DEMO_MODEL,
                module("activities.model.demo", "--port", str(chosen[ports.DEMO_MODEL])),
                keyless,
                data.log(DEMO_MODEL),
                probes.listens(chosen[ports.DEMO_MODEL]),
                address=where[ports.DEMO_MODEL],
            ),
            ProcessSpec(
                SANDBOX_HOST,
                module("worker", "sandbox-host"),
                ours,
                data.log(SANDBOX_HOST),
                probes.wrote_pid(data.ready_file(SANDBOX_HOST)),
                after=(MIGRATE, TEMPORAL),
                stop_s=STOP_S,
                ready_file=data.ready_file(SANDBOX_HOST),
            ),
            ProcessSpec(
                WORKER,
                module("worker"),
                workers,
                data.log(WORKER),
                probes.wrote_pid(data.ready_file(WORKER)),
                after=(MIGRATE, TEMPORAL),
                stop_s=STOP_S,
                ready_file=data.ready_file(WORKER),
            ),
            ProcessSpec(
                API,
                module("api"),
                ours,
                data.log(API),
                probes.answers_ping(chosen[ports.API]),
                after=(MIGRATE, TEMPORAL),
                address=where[ports.API],
                stop_s=STOP_S,
            ),
        ),
    )


def _server_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for our processes: the user's, without what belongs to our own callers.

    A shell that evaluated `everloop env` holds our development credentials, which would hide the
    user's own from a worker that calls Bedrock.
    """
    dropped = CREDENTIAL_VARIABLES if env.get("AWS_ACCESS_KEY_ID") == ACCESS_KEY_ID else ()
    return {name: value for name, value in env.items() if name not in dropped}
