"""Output that is followed, larger than what is kept of it."""

from pathlib import Path

from environments import agentd_spool
from environments.agentd_spool import Spool
from environments.channel import AgentChannel


def test_the_beginning_is_kept_whole_and_of_the_rest_the_end(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), limit=10)
    for piece in (b"01234", b"56789AB", b"C" * 2 * agentd_spool.TAIL_BYTES, b"end"):
        spool.feed(piece)
    assert spool.read(0, ended=False) == (0, b"0123456789")
    assert spool.read(10, ended=False) == (10, b"")
    start, tail = spool.read(10, ended=True)
    assert (start, len(tail)) == (spool.total - agentd_spool.TAIL_BYTES, agentd_spool.TAIL_BYTES)
    assert tail.endswith(b"Cend")
    assert spool.read(spool.total, ended=True) == (spool.total, b"")
    assert list(tmp_path.iterdir()) == []
    spool.close()


def test_on_a_full_volume_the_end_is_still_told() -> None:
    spool = Spool("/proc/nowhere")
    spool.feed(b"all of it")
    assert spool.read(0, ended=False) == (0, b"")
    assert spool.read(0, ended=True) == (0, b"all of it")


async def test_an_ended_command_is_told_again_from_any_offset(sandbox: AgentChannel) -> None:
    command = "echo out; sleep 0.1; echo err >&2; printf '\\xff\\x00'"
    for _ in range(2):
        await sandbox.start("a", command, timeout_s=20, output_bytes=1000)
    assert (await sandbox.attach("a", timeout_s=20)).exit_code == 0
    whole = await sandbox.follow("a", stdout_from=0, stderr_from=0, wait_s=5)
    assert (whole.stdout, whole.stderr, whole.ended) == (b"out\n\xff\0", b"err\n", True)
    rest = await sandbox.follow("a", stdout_from=4, stderr_from=4, wait_s=5)
    assert (rest.stdout_at, rest.stdout, rest.stderr, rest.ended) == (4, b"\xff\0", b"", True)


async def test_whoever_follows_a_silent_command_is_answered_with_nothing(
    sandbox: AgentChannel,
) -> None:
    await sandbox.start("a", "read < <(sleep 30)", timeout_s=20, output_bytes=1000)
    silent = await sandbox.follow("a", stdout_from=0, stderr_from=0, wait_s=0)
    assert (silent.stdout, silent.stderr, silent.ended) == (b"", b"", False)
    await sandbox.cancel("a")
