"""Harnesses and their versions on the control plane: create, get, list, update, delete."""

from collections.abc import Mapping
from typing import Any

from api.authorizer_config import check_reach
from api.context import Call, Context
from api.digest import request_digest
from api.environment_config import Installation
from api.gate import verifies
from api.harness_config import read_config, read_update
from api.harness_view import show_harness, show_summary, show_version
from api.own.extensions import extended, read_extensions
from api.tags import check_tags
from contracts.extensions import HarnessExtensions
from contracts.harness import HarnessConfig

#: AWS documents no default for `maxResults`; its greatest value is 100.
DEFAULT_PAGE = 50


async def create_harness(context: Context, call: Call) -> Mapping[str, Any]:
    """`CreateHarness`: version 1, CREATING until its workflow has made it READY."""
    tags = call.params.get("tags", {})
    check_tags(tags)
    extensions = read_extensions(call.headers)
    config = read_config(call.params, _installation(context))
    check_reach(config, local=not verifies(context.settings))
    record = await context.store.harnesses.create(
        context.settings.account,
        call.params["harnessName"],
        extended(config, extensions),
        client_token=call.params.get("clientToken"),
        params_digest=_digest(call.params, extensions),
        tags=tags,
    )
    await context.provisioner.start(record.operation)
    return {"harness": show_harness(record, context.settings)}


async def get_harness(context: Context, call: Call) -> Mapping[str, Any]:
    """`GetHarness`: the newest version, or the one that `harnessVersion` names."""
    record = await context.store.harnesses.get(
        context.settings.account, call.params["harnessId"], call.params.get("harnessVersion")
    )
    return {"harness": show_harness(record, context.settings)}


async def list_harnesses(context: Context, call: Call) -> Mapping[str, Any]:
    """`ListHarnesses`: oldest first; the token goes on where the last page ended."""
    records, after = await context.store.harnesses.list(
        context.settings.account,
        limit=call.params.get("maxResults", DEFAULT_PAGE),
        after=call.params.get("nextToken"),
    )
    return {
        "harnesses": [show_summary(record, context.settings) for record in records],
        "nextToken": after,
    }


async def list_harness_versions(context: Context, call: Call) -> Mapping[str, Any]:
    """`ListHarnessVersions`: newest first, which is what a roll-back looks for."""
    records, after = await context.store.harnesses.versions(
        context.settings.account,
        call.params["harnessId"],
        limit=call.params.get("maxResults", DEFAULT_PAGE),
        after=call.params.get("nextToken"),
    )
    return {
        "harnessVersions": [show_version(record, context.settings) for record in records],
        "nextToken": after,
    }


async def update_harness(context: Context, call: Call) -> Mapping[str, Any]:
    """`UpdateHarness`: a new version, UPDATING until it is served; running turns keep theirs."""
    extensions = read_extensions(call.headers)
    here = _installation(context)

    def change(config: HarnessConfig) -> HarnessConfig:
        changed = read_update(config, call.params, here)
        if "authorizerConfiguration" in call.params:
            check_reach(changed, local=not verifies(context.settings))
        return extended(changed, extensions)

    record = await context.store.harnesses.update(
        context.settings.account,
        call.params["harnessId"],
        change,
        client_token=call.params.get("clientToken"),
        params_digest=_digest(call.params, extensions),
    )
    await context.provisioner.start(record.operation)
    return {"harness": show_harness(record, context.settings)}


async def delete_harness(context: Context, call: Call) -> Mapping[str, Any]:
    """`DeleteHarness`: DELETING until its sessions have ended; their transcripts stay.

    `deleteManagedMemory` has nothing to act on while no harness has a managed memory.
    """
    record = await context.store.harnesses.delete(
        context.settings.account,
        call.params["harnessId"],
        client_token=call.params.get("clientToken"),
        params_digest=request_digest(call.params, without=("clientToken",)),
    )
    await context.provisioner.start(record.operation)
    return {"harness": show_harness(record, context.settings)}


def _installation(context: Context) -> Installation:
    return Installation(context.operator.read(), context.settings.engine)


def _digest(params: Mapping[str, Any], extensions: HarnessExtensions | None) -> str:
    asked = dict(params)
    if extensions is not None:
        asked["extensions"] = extensions.model_dump(mode="json")
    return request_digest(asked, without=("clientToken",))
