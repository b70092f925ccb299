"""The `everloop` command. Heavy imports wait until a command needs them, so `--help` is quick."""

import os
import sys

#: Loaded by the commands that speak to Temporal themselves.
_TEMPORAL_SDK = "temporalio.bridge.temporal_sdk_bridge"


def main() -> None:
    """Run the command with the process's arguments; the console script's entry point."""
    from everloop.cli.app import app

    try:
        app()
    except SystemExit as end:
        if _TEMPORAL_SDK in sys.modules:
            _leave(end.code)
        raise


def _leave(code: object) -> None:
    # The SDK's threads may reach for the interpreter while it is torn down, which then crashes:
    # https://github.com/temporalio/sdk-python/issues/300
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
