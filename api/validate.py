"""An operation's parameters against its input shape: every constraint that the model states.

Constraints: required, unions with exactly one member, enum, pattern (the whole string), least and
greatest length, count and value. Types are `parse`'s; what it found invalid is skipped here.
"""

from collections.abc import Callable
from typing import Any

from api.shapes import Shape
from contracts.faults import INVALID, Faults, shown


def validate(shape: Shape | None, params: dict[str, Any], faults: Faults) -> None:
    """Note every fault of the parameters.

    Args:
        shape: the operation's input; None when it takes nothing.
        params: what `parse` read.
        faults: takes the faults.
    """
    if shape is not None:
        _structure(shape, params, "", faults)


def _value(shape: Shape, value: Any, path: str, faults: Faults) -> None:
    check = _CHECKS.get(shape.kind)
    if check is not None and value is not INVALID and not faults.full:
        check(shape, value, path, faults)


def _structure(shape: Shape, value: dict[str, Any], path: str, faults: Faults) -> None:
    prefix = f"{path}." if path else ""
    for name in shape.required:
        if name not in value:
            faults.add(prefix + name, "is required")
    if shape.union and len(value) != 1:
        given = f"; given: {', '.join(value)}" if value else ""
        faults.add(path, f"must have exactly one of {', '.join(shape.members)}{given}")
    for name, item in value.items():
        _value(shape.members[name].shape, item, prefix + name, faults)


def _list(shape: Shape, value: list[Any], path: str, faults: Faults) -> None:
    _between(shape, len(value), path, " items", faults)
    for index, item in enumerate(value):
        _value(shape.items, item, f"{path}[{index}]", faults)


def _map(shape: Shape, value: dict[str, Any], path: str, faults: Faults) -> None:
    _between(shape, len(value), path, " entries", faults)
    assert shape.key is not None
    for key, item in value.items():
        entry = f"{path}[{key[:100]}]"
        _value(shape.key, key, entry, faults)
        _value(shape.items, item, entry, faults)


def _string(shape: Shape, value: str, path: str, faults: Faults) -> None:
    if not _between(shape, len(value), path, " characters", faults):
        return
    got = "" if shape.sensitive else f", not {shown(value)}"
    if shape.enum and value not in shape.enum:
        faults.add(path, f"must be one of {', '.join(shape.enum)}{got}")
    elif not shape.matches(value):
        faults.add(path, f"must match {shape.pattern}{got}")


def _blob(shape: Shape, value: bytes, path: str, faults: Faults) -> None:
    _between(shape, len(value), path, " bytes", faults)


def _number(shape: Shape, value: float, path: str, faults: Faults) -> None:
    _between(shape, value, path, "", faults)


def _between(shape: Shape, size: float, path: str, unit: str, faults: Faults) -> bool:
    """Check the shape's bounds; what is counted is named by the unit."""
    low, high = shape.low, shape.high
    if (low is None or size >= low) and (high is None or size <= high):
        return True
    bounds = [f"at least {low:g}"] if low is not None else []
    if high is not None:
        bounds.append(f"at most {high:.15g}")
    verb = "must have" if unit else "must be"
    faults.add(path, f"{verb} {' and '.join(bounds)}{unit}, not {size:.15g}")
    return False


_CHECKS: dict[str, Callable[[Shape, Any, str, Faults], None]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "blob": _blob,
    "integer": _number,
    "long": _number,
    "float": _number,
    "double": _number,
}
