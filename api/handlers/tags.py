"""Tags of harnesses and their endpoints: TagResource, UntagResource, ListTagsForResource."""

from collections.abc import Mapping
from typing import Any

from api.context import Call, Context
from api.tags import check_tags
from contracts.errors import AwsError, ServiceError
from contracts.ids import HARNESS_ENDPOINT_ARN, HarnessArn
from contracts.own_arn import check_own
from contracts.settings import Settings


async def tag_resource(context: Context, call: Call) -> Mapping[str, Any]:
    """`TagResource`: sets tags; those that are not named stay."""
    harness_id, endpoint = _resource(call.params["resourceArn"], context.settings)
    tags = call.params["tags"]
    check_tags(tags)
    await context.store.tags.put(context.settings.account, harness_id, endpoint, tags)
    return {}


async def untag_resource(context: Context, call: Call) -> Mapping[str, Any]:
    """`UntagResource`: keys that are not there are no matter."""
    harness_id, endpoint = _resource(call.params["resourceArn"], context.settings)
    await context.store.tags.remove(
        context.settings.account, harness_id, endpoint, call.params["tagKeys"]
    )
    return {}


async def list_tags_for_resource(context: Context, call: Call) -> Mapping[str, Any]:
    """`ListTagsForResource`."""
    harness_id, endpoint = _resource(call.params["resourceArn"], context.settings)
    return {"tags": await context.store.tags.list(context.settings.account, harness_id, endpoint)}


def _resource(text: str, settings: Settings) -> tuple[str, str | None]:
    """The harness of an ARN, and the endpoint if it names one."""
    match = HARNESS_ENDPOINT_ARN.fullmatch(text)
    try:
        arn = HarnessArn.parse(match["harness"] if match else text)
    except ValueError as error:
        raise ServiceError(
            AwsError.NOT_FOUND, f"{text} is not the ARN of a harness or of an endpoint of one."
        ) from error
    check_own(arn, settings)
    return arn.harness_id, match["endpoint"] if match else None
