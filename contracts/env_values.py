"""Reading settings from environment variables; each error names the variable and what it takes."""

from collections.abc import Mapping


def whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A whole number from `low` to `high`.

    Raises:
        ValueError: the variable holds something else.
    """
    text = env.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def flag(env: Mapping[str, str], name: str) -> bool:
    """0 or 1; unset is 0.

    Raises:
        ValueError: the variable holds something else.
    """
    text = env.get(name, "0")
    if text not in ("0", "1"):
        raise ValueError(f"{name} must be 0 or 1, not {text!r}")
    return text == "1"


def items(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The items of a list with commas."""
    return tuple(item.strip() for item in env.get(name, "").split(",") if item.strip())


def choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    """One of `choices`; None when it is unset.

    Raises:
        ValueError: the variable holds something else.
    """
    text = env.get(name)
    if text is not None and text not in choices:
        raise ValueError(f"{name} must be {' or '.join(choices)}, not {text!r}")
    return text
