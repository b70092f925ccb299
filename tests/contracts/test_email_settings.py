"""How and to whom notices may be mailed."""

from pathlib import Path

import pytest

from contracts.approvals import Deciders
from contracts.email_settings import EmailSettings
from contracts.settings import Settings

URL = "smtp://ann:planted%20word@mail.example.com"


def read(**env: str) -> EmailSettings | None:
    given = {"EMAIL_FROM": "everloop@example.org", "EMAIL_TO": "a@example.com", **env}
    return Settings.from_env({f"EVERLOOP_{name}": value for name, value in given.items()}).email


def test_without_a_server_nothing_is_mailed() -> None:
    assert read() is None


def test_what_is_left_out_has_its_default() -> None:
    found = read(SMTP_URL=URL)
    assert found is not None
    assert (found.host, found.port, found.tls) == ("mail.example.com", 587, False)
    assert (found.user, found.password, found.domain) == ("ann", "planted word", "example.org")
    secure = read(SMTP_URL="smtps://mail.example.com")
    assert secure is not None and (secure.port, secure.tls, secure.user) == (465, True, None)


def test_neither_user_nor_password_is_shown() -> None:
    assert "planted" not in repr(read(SMTP_URL=URL)) and "ann" not in repr(read(SMTP_URL=URL))


@pytest.mark.parametrize(
    "url",
    [
        "http://mail.example.com/planted",
        "smtp://mail.example.com/planted",
        "smtp://planted@mail.example.com",
        "smtp://mail.example.com:planted",
        "smtp://planted\n@mail.example.com",
        "smtp://u:pl%C3%A4nted@mail.example.com",
        "planted",
    ],
)
def test_other_servers_are_refused_without_quoting_them(url: str) -> None:
    with pytest.raises(ValueError, match="EVERLOOP_SMTP_URL") as error:
        read(SMTP_URL=url)
    assert "planted" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMAIL_FROM", ""),
        ("EMAIL_FROM", "nobody"),
        ("EMAIL_FROM", "a@example.com\nBcc: eve@example.com"),
        ("EMAIL_TO", "a@example.com, b"),
        ("EMAIL_TO", "a@example.com\r\nX: y"),
        ("EMAIL_TO", ",".join(f"a{n}@example.com" for n in range(51))),
        ("EMAIL_ARGUMENTS", "yes"),
        ("EMAIL_BOOK", "/nowhere/book.json"),
    ],
)
def test_other_values_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"EVERLOOP_{name}"):
        read(SMTP_URL=URL, **{name: value})


def test_somebody_must_be_there_to_write_to() -> None:
    with pytest.raises(ValueError, match="nobody to write to"):
        read(SMTP_URL=URL, EMAIL_TO="")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "the file"),
        ('{"people": {}}', "people"),
        ('{"users": {"ada": "ada"}}', "'ada' has is no mail address"),
        ('{"roles": {"finance": ["a@example.com\\nX: y"]}}', "'finance' has"),
        ('{"users": {"ada": 7}}', "users"),
    ],
)
def test_a_book_that_is_none_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "book.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="EVERLOOP_EMAIL_BOOK") as error:
        read(SMTP_URL=URL, EMAIL_BOOK=str(path))
    assert problem in str(error.value)


def test_mail_goes_to_those_who_decide_and_else_to_the_list(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    path.write_text(
        '{"users": {"ada": "ada@example.com", "bob": "bob@example.com"},'
        ' "roles": {"finance": ["f@example.com", "ada@example.com"]}}'
    )
    found = read(SMTP_URL=URL, EMAIL_BOOK=str(path))
    assert found is not None
    both = Deciders(users=("ada", "cid"), roles=("finance", "law"))
    assert found.recipients(both) == ("ada@example.com", "f@example.com")
    assert found.recipients(Deciders(users=("cid",))) == ("a@example.com",)
    assert found.recipients(Deciders()) == ("a@example.com",)
