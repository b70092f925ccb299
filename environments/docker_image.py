"""Images of the container engine: there, or fetched when they are first needed."""

import asyncio
import importlib
import logging
from typing import Any

from contracts.errors import EnvironmentUnavailable

log = logging.getLogger(__name__)

#: An image of two gigabytes over a slow line.
PULL_S = 900.0
_pulls: dict[str, asyncio.Lock] = {}


async def ensure_image(docker: Any, image: str) -> None:
    """See to it that the engine has an image; many callers at once fetch it once.

    Args:
        docker: the engine's client.
        image: a reference, as `docker pull` takes it.

    Raises:
        EnvironmentUnavailable: it is not there and cannot be had.
    """
    async with _pulls.setdefault(image, asyncio.Lock()):
        if await _has(docker, image):
            return
        log.info("fetching the image %s", image)
        errors: Any = importlib.import_module("aiodocker.exceptions")
        http: Any = importlib.import_module("aiohttp")
        try:
            async with asyncio.timeout(PULL_S):
                await docker.images.pull(image, timeout=PULL_S)
        except errors.DockerError as error:
            raise EnvironmentUnavailable(
                f"the image {image} is not there and cannot be pulled: {error.message}"
            ) from None
        except (http.ClientError, OSError, TimeoutError) as error:
            raise EnvironmentUnavailable(
                f"the image {image} could not be pulled: {error}"
            ) from None


async def _has(docker: Any, image: str) -> bool:
    errors: Any = importlib.import_module("aiodocker.exceptions")
    http: Any = importlib.import_module("aiohttp")
    try:
        await docker.images.inspect(image)
    except errors.DockerError as error:
        if error.status == 404:
            return False
        raise EnvironmentUnavailable(f"the container engine refused: {error.message}") from None
    except (http.ClientError, OSError, TimeoutError) as error:
        raise EnvironmentUnavailable(
            f"the container engine does not answer: {error}; is it running, and does "
            "EVERLOOP_DOCKER_HOST name it?"
        ) from None
    return True
