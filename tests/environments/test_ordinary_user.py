"""What isolates sessions also does when the sandbox host is no root."""

import os
import re

import pytest

from tests.environments.ordinary_user import run


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs all tests already")
def test_sessions_of_an_ordinary_user_are_isolated_too() -> None:
    """`python -m tests.environments.ordinary_user` runs all tests of environments so."""
    done = run(
        "tests/environments/test_isolation.py",
        "tests/environments/test_escape.py::test_agentd_cannot_be_traced_or_read",
        "tests/environments/test_escape.py::test_a_session_cannot_signal_or_see_another",
        timeout_s=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) >= 12, done.stdout
