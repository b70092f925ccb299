"""What botocore's service models have: the parts that rows may name, and those that rows must."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.api.oracle import OPERATIONS, operation_model, service_model

#: Operations with one of these in their name are the harness family: every one needs rows.
FAMILY = (
    "Harness",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
    "ApiKeyCredentialProvider",
    "Oauth2CredentialProvider",
    "TokenVault",
    "StopRuntimeSession",
    "InvokeAgentRuntimeCommand",
)

#: Shapes of which every member or value needs a row.
WHOLE_SHAPES = (
    "InvokeHarnessStreamOutput",
    "HarnessStopReason",
    "HarnessContentBlock",
    "HarnessContentBlockStart",
    "HarnessContentBlockDelta",
    "HarnessReasoningContentBlockDelta",
    "HarnessModelConfiguration",
    "HarnessBedrockModelConfig",
    "HarnessOpenAiModelConfig",
    "HarnessGeminiModelConfig",
    "HarnessLiteLlmModelConfig",
    "HarnessToolType",
    "HarnessSkill",
    "HarnessMemoryConfiguration",
    "HarnessTruncationStrategy",
    "HarnessStatus",
    "HarnessEndpointStatus",
    "Harness",
    "HarnessEndpoint",
)


def family() -> list[tuple[str, str]]:
    """The operations of the harness family, (service, name)."""
    return [(s, name) for s, name in OPERATIONS if any(part in name for part in FAMILY)]


def others() -> list[tuple[str, str]]:
    """All other operations of both services."""
    inside = set(family())
    return [one for one in OPERATIONS if one not in inside]


@cache
def parts_of(name: str) -> frozenset[str] | None:
    """What a row may name of an operation or a shape; None when neither service has it."""
    found = [_parts(model, name) for model in _models()]
    known = [parts for parts in found if parts is not None]
    return frozenset(part for parts in known for part in parts) if known else None


def needed(served: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(operation or shape, member or value) of which a row must speak; "" is the whole.

    Args:
        served: the operations that have a handler; of others only the whole needs a row.
    """
    for service, name in family():
        yield name, ""
        if (service, name) in served:
            shape = operation_model(service, name).input_shape
            for member in shape.members if shape is not None else ():
                yield name, member
    for name in WHOLE_SHAPES:
        for part in sorted(parts_of(name) or ()):
            yield name, part


def _models() -> list[Any]:
    return [service_model(service) for service in sorted({s for s, _ in OPERATIONS})]


def _parts(model: Any, name: str) -> frozenset[str] | None:
    if name in model.operation_names:
        shape: Any = model.operation_model(name).input_shape
    elif name in model.shape_names:
        shape = model.shape_for(name)
    else:
        return None
    if shape is None:
        return frozenset()
    members: dict[str, Any] = getattr(shape, "members", {})
    return frozenset(members) | frozenset(getattr(shape, "enum", ()))
