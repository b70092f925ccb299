"""What ends a command early, as one clear line."""

from collections.abc import Generator
from contextlib import contextmanager

from everloop.dev.errors import DevError

#: A command that was understood and failed.
EXIT_FAILED = 1
#: A command that was not understood.
EXIT_USAGE = 2
#: `everloop status`: nothing runs there.
EXIT_NOT_RUNNING = 3


class CommandError(Exception):
    """A command failed; the message is for the user."""

    exit_code = EXIT_FAILED


class UsageError(CommandError):
    """The command cannot be carried out as it was written."""

    exit_code = EXIT_USAGE


class ApiError(CommandError):
    """The API refused the request, or failed at it."""

    def __init__(self, name: str, message: str) -> None:
        """Keep AWS's name of the error beside its message."""
        super().__init__(f"{name}: {message}")
        self.name = name


class StreamBroken(CommandError):
    """The connection went while events were coming; the invocation goes on without us."""


@contextmanager
def reported() -> Generator[None]:
    """Turn our errors into one line on standard error and an exit code."""
    import typer

    from everloop.cli.output import stderr

    try:
        yield
    except CommandError as error:
        stderr().print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(error.exit_code) from None
    except DevError as error:
        stderr().print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(EXIT_FAILED) from None
