import hashlib

import pytest

from contracts.errors import ServiceError
from store import Store
from store.digests import canonical_json
from tests.store.play import RUN


async def test_a_configuration_is_named_by_its_canonical_json(store: Store) -> None:
    digest = await store.configs.put(RUN)
    text = canonical_json(RUN.model_dump(mode="json"))
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert await store.configs.put(RUN) == digest
    assert await store.configs.get(digest) == RUN


async def test_configurations_that_differ_have_different_names(store: Store) -> None:
    other = RUN.model_copy(update={"actor_id": "somebody"})
    assert await store.configs.put(other) != await store.configs.put(RUN)


async def test_an_unknown_digest_is_not_found(store: Store) -> None:
    with pytest.raises(ServiceError, match="0000"):
        await store.configs.get("0000")


def test_canonical_json_sorts_members_and_escapes() -> None:
    assert canonical_json({"b": [1, None], "a": "ä\ud800"}) == '{"a":"\\u00e4\\ud800","b":[1,null]}'
