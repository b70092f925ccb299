"""The front: one ASGI application for both services, and the way of a request through it."""

import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from api.context import Call, Context, EventStream
from api.errors import error_answer, no_ring, not_served, unexpected, unknown_operation, unreadable
from api.eventstream import CONTENT_TYPE
from api.guard import check_header_size
from api.handlers import HANDLERS
from api.model import Operation, wire_model
from api.own import answer_own, is_own
from api.parse import parse
from api.request import WireRequest, decode_headers, decode_query
from api.serialise import Answer, serialise
from api.validate import validate
from contracts.errors import (
    AwsError,
    KeyRingFault,
    SecretUnreadable,
    ServiceError,
    TokenRefused,
)
from contracts.faults import Faults

access_log = logging.getLogger("api.access")

#: InvokeHarness bodies are conversations; AWS's own synchronous payload bound is 6 MB.
MAX_BODY_BYTES = 6 * 1024 * 1024

REQUEST_ID_HEADER = "x-amzn-requestid"

OpenContext = Callable[[], AbstractAsyncContextManager[Context]]


@dataclass
class _Progress:
    """What is known of a request so far, for its error answer and its line in the log."""

    operation: Operation | None = None
    name: str = "-"


class Front:
    """Answers every request of both services; `_answer` is the order of its steps."""

    def __init__(self) -> None:
        """Begin without the parts that handlers need; the lifespan brings them."""
        self.context: Context | None = None
        self._model = wire_model()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request (ASGI)."""
        request = Request(scope, receive)
        progress = _Progress()
        started = time.monotonic()
        try:
            response = await self._answer(request, progress)
        except TokenRefused as error:
            response = _to_response(error_answer(error.detail, progress.operation))
            response.headers["WWW-Authenticate"] = error.challenge
        except ServiceError as error:
            response = _to_response(error_answer(error.detail, progress.operation))
        except KeyRingFault as error:
            response = _to_response(error_answer(no_ring(error), progress.operation))
        except SecretUnreadable as error:
            response = _to_response(error_answer(unreadable(error), progress.operation))
        except Exception as error:
            response = _to_response(error_answer(unexpected(error), progress.operation))
        request_id = str(uuid.uuid4())
        response.headers[REQUEST_ID_HEADER] = request_id
        try:
            await response(scope, receive, send)
        finally:
            access_log.info(
                "%s %s %d %.1fms %s",
                request.method,
                progress.operation.name if progress.operation else progress.name,
                response.status_code,
                (time.monotonic() - started) * 1000,
                request_id,
            )

    async def _answer(self, request: Request, progress: _Progress) -> Response:
        # 1. What is too large, or comes from a stranger, goes no further.
        check_header_size(request.headers.raw)
        wire = WireRequest(
            method=request.method,
            raw_path=request.scope["raw_path"].decode("ascii", "replace"),
            query=decode_query(request.scope["query_string"]),
            headers=decode_headers(request.headers.raw),
            scheme=request.scope["scheme"],
        )
        assert self.context is not None
        raw_query = request.scope["query_string"].decode("ascii", "replace")
        admission = await self.context.gate.admit(wire, raw_query)

        # 2. What is not AWS's has a place of its own.
        if is_own(wire.raw_path):
            body = await _read_body(request)
            admission.check_body(body)
            progress.name, response = await answer_own(self.context, replace(wire, body=body))
            return response

        # 3. The operation, by method and raw path.
        route = self._model.route(wire.method, wire.raw_path, wire.query)
        if route is None:
            return _to_response(unknown_operation(wire.method, wire.raw_path[:200]))
        operation = progress.operation = route.operation
        handler = HANDLERS.get((operation.service, operation.name))
        if handler is None:
            raise not_served(operation)

        # 4. The body, which the signature must fit.
        body = await _read_body(request)
        admission.check_body(body)

        # 5. Its parameters, read and checked against the service model.
        wire = replace(wire, body=body)
        faults = Faults()
        params = parse(operation.input, route.labels, wire, operation.constants, faults)
        validate(operation.input, params, faults)
        faults.raise_if_any()

        # 6. The work.
        result = await handler(self.context, Call(params, wire.headers, admission.caller))

        # 7. The answer, written as the service model says.
        if isinstance(result, EventStream):
            return StreamingResponse(
                result.frames, operation.status, result.headers, media_type=CONTENT_TYPE
            )
        return _to_response(serialise(operation.output, operation.status, result))


def create_app(open_context: OpenContext) -> Starlette:
    """The application.

    Args:
        open_context: opens store and Temporal client for as long as the application runs.
    """
    front = Front()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with open_context() as context:
            front.context = context
            yield

    return Starlette(
        routes=[Route("/ping", _ping, methods=["GET"]), Mount("/", app=front)], lifespan=lifespan
    )


async def _ping(_: Request) -> Response:
    """Health: the process answers. What it depends on shows in the answers that need it."""
    return JSONResponse({"status": "Healthy"})


async def _read_body(request: Request) -> bytes:
    """The whole body, within its bound.

    Raises:
        ServiceError: ValidationException: the body is too large or compressed.
    """
    if request.headers.get("content-encoding", "identity") not in ("", "identity"):
        raise ServiceError(AwsError.VALIDATION, "Compressed request bodies are not accepted.")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise ServiceError(
                AwsError.VALIDATION,
                f"The request body has more than {MAX_BODY_BYTES} bytes, the most that is allowed.",
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _to_response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers)
