"""The `allowedTools` grammar: which tools a pattern selects.

Every tool is a pair (namespace, name). `shell` and `file_operations` are in `builtin`; an inline
function's namespace is its own name. Patterns are matched with fnmatch, case sensitive. Source: the
AgentCore CLI's filter and the devguide's harness tools page.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from contracts.tools import BUILTIN


def is_allowed(namespace: str, name: str, patterns: Iterable[str]) -> bool:
    """Whether any pattern selects a tool.

    Args:
        namespace: the tool's namespace.
        name: its name within it.
        patterns: `*`, a built-in's plain name or glob, `@namespace`, or `@namespace/name`, where
            both halves may be globs.
    """
    return any(_selects(pattern, namespace, name) for pattern in patterns)


def _selects(pattern: str, namespace: str, name: str) -> bool:
    if pattern == "*":
        return True
    if not pattern.startswith("@"):
        return namespace == BUILTIN and fnmatchcase(name, pattern)
    wanted_namespace, _, wanted_name = pattern[1:].partition("/")
    return fnmatchcase(namespace, wanted_namespace) and fnmatchcase(name, wanted_name or "*")
