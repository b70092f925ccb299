"""`python -m activities.model.demo`: serve the scripted demo model on loopback.

Writes `<data_dir>/run/demo-model.json`, `{"port": ..., "pid": ...}`, once it accepts connections. A
process that was killed leaves the file behind, so a reader checks the pid.
"""

import argparse
import json
import os
import socket
from pathlib import Path

import uvicorn

from activities.model.demo.server import create_app
from contracts.settings import Settings

#: Only loopback: the demo model asks nobody who they are.
HOST = "127.0.0.1"
RUN_FILE = Path("run") / "demo-model.json"


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(prog="python -m activities.model.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--delay-ms", type=float, default=15, help="between two tokens")
    parser.add_argument("--data-dir", type=Path, default=Settings.from_env(os.environ).data_dir)
    chosen = parser.parse_args()
    listener = socket.create_server((HOST, chosen.port))
    # asyncio does this only for sockets made with IPPROTO_TCP; without it a stream stalls 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port: int = listener.getsockname()[1]
    config = uvicorn.Config(
        create_app(chosen.delay_ms / 1000),
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
    _announce(chosen.data_dir / RUN_FILE, port)
    print(f"The scripted demo model listens on http://{HOST}:{port}/v1", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def _announce(path: Path, port: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps({"port": port, "pid": os.getpid()}))
    draft.replace(path)


if __name__ == "__main__":
    main()
