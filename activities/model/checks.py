"""Whether a tool call that a model asks for can be made at all."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from contracts.messages import ToolUseBlock
from contracts.tools import ToolSpec

#: The model can mend a few faults at a time; a long list drowns the first.
MOST_FAULTS = 3
#: Of each fault's text, which may quote the whole argument.
FAULT_CHARACTERS = 300
#: Schemas are few and repeat on every call of every step.
KEPT_VALIDATORS = 256


def refusal(use: ToolUseBlock, offered: Sequence[ToolSpec]) -> str | None:
    """Why a call cannot be made, in words for the model; None when it can.

    Args:
        use: the call.
        offered: the tools that the invocation may use.
    """
    spec = next((spec for spec in offered if spec.name == use.name), None)
    if spec is None:
        names = ", ".join(f"`{spec.name}`" for spec in offered) or "none"
        return f"Error: there is no tool named `{use.name}`. The tools are: {names}."
    faults = faults_of(spec.schema, use.input)
    if not faults:
        return None
    return f"Error: the arguments do not fit the schema of `{use.name}`: {'; '.join(faults)}."


def faults_of(schema: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """The first few faults of arguments against a tool's schema, in words for the model."""
    validator = _validator(json.dumps(schema, sort_keys=True))
    if validator is None:
        return []
    found: list[str] = []
    try:
        for fault in validator.iter_errors(arguments):
            where = ".".join(str(step) for step in fault.absolute_path)
            told = fault.message[:FAULT_CHARACTERS]
            found.append(f"{where}: {told}" if where else told)
            if len(found) == MOST_FAULTS:
                break
    except Unresolvable:
        # A schema that points elsewhere is not fetched; the tool sees the arguments as they are.
        return []
    return found


@lru_cache(maxsize=KEPT_VALIDATORS)
def _validator(schema_text: str) -> Validator | None:
    schema: dict[str, Any] = json.loads(schema_text)
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError:
        # The caller's own schema is not one; there is nothing to check against.
        return None
    # An empty registry: a remote reference must not make the worker fetch what a caller names.
    return kind(schema, registry=Registry())
