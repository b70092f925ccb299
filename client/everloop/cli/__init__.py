"""The `everloop` command. Heavy imports wait until a command needs them, so `--help` is quick."""


def main() -> None:
    """Run the command with the process's arguments; the console script's entry point."""
    from everloop.cli.app import app

    app()
