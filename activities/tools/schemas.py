"""The built-in tools as the model sees them.

There are exactly two, with the names, parameters and defaults that AgentCore's harness gives them.
"""

from contracts.tools import BUILTIN, Repeat, ToolKind, ToolSpec

SHELL_TIMEOUT_S = 300
#: As long as an invocation may take unless its harness says otherwise.
MAX_SHELL_TIMEOUT_S = 3600

SHELL = ToolSpec(
    name="shell",
    description=(
        "Execute a bash command and return its stdout, stderr and exit code. Every call starts a "
        "new shell in the working directory; files stay between calls, variables do not."
    ),
    kind=ToolKind.SANDBOX,
    namespace=BUILTIN,
    repeat=Repeat.KEYED,
    schema={
        "type": "object",
        "properties": {
            "command": {"type": "string", "description": "The bash command to execute"},
            "timeout": {
                "type": "integer",
                "description": "Seconds after which the command is ended",
                "default": SHELL_TIMEOUT_S,
            },
        },
        "required": ["command"],
    },
)

FILE_OPERATIONS = ToolSpec(
    name="file_operations",
    description=(
        "View, create and edit files. view: show a file with line numbers, or list a directory. "
        "create: write file_text to a new or existing file. str_replace: replace old_str, which "
        "must occur exactly once, with new_str. insert: insert new_str after line insert_line."
    ),
    kind=ToolKind.SANDBOX,
    namespace=BUILTIN,
    repeat=Repeat.KEYED,
    schema={
        "type": "object",
        "properties": {
            "command": {
                "type": "string",
                "enum": ["view", "str_replace", "create", "insert"],
                "description": "The operation",
            },
            "path": {
                "type": "string",
                "description": "Path of the file or directory; relative to the working directory",
            },
            "old_str": {"type": "string", "description": "str_replace: the text to replace"},
            "new_str": {
                "type": "string",
                "description": "str_replace: the replacement; insert: the text to insert",
            },
            "file_text": {"type": "string", "description": "create: the content of the file"},
            "insert_line": {
                "type": "integer",
                "description": "insert: the line after which to insert; 0 is the top of the file",
            },
            "view_range": {
                "type": "array",
                "items": {"type": "integer"},
                "minItems": 2,
                "maxItems": 2,
                "description": "view: first and last line; a last line of -1 is the end",
            },
        },
        "required": ["command", "path"],
    },
)

BUILTIN_TOOLS = (SHELL, FILE_OPERATIONS)
