"""Where notices may be sent."""

import pytest

from contracts.settings import Settings
from contracts.webhook_settings import WebhookSettings

URL = "https://hooks.example.com/services/T0/B0/planted"


def read(**env: str) -> WebhookSettings | None:
    return Settings.from_env({f"EVERLOOP_{name}": value for name, value in env.items()}).webhook


def test_without_a_url_there_is_no_receiver() -> None:
    assert read(WEBHOOK_SECRET="s") is None
    assert read(WEBHOOK_URL="") is None


def test_what_is_left_out_has_its_default() -> None:
    found = read(WEBHOOK_URL=URL, API_PORT="8081")
    assert found == WebhookSettings(URL, None, "everloop", False, "http://127.0.0.1:8081")


def test_neither_the_url_nor_the_secret_is_shown() -> None:
    shown = repr(read(WEBHOOK_URL=URL, WEBHOOK_SECRET="planted"))
    assert "planted" not in shown


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://localhost:9", "http://[::1]:9/"])
def test_plain_http_is_for_loopback(url: str) -> None:
    found = read(WEBHOOK_URL=url)
    assert found is not None and found.is_local


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/planted",
        "http://127.0.0.1.example.com/planted",
        "ftp://127.0.0.1/planted",
        "https:///planted",
        "https://user:planted@example.com/",
        "https://example.com:planted/",
        "https://example.com/planted\nx",
        "planted",
    ],
)
def test_other_urls_are_refused_without_quoting_them(url: str) -> None:
    with pytest.raises(ValueError, match="EVERLOOP_WEBHOOK_URL") as error:
        read(WEBHOOK_URL=url)
    assert "planted" not in str(error.value)


@pytest.mark.parametrize("name, value", [("FORMAT", "teams"), ("ARGUMENTS", "yes")])
def test_other_values_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"EVERLOOP_WEBHOOK_{name}"):
        read(WEBHOOK_URL=URL, **{f"WEBHOOK_{name}": value})
