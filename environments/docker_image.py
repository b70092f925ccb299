"""Images of the container engine: there, or fetched when they are first needed."""

import asyncio
import importlib
import logging
from typing import Any

from contracts.errors import EnvironmentUnavailable
from environments.engine_calls import EngineCalls

log = logging.getLogger(__name__)

#: An image of two gigabytes over a slow line.
PULL_S = 900.0
_pulls: dict[str, asyncio.Lock] = {}


def calls_of(url: str) -> EngineCalls:
    """Calls of the engine behind a URL."""
    errors: Any = importlib.import_module("aiodocker.exceptions")
    return EngineCalls(
        f"the container engine at {url}",
        errors.DockerError,
        lambda error: error.message,
        "; is it running, and does EVERLOOP_DOCKER_HOST name it?",
    )


async def ensure_image(docker: Any, image: str, calls: EngineCalls) -> None:
    """See to it that the engine has an image; many callers at once fetch it once.

    Args:
        docker: the engine's client.
        image: a reference, as `docker pull` takes it.
        calls: of the engine.

    Raises:
        EnvironmentUnavailable: it is not there and cannot be had.
    """
    async with _pulls.setdefault(image, asyncio.Lock()):
        if await calls.ask(docker.images.inspect(image), fine=404) is not None:
            return
        log.info("fetching the image %s", image)
        try:
            await calls.ask(docker.images.pull(image, timeout=PULL_S), within_s=PULL_S)
        except EnvironmentUnavailable as error:
            raise EnvironmentUnavailable(
                f"the image {image} is not there and cannot be pulled: {error}"
            ) from None
