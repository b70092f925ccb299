"""What a process may load: the workflow's purity and the weight of the API."""

import subprocess
import sys

import pytest

HEAVY = {"litellm", "boto3", "httpx", "mcp", "sqlalchemy", "starlette", "uvicorn", "botocore"}


def loaded_by(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["workflows.session", "contracts.turn", "everloop"])
def test_pure_modules_reach_no_network_library(module: str) -> None:
    assert loaded_by(f"import {module}") & HEAVY == set()


def test_the_api_never_loads_the_model_gateway() -> None:
    assert "litellm" not in loaded_by("import api.app")


def test_the_worker_loads_the_model_gateway_late() -> None:
    assert "litellm" not in loaded_by("import worker")


def test_litellm_ships_no_start_up_hook() -> None:
    """Compromised releases came with a .pth file, which Python runs at every start."""
    from importlib.metadata import files

    assert [file for file in files("litellm") or [] if file.suffix == ".pth"] == []


def test_the_worker_never_loads_the_wire() -> None:
    assert loaded_by("import worker") & {"api", "starlette", "uvicorn"} == set()
