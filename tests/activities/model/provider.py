"""What every test that goes through LiteLLM needs."""

import pytest

#: LiteLLM builds pydantic models in ways that pydantic warns about, on first use and as it streams.
LITELLM_WARNS = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
