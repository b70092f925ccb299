"""The two distributions install alone, start, and fight with nobody over names."""

import os
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER_ROOMS = {"contracts", "workflows", "activities", "store", "environments", "api", "worker"}
NOT_ROOMS = {"client", "deploy", "tests", "bench", "examples", "docs"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "client"):
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
            cwd=project,
            check=True,
            capture_output=True,
        )
    return {path.name.split("-")[0]: path for path in out.glob("*.whl")}


@pytest.fixture(scope="module")
def alone(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that has the two wheels; dependencies are lent, the checkout is not."""
    home = tmp_path_factory.mktemp("alone")
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    for wheel in wheels.values():
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            + ["--target", str(site), str(wheel)],
            check=True,
        )
    (lent,) = Path(sys.prefix).glob("lib/python*/site-packages")
    # Lines of a .pth found this way are not followed, so the editable checkout stays out of sight.
    (site / "lent.pth").write_text(f"{lent}\n")
    return home


def run_alone(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(home / "bin" / "python"), *command],
        cwd=home,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def top_level(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
    return {name.removesuffix(".py") for name in names if not name.endswith(".dist-info")}


def test_the_server_wheel_holds_every_room_and_nothing_else(wheels: dict[str, Path]) -> None:
    assert top_level(wheels["everloop_server"]) == SERVER_ROOMS


def test_pages_are_rendered_from_the_installed_wheel(alone: Path) -> None:
    values = "session='s', path='', up=None, rows=[], more=None"
    program = f"from api.own.pages import page; print(page('files', {values}).body.decode())"
    told = run_alone(alone, "-c", program)
    assert "<title>Files of s</title>" in told.stdout, told.stderr


def test_every_package_of_the_root_is_a_room() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    modules = {path.stem for path in ROOT.glob("*.py")}
    assert (packages | modules) - NOT_ROOMS == SERVER_ROOMS


def test_the_client_wheel_holds_only_its_own_name(wheels: dict[str, Path]) -> None:
    assert top_level(wheels["everloop"]) == {"everloop"}


def test_no_other_distribution_owns_one_of_our_names() -> None:
    owners = packages_distributions()
    for name in SERVER_ROOMS | {"everloop"}:
        assert set(owners.get(name, [])) <= {"everloop", "everloop-server"}, name


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "everloop.cli", "--help"],
        ["-m", "worker", "--help"],
        ["-m", "api", "--help"],
        ["-m", "store.migrate", "--help"],
        ["-m", "store.admin", "--help"],
        ["-m", "activities.model.demo", "--help"],
    ],
)
def test_each_process_starts_from_its_wheel_alone(alone: Path, command: list[str]) -> None:
    done = run_alone(alone, *command)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_modules_come_from_the_wheel_and_migrations_with_them(alone: Path) -> None:
    script = (
        "import store, everloop, pathlib; print(store.__file__); print(everloop.__file__);"
        "print(sorted(p.name for p in pathlib.Path(store.__file__).parent.rglob('0001*.py')))"
    )
    done = run_alone(alone, "-c", script)
    assert done.returncode == 0, done.stderr
    store_file, client_file, migrations = done.stdout.splitlines()
    assert Path(store_file).is_relative_to(alone)
    assert Path(client_file).is_relative_to(alone)
    assert "0001" in migrations
