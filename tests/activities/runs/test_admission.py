from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from activities.runs.admission import Asker, admit
from contracts.errors import ServiceError
from contracts.settings import Settings
from everloop.runs import HarnessRun
from store import Store, migrate


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", "\ud800"),
        ("timeout_s", float("nan")),
        ("timeout_s", float("inf")),
        ("overrides", {"systemPrompt": [{"text": "\udfff"}]}),
    ],
)
async def test_what_no_database_could_keep_is_refused_and_not_tried_for_ever(
    tmp_path: Path, name: str, value: Any
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    migrate(url)
    run = replace(HarnessRun("h", "Hello"), **{name: value})
    store = await Store.open(url)
    try:
        with pytest.raises(ServiceError, match=f"{name}: must be Unicode text and finite"):
            await admit(store, Settings(url, tmp_path), run, Asker("workflow", "key"))
    finally:
        await store.close()
