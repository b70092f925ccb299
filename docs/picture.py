"""Draws `docs/demo.svg` from a real run: `make picture`."""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 96
PICTURE = Path(__file__).parent / "demo.svg"


def main() -> None:
    """Run the demo, keep what it prints, draw it."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "everloop.cli", "demo", "--data-dir", f"{scratch}/everloop"],
            env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    shown = done.stdout.replace(scratch + "/everloop", ".everloop")
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.from_ansi(shown.strip()))
    drawing = console.export_svg(title="make demo")
    # Fonts by address would make a page that shows the picture call a third party.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}", "", drawing, flags=re.DOTALL))


if __name__ == "__main__":
    main()
