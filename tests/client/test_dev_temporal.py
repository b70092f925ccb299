import asyncio
import os
from pathlib import Path

from everloop.dev import ports, probes, temporal
from everloop.dev.layout import DataDir
from everloop.dev.notices import Notice
from everloop.dev.spec import ProcessSpec
from everloop.dev.supervisor import Supervisor


async def test_the_real_dev_server_becomes_ready_and_keeps_its_database(tmp_path: Path) -> None:
    data = DataDir.at(tmp_path / "data")
    data.create()
    binary = temporal.find(os.environ)
    chosen = ports.choose(api_port=0, remembered={name: 0 for name in ports.DEFAULTS})
    port = chosen[ports.TEMPORAL]
    spec = ProcessSpec(
        "temporal",
        temporal.dev_server(binary, data, port=port, ui_port=chosen[ports.TEMPORAL_UI]),
        dict(os.environ),
        data.log("temporal"),
        probes.serves_temporal(binary, port, dict(os.environ)),
    )
    notices: list[Notice] = []
    supervisor = Supervisor(processes=(spec,), report=notices.append, changed=lambda: None)
    stop = asyncio.Event()
    running = asyncio.ensure_future(supervisor.run(stop))
    async with asyncio.timeout(60):
        await asyncio.wait(
            {running, asyncio.ensure_future(supervisor.all_ready.wait())},
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert supervisor.all_ready.is_set()
        assert await probes.listens(chosen[ports.TEMPORAL_UI])(0)
        stop.set()
        await running
    assert data.temporal_db.exists()
    assert not await probes.serves_temporal(binary, port, dict(os.environ))(0)
