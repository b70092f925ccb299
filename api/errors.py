"""Errors on the wire: status, header and body as restJson1 clients read them.

The status of a modelled error is in the service model. What is unexpected becomes an
InternalServerException with an opaque id; the log has the trace under that id, without the texts of
exceptions, because those may repeat a request.
"""

import json
import logging
import traceback
import uuid
from typing import Any

from api.model import Operation, wire_model
from api.serialise import Answer
from contracts.errors import AwsError, ErrorDetail, KeyRingFault, SecretUnreadable, ServiceError

log = logging.getLogger("api.errors")

ERROR_TYPE_HEADER = "x-amzn-errortype"

#: Errors that no service model has, or has for other operations only.
_UNMODELLED_STATUS = {
    AwsError.NOT_IMPLEMENTED: 501,
    AwsError.MISSING_AUTHENTICATION: 403,
    AwsError.INCOMPLETE_SIGNATURE: 403,
    AwsError.INVALID_SIGNATURE: 403,
    AwsError.UNRECOGNIZED_CLIENT: 403,
    AwsError.EXPIRED_TOKEN: 403,
    AwsError.UNAUTHORIZED: 401,
}

#: restJson1's name for a request that fits no operation; not in the service models either.
UNKNOWN_OPERATION = "UnknownOperationException"


def error_answer(detail: ErrorDetail, operation: Operation | None) -> Answer:
    """The HTTP answer for an error.

    Args:
        detail: the error.
        operation: the operation that failed; None before it is known.
    """
    body: dict[str, Any] = {"message": detail.message}
    if detail.reason is not None:
        body["reason"] = detail.reason.value
    if detail.fields:
        body["fieldList"] = [{"name": f.name, "message": f.message} for f in detail.fields]
    return _answer(detail.error.value, _status(detail.error, operation), body)


def unknown_operation(method: str, path: str) -> Answer:
    """The answer to a request that fits no operation of either service."""
    message = f"No operation of bedrock-agentcore or bedrock-agentcore-control is {method} {path}"
    return _answer(UNKNOWN_OPERATION, 404, {"message": message})


def not_served(operation: Operation) -> ServiceError:
    """The error for an operation of AWS's that has no handler here."""
    return ServiceError(
        AwsError.NOT_IMPLEMENTED,
        f"Operation {operation.name} of {operation.service} is not served by this Everloop",
    )


def no_ring(error: KeyRingFault) -> ErrorDetail:
    """Log what is wrong with the vault's key ring; its caller learns only that something is."""
    log.error("the vault cannot be used: %s", error)
    return ErrorDetail(
        AwsError.INTERNAL, "The vault's key ring cannot be used; the server's log says why."
    )


def unreadable(error: SecretUnreadable) -> ErrorDetail:
    """Log which secret of the vault does not open; its caller learns only that one does not."""
    log.error("%s", error)
    return ErrorDetail(
        AwsError.INTERNAL,
        "A secret of the vault cannot be read; the server's log says which and why.",
    )


def unexpected(error: Exception) -> ErrorDetail:
    """Log an error that nobody foresaw, and give what its caller may know of it.

    Returns:
        An InternalServerException whose message holds the id under which the log has the trace.
    """
    error_id = uuid.uuid4().hex[:12]
    log.error("unexpected error %s: %s", error_id, trace_without_values(error))
    return ErrorDetail(
        AwsError.INTERNAL, f"An unexpected error occurred. The server's log has it as {error_id}."
    )


def trace_without_values(error: BaseException) -> str:
    """The types and frames of an exception and its causes, without their messages."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        frames = "".join(traceback.format_tb(seen.__traceback__))
        parts.append(f"{type(seen).__module__}.{type(seen).__qualname__}\n{frames}")
        seen = seen.__cause__ or seen.__context__
    return "caused by ".join(parts)


def _status(error: AwsError, operation: Operation | None) -> int:
    if error in _UNMODELLED_STATUS:
        return _UNMODELLED_STATUS[error]
    known = operation.errors if operation else next(iter(wire_model().operations.values())).errors
    shape = known.get(error.value)
    return shape.http_status if shape is not None and shape.http_status else 500


def _answer(name: str, status: int, body: dict[str, Any]) -> Answer:
    headers = {ERROR_TYPE_HEADER: name, "Content-Type": "application/json"}
    return Answer(status, headers, json.dumps(body).encode())
