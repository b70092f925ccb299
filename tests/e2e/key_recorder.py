"""A model server that notes the keys it is sent, and passes on what the demo model says."""

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.e2e.threaded import ThreadedServer


class KeyRecorder(ThreadedServer):
    """In front of the demo model; a message with `refuse` is answered as to a bad key."""

    def __init__(self, demo_url: str) -> None:
        self.keys: list[str] = []
        self._demo_url = demo_url
        routes = [Route("/v1/chat/completions", self._answer, methods=["POST"])]
        super().__init__(Starlette(routes=routes))

    def start(self) -> str:
        return f"{super().start()}/v1"

    async def _answer(self, request: Request) -> Response:
        key = request.headers["authorization"].removeprefix("Bearer ")
        self.keys.append(key)
        body = await request.body()
        if b"refuse" in body:
            told = {"error": {"message": f"Incorrect API key provided: {key}", "code": "bad"}}
            return JSONResponse(told, 401)
        async with httpx.AsyncClient(timeout=60) as client:
            said = await client.post(f"{self._demo_url}/chat/completions", content=body)
        return Response(said.content, said.status_code, media_type="text/event-stream")
