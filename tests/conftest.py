"""The markers of the wire manifest, checked whatever is collected."""

import pytest

from tests.conformance.coverage import MARKS, marks_of, unknown
from tests.conformance.manifest import rows


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep which tests prove which rows, before -k and -m take tests away.

    Raises:
        UsageError: a test is marked for a row that the manifest does not have.
    """
    marks = marks_of(items)
    if wrong := unknown(marks, rows()):
        raise pytest.UsageError("\n".join(wrong))
    config.stash[MARKS] = marks
