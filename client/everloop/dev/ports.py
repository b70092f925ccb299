"""Which ports the processes get."""

import socket
from collections.abc import Mapping

from everloop.dev.errors import DevError

LOOPBACK = "127.0.0.1"

API = "api"
TEMPORAL = "temporal"
TEMPORAL_UI = "temporal_ui"
DEMO_MODEL = "demo_model"

#: The ports taken when they are free: those that the tools' own documentation names.
DEFAULTS: Mapping[str, int] = {API: 8080, TEMPORAL: 7233, TEMPORAL_UI: 8233, DEMO_MODEL: 8089}


def choose(*, api_port: int | None, remembered: Mapping[str, int]) -> dict[str, int]:
    """Choose a free port for every listener, all different.

    Args:
        api_port: the port that the API must have; None for the usual one if it is free. 0 is any
            free one, for all listeners, so that several can start at the same moment.
        remembered: the ports of the last start, preferred if they are free.

    Raises:
        DevError: the port that the API must have is taken.
    """
    held: list[socket.socket] = []
    try:
        chosen: dict[str, int] = {}
        for name, default in DEFAULTS.items():
            if name == API and api_port:
                wishes = [api_port]
            elif api_port == 0:
                wishes = [remembered.get(name, 0), 0]
            else:
                wishes = [remembered.get(name, default), default, 0]
            listener = _first_free(wishes)
            if listener is None:
                raise DevError(
                    f"port {api_port} is taken; give another --port, or --port 0 for a free one"
                )
            held.append(listener)
            chosen[name] = listener.getsockname()[1]
        return chosen
    finally:
        for listener in held:
            listener.close()


def _first_free(wishes: list[int]) -> socket.socket | None:
    for port in wishes:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # A port whose last connections linger in TIME_WAIT is free for a new listener.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            # With SO_REUSEADDR, only listening keeps a second bind off the port.
            listener.listen(1)
        except OSError:
            listener.close()
            continue
        return listener
    return None
