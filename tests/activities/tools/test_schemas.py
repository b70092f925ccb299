"""The built-in tools have AWS's names, parameters and defaults."""

import pytest

from activities.tools.schemas import BUILTIN_TOOLS
from contracts.tools import BUILTIN_NAMES

FILE_PARAMETERS = "command path old_str new_str file_text insert_line view_range".split()


@pytest.mark.wire("tools.builtin", "tools.shell")
def test_there_are_two_with_awss_parameters() -> None:
    shell, files = BUILTIN_TOOLS
    assert (shell.name, files.name) == BUILTIN_NAMES
    assert (shell.name, files.name) == ("shell", "file_operations")
    properties = shell.schema["properties"]
    assert list(properties) == ["command", "timeout"]
    assert (properties["timeout"]["default"], shell.schema["required"]) == (300, ["command"])
    assert list(files.schema["properties"]) == FILE_PARAMETERS
    assert files.schema["properties"]["command"]["enum"] == [
        "view",
        "str_replace",
        "create",
        "insert",
    ]
    assert files.schema["required"] == ["command", "path"]
