"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA_DIR = Path(".everloop")
DEFAULT_REGION = "us-east-1"

DataDirOption = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="EVERLOOP_DATA_DIR",
        help="Directory that holds the state of `everloop dev`.",
        file_okay=False,
    ),
]

EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        help="Address of the API. Else AWS_ENDPOINT_URL_BEDROCK_AGENTCORE(_CONTROL), "
        "else the `everloop dev` running in the data directory.",
        metavar="URL",
    ),
]

RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        help="Region. Else AWS_REGION, AWS_DEFAULT_REGION, else that of `everloop dev`.",
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a readable form.")]

MaxResultsOption = Annotated[
    int | None,
    typer.Option("--max-results", min=1, max=100, help="How many of a page; 50 when left out."),
]

NextTokenOption = Annotated[
    str | None,
    typer.Option("--next-token", metavar="TOKEN", help="Go on where the page before ended."),
]

HarnessArgument = Annotated[
    str, typer.Argument(metavar="HARNESS", help="A harness, by name, id or ARN.")
]


def examples(*lines: str) -> str:
    """The examples under a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines)
