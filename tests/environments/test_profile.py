"""The files of which agentd is made inside."""

import subprocess
import sys
from pathlib import Path

from environments.bubblewrap_profile import AGENTD_FILES, agentd_files

START = "import sys; sys.path.insert(0, sys.argv[1]); import environments.agentd"


def test_agentd_starts_from_what_is_compiled_and_elsewhere_from_its_source(tmp_path: Path) -> None:
    for name, content in agentd_files(AGENTD_FILES).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not Python(" if path.suffix == ".py" else content)
    command = (sys.executable, "-SsEB", "-c", START, str(tmp_path))
    started = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr

    for path in (tmp_path / "environments" / "__pycache__").iterdir():
        path.rename(path.with_name(path.name.replace(sys.implementation.cache_tag, "cpython-2")))
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "not Python(" in refused.stderr
