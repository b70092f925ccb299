"""Tools of a request: `HarnessTool` on the wire to `contracts.harness.Tool`.

Rules across fields that AWS's service model does not state: names are unique and not reserved, an
inline function has its config, its schema is a JSON schema of an object (devguide, harness tools).
"""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from contracts.faults import Faults
from contracts.harness import InlineFunction, Tool, ToolConfiguration, ToolType
from contracts.json_values import as_list, as_object

#: Names that `allowedTools` or the built-in tools use.
RESERVED_NAMES = frozenset({"builtin", "shell", "file_operations"})

#: Every tool is described to the model on every call; no model takes more.
MAX_TOOLS = 128

#: Schemas known to be valid: callers send theirs with every call, and a check takes half a
#: millisecond. So many digests take 200 KB.
MAX_ACCEPTED = 1024
_accepted: OrderedDict[str, None] = OrderedDict()

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_REFERENCES = ("$ref", "$dynamicRef")


def read_tools(wire: Sequence[dict[str, Any]], faults: Faults) -> tuple[Tool, ...]:
    """Read a list of tools.

    Args:
        wire: `HarnessTools`, checked against the service model.
        faults: takes what is wrong; then the result is incomplete.

    Returns:
        The tools in their order, each with a name.
    """
    if len(wire) > MAX_TOOLS:
        faults.add("tools", f"must have at most {MAX_TOOLS} items, not {len(wire)}")
        return ()
    tools: list[Tool] = []
    names: dict[str, int] = {}
    for index, entry in enumerate(wire):
        path = f"tools[{index}]"
        if entry["type"] != ToolType.INLINE_FUNCTION:
            faults.add(f"{path}.type", f"{entry['type']} is not served yet; use inline_function")
            continue
        name = entry.get("name") or f"inline_function_{index}"
        if not _NAME.fullmatch(name):
            faults.add(f"{path}.name", f"must match {_NAME.pattern}")
        elif name in RESERVED_NAMES:
            faults.add(f"{path}.name", f"{name} is reserved")
        elif name in names:
            faults.add(f"{path}.name", f"{name} is also the name of tools[{names[name]}]")
        names.setdefault(name, index)
        function = _inline_function(entry.get("config") or {}, path, faults)
        if function is not None:
            config = ToolConfiguration(inline_function=function)
            tools.append(Tool(type=ToolType.INLINE_FUNCTION, name=name, config=config))
    return tuple(tools)


def _inline_function(config: dict[str, Any], path: str, faults: Faults) -> InlineFunction | None:
    wire = config.get("inlineFunction")
    if wire is None:
        faults.add(f"{path}.config.inlineFunction", "is required for type inline_function")
        return None
    schema = object_schema(wire["inputSchema"], f"{path}.config.inlineFunction.inputSchema", faults)
    if schema is None:
        return None
    return InlineFunction(description=wire["description"], input_schema=schema)


def object_schema(wire: Any, path: str, faults: Faults) -> dict[str, Any] | None:
    """A JSON schema of an object, out of the `{"json": ...}` wrapper that AWS tolerates.

    Args:
        wire: what the caller sent.
        path: where it stands.
        faults: takes what is wrong; then the result is None.
    """
    schema = as_object(wire)
    if schema is not None and set(schema) == {"json"}:
        schema = as_object(schema["json"])
    if schema is None:
        faults.add(path, "must be a JSON schema, an object")
    elif schema.get("type") != "object":
        faults.add(f"{path}.type", "must be object: a tool's arguments are named")
    else:
        return _valid_schema(schema, path, faults)
    return None


def _valid_schema(schema: dict[str, Any], path: str, faults: Faults) -> dict[str, Any] | None:
    text = json.dumps(schema, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest in _accepted:
        return schema
    try:
        Draft202012Validator.check_schema(
            schema, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
    except SchemaError as error:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path)
        faults.add(f"{path}{where}"[:200], "is not valid in JSON schema draft 2020-12")
        return None
    if _refers_elsewhere(schema):
        faults.add(path, "may refer only to itself: $ref must begin with #")
        return None
    _accepted[digest] = None
    if len(_accepted) > MAX_ACCEPTED:
        _accepted.popitem(last=False)
    return schema


def _refers_elsewhere(part: Any) -> bool:
    """Whether a schema names another document, which a validator would fetch over the network."""
    entries = as_object(part)
    if entries is not None:
        return any(
            (key in _REFERENCES and isinstance(value, str) and not value.startswith("#"))
            or _refers_elsewhere(value)
            for key, value in entries.items()
        )
    return any(_refers_elsewhere(item) for item in as_list(part) or ())
