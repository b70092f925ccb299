"""Pages for people: templates, and the headers that keep what they show from doing anything.

What they show was written by models, commands and callers: templates escape everything, and a page
may load and run nothing. A browser cannot sign requests, so that pages are for `everloop dev`.
"""

import base64
import functools
import hashlib
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from api.own.request import OwnRequest

#: What a browser asks for when a person follows a link, and no SDK does.
HTML = "text/html"
#: What a browser sends when a person presses a button.
FORM = "application/x-www-form-urlencoded"


def from_browser(request: OwnRequest) -> bool:
    """Whether a person looks on: a link followed, or a form sent."""
    return HTML in request.headers.get("accept", "") or is_form(request)


def is_form(request: OwnRequest) -> bool:
    """Whether the body is a form's."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower() == FORM


def page(template: str, *, code: int = 200, **values: Any) -> HTMLResponse:
    """A page.

    Args:
        template: the file's name, without its ending.
        code: HTTP status of the answer.
        values: what the template names.
    """
    environment, style, headers = _prepared()
    html = environment.get_template(f"{template}.html").render(values, style=style)
    return HTMLResponse(html, code, headers)


@functools.cache
def _prepared() -> tuple[Environment, str, dict[str, str]]:
    environment = Environment(
        loader=PackageLoader("api.own", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = _moment
    style = environment.get_template("style.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    headers = {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
            "form-action 'self'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return environment, style, headers


def _moment(value: datetime | None) -> str:
    """A time as people read it, to the second."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"
