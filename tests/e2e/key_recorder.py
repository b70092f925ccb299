"""A model server that notes the keys it is sent, and passes on what the demo model says."""

import threading
import time

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class KeyRecorder:
    """In front of the demo model; a message with `refuse` is answered as to a bad key."""

    def __init__(self, demo_url: str) -> None:
        self.keys: list[str] = []
        self._demo_url = demo_url
        routes = [Route("/v1/chat/completions", self._answer, methods=["POST"])]
        self._server = uvicorn.Server(
            uvicorn.Config(Starlette(routes=routes), port=0, log_level="error", lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> str:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/v1"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=5)

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
