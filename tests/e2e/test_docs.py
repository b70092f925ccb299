"""What the documentation shows is accepted, exists and leads somewhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from everloop.cli.app import app
from tests.e2e.people import own
from tests.e2e.stack import Stack

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_tools_and_models_that_the_pages_show_are_accepted(stack: Stack) -> None:
    documents = [json.loads(text) for page in PAGES for text in blocks(page, "json")]
    tools = [shown for shown in documents if "type" in shown]
    models = [shown for shown in documents if any(key.endswith("ModelConfig") for key in shown)]
    extensions = [
        shown for shown in documents if shown.keys() & {"approvals", "budget", "snapshots"}
    ]
    assert tools and models and extensions
    for extension in extensions:
        harness_id = stack.harness().split("/")[1]
        own(stack, "PUT", f"harnesses/{harness_id}/extensions", extension)
    for tool in tools:
        stack.harness(tools=[tool])
    for model in models:
        stack.harness(model=model)


def test_commands_that_the_pages_show_exist() -> None:
    shown = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^|[`$ (/])everloop ([a-z]+)\b", page.read_text(), re.MULTILINE)
    }
    assert shown >= {"create", "invoke", "dev", "env", "status", "demo"}
    for name in sorted(shown):
        done = CliRunner().invoke(app, [name, "--help"])
        assert done.exit_code == 0, f"{name}: {done.output}"


def test_the_command_line_of_the_readme_runs(stack: Stack) -> None:
    (script,) = [text for text in blocks(ROOT / "README.md", "sh") if "everloop create" in text]
    shim = f'everloop() {{ {sys.executable} -m everloop.cli "$@" --data-dir {stack.data_dir}; }}\n'
    done = subprocess.run(
        ["bash", "-euc", shim + script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Linux" in done.stdout
