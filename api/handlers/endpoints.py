"""Endpoints of harnesses on the control plane: create, get, list, update, delete."""

from collections.abc import Mapping
from typing import Any

from api.context import Call, Context
from api.digest import request_digest
from api.handlers.harnesses import DEFAULT_PAGE
from api.harness_view import show_endpoint
from api.tags import check_tags


async def create_harness_endpoint(context: Context, call: Call) -> Mapping[str, Any]:
    """`CreateHarnessEndpoint`: CREATING at first; without `targetVersion` at the newest version."""
    params = call.params
    tags = params.get("tags", {})
    check_tags(tags)
    made = await context.store.endpoints.create(
        context.settings.account,
        params["harnessId"],
        params["endpointName"],
        version=params.get("targetVersion"),
        description=params.get("description"),
        client_token=params.get("clientToken"),
        params_digest=request_digest(params, without=("clientToken",)),
        tags=tags,
    )
    await context.provisioner.start(made.operation)
    return {"endpoint": show_endpoint(made, context.settings)}


async def get_harness_endpoint(context: Context, call: Call) -> Mapping[str, Any]:
    """`GetHarnessEndpoint`."""
    found = await context.store.endpoints.get(
        context.settings.account, call.params["harnessId"], call.params["endpointName"]
    )
    return {"endpoint": show_endpoint(found, context.settings)}


async def list_harness_endpoints(context: Context, call: Call) -> Mapping[str, Any]:
    """`ListHarnessEndpoints`: DEFAULT first, then oldest first."""
    found, after = await context.store.endpoints.list(
        context.settings.account,
        call.params["harnessId"],
        limit=call.params.get("maxResults", DEFAULT_PAGE),
        after=call.params.get("nextToken"),
    )
    return {
        "endpoints": [show_endpoint(one, context.settings) for one in found],
        "nextToken": after,
    }


async def update_harness_endpoint(context: Context, call: Call) -> Mapping[str, Any]:
    """`UpdateHarnessEndpoint`: a promotion, or a roll-back when the version is older."""
    params = call.params
    updated = await context.store.endpoints.update(
        context.settings.account,
        params["harnessId"],
        params["endpointName"],
        version=params.get("targetVersion"),
        description=params.get("description"),
        client_token=params.get("clientToken"),
        params_digest=request_digest(params, without=("clientToken",)),
    )
    await context.provisioner.start(updated.operation)
    return {"endpoint": show_endpoint(updated, context.settings)}


async def delete_harness_endpoint(context: Context, call: Call) -> Mapping[str, Any]:
    """`DeleteHarnessEndpoint`: DELETING at first; running turns keep their version."""
    gone = await context.store.endpoints.delete(
        context.settings.account,
        call.params["harnessId"],
        call.params["endpointName"],
        client_token=call.params.get("clientToken"),
        params_digest=request_digest(call.params, without=("clientToken",)),
    )
    await context.provisioner.start(gone.operation)
    return {"endpoint": show_endpoint(gone, context.settings)}
