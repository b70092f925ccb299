"""Bounds of headers; and, where no signature is checked: programs on this machine, no web page.

A loopback address keeps other machines out. A browser on this one could still be led here by a page
(a cross-site form, or a name that resolves to 127.0.0.1); such requests carry a foreign Host or an
Origin.
"""

import ipaddress
from urllib.parse import urlsplit

from api.request import WireRequest
from contracts.errors import AwsError, ServiceError

#: More than AWS's clients send: 8 KiB of baggage beside signature, trace and session.
MAX_HEADER_BYTES = 32 * 1024


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_origin(request: WireRequest) -> None:
    """Refuse what only a web page would send.

    Raises:
        ServiceError: AccessDeniedException naming the header.
    """
    for header in ("host", "origin"):
        value = request.headers.get(header)
        if value is not None and not is_loopback(_host_of(value)):
            raise ServiceError(
                AwsError.ACCESS_DENIED,
                f"This Everloop serves this machine only; the {header} header names another.",
            )


def check_header_size(headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse headers that are too large together.

    Raises:
        ServiceError: ValidationException with the size and the bound.
    """
    size = sum(len(name) + len(value) for name, value in headers)
    if size > MAX_HEADER_BYTES:
        raise ServiceError(
            AwsError.VALIDATION,
            f"The request's headers have {size} bytes; at most {MAX_HEADER_BYTES} are allowed.",
        )


def _host_of(value: str) -> str:
    try:
        return urlsplit(value if "//" in value else f"//{value}").hostname or ""
    except ValueError:
        return ""
