"""The JSON schema of a harness's declaration, made from the service model's CreateHarness."""

import importlib
import re
from typing import Any

from everloop.cli.aws import Json

TITLE = "Everloop harness"
_DESCRIPTION = (
    "What `everloop apply -f` takes: CreateHarness's members, as AWS's service model has them, "
    "named endpoints and Everloop's own extensions. "
    "Members that this Everloop does not serve yet are refused by name when they are applied."
)
_VERSION: Json = {
    "description": "A version's number, or `latest`: the one that this file makes.",
    "oneOf": [
        {"const": "latest"},
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": "^[1-9][0-9]{0,4}$"},
    ],
}
#: What a file has beside CreateHarness's members.
_OWN: Json = {
    "extensions": {
        "type": "object",
        "description": "Everloop's own members of a harness, which AWS's definition does not have.",
    },
    "endpoints": {
        "type": "object",
        "description": "The named endpoints: a version each, or a version and a description.",
        "propertyNames": {"pattern": "^[a-zA-Z][a-zA-Z0-9_]{0,47}$", "not": {"const": "DEFAULT"}},
        "additionalProperties": {
            "anyOf": [
                _VERSION,
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "version": _VERSION,
                        "description": {"type": "string", "minLength": 1, "maxLength": 256},
                    },
                },
            ]
        },
    },
}
_OMITTED = ("clientToken",)
#: The command fills it in.
_OPTIONAL = ("executionRoleArn",)
_NUMBERS = {
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
    "timestamp": "string",
    "blob": "string",
}
_TAG = re.compile(r"<[^>]+>")


def harness_schema() -> Json:
    """The schema, JSON schema draft 2020-12."""
    session: Any = importlib.import_module("botocore.session").get_session()
    model = session.get_service_model("bedrock-agentcore-control")
    shape = model.operation_model("CreateHarness").input_shape
    definitions: Json = {}
    top = _structure(shape, definitions)
    for name in _OMITTED:
        del top["properties"][name]
    top["properties"] |= _OWN
    top["required"] = [name for name in top["required"] if name not in _OPTIONAL]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "description": _DESCRIPTION,
        **top,
        "$defs": dict(sorted(definitions.items())),
    }


def _value(shape: Any, definitions: Json) -> Json:
    if getattr(shape, "is_document_type", False):
        return {}
    if shape.type_name != "structure":
        return _plain(shape, definitions)
    if shape.name not in definitions:
        definitions[shape.name] = {}
        definitions[shape.name] = _structure(shape, definitions)
    return {"$ref": f"#/$defs/{shape.name}"}


def _structure(shape: Any, definitions: Json) -> Json:
    properties: Json = {}
    for name, member in shape.members.items():
        said = " ".join(_TAG.sub("", member.documentation).split())
        properties[name] = {
            **({"description": said} if said else {}),
            **_value(member, definitions),
        }
    schema: Json = {"type": "object", "additionalProperties": False, "properties": properties}
    if shape.required_members:
        schema["required"] = list(shape.required_members)
    if getattr(shape, "is_tagged_union", False):
        schema |= {"minProperties": 1, "maxProperties": 1}
    return schema


def _plain(shape: Any, definitions: Json) -> Json:
    bounds: Json = shape.metadata
    match shape.type_name:
        case "list":
            schema: Json = {"type": "array", "items": _value(shape.member, definitions)}
            names = ("minItems", "maxItems")
        case "map":
            schema = {
                "type": "object",
                "propertyNames": _value(shape.key, definitions),
                "additionalProperties": _value(shape.value, definitions),
            }
            names = ("minProperties", "maxProperties")
        case "string":
            schema = {"type": "string"}
            if "enum" in bounds:
                schema["enum"] = list(bounds["enum"])
            if "pattern" in bounds and "\\p" not in bounds["pattern"]:
                # `\p{...}` means other things to Java, which wrote the patterns, and to editors.
                schema["pattern"] = f"^(?:{bounds['pattern']})$"
            names = ("minLength", "maxLength")
        case kind:
            schema = {"type": _NUMBERS[kind]}
            names = ("minimum", "maximum")
    low, high = names
    if "min" in bounds:
        schema[low] = bounds["min"]
    if "max" in bounds:
        schema[high] = bounds["max"]
    return schema
