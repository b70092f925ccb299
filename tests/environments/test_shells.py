"""Shells inside a real sandbox, by agentd's own protocol."""

import asyncio
import struct

import pytest

from contracts.errors import EnvironmentRefused
from environments.channel import AgentChannel, ShellAnswer, Streams
from tests.environments.sandboxes import run, until

HEAD = struct.Struct("!cI")


async def attach(
    sandbox: AgentChannel, id: str = "s", *, resume: bool = False, after: int | None = None
) -> tuple[ShellAnswer, "Terminal"]:
    answer, streams = await sandbox.shell(
        id, columns=100, rows=30, resume=resume, after=after, variables={"PS1": "> "}
    )
    return answer, Terminal(streams)


class Terminal:
    """What a connection to a shell shows."""

    def __init__(self, streams: Streams) -> None:
        self.reader, self.writer = streams
        self.shown = b""
        self.last: tuple[bytes, bytes] | None = None

    def type(self, data: bytes, kind: bytes = b"i") -> None:
        self.writer.write(HEAD.pack(kind, len(data)) + data)

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(20):
            while text not in self.shown:
                await self.frame()

    async def end(self) -> tuple[bytes, bytes]:
        async with asyncio.timeout(20):
            while self.last is None:
                await self.frame()
        self.leave()
        return self.last

    async def frame(self) -> None:
        kind, length = HEAD.unpack(await self.reader.readexactly(HEAD.size))
        payload = await self.reader.readexactly(length)
        if kind == b"o":
            self.shown += payload
        else:
            self.last = (kind, payload)

    def leave(self) -> None:
        self.writer.transport.abort()


async def test_a_shell_has_a_terminal_of_its_own(sandbox: AgentChannel) -> None:
    answer, terminal = await attach(sandbox)
    assert (answer.new, answer.at) == (True, 0)
    terminal.type(b"stty size; tty; pwd; echo $((6 * 7))\n")
    await terminal.until(b"42\r\n")
    assert b"30 100\r\n" in terminal.shown and b"/dev/pts/" in terminal.shown
    assert b"/mnt/session\r\n" in terminal.shown
    terminal.type(struct.pack("!HH", 70, 20), b"r")
    terminal.type(b"stty size\n")
    await terminal.until(b"20 70\r\n")
    # In a process of its own, so that it is in the foreground when it says so.
    terminal.type(b"bash -c 'echo as$((1))leep; exec sleep 60'\n")
    await terminal.until(b"as1leep")
    terminal.type(b"\x03")
    terminal.type(b"echo in$((1))terrupted $?; exit 7\n")
    await terminal.until(b"in1terrupted 130")
    assert await terminal.end() == (b"x", struct.pack("!i", 7))


async def test_a_shell_outlives_its_connection_and_shows_what_was_missed(
    sandbox: AgentChannel,
) -> None:
    _, first = await attach(sandbox)
    first.type(b"x=kept; echo be$((0))gun; read line; echo missed\n")
    await first.until(b"be0gun")
    seen = len(first.shown)
    first.leave()
    answer, second = await attach(sandbox, resume=True, after=seen)
    assert (answer.new, answer.at) == (False, seen)
    second.type(b"\necho $x\n")
    await second.until(b"kept\r\n")
    _, whole = await attach(sandbox, resume=True)
    await whole.until(b"be0gun")
    await whole.until(b"kept\r\n")
    # One connection shows a shell; the one before is told.
    assert await second.end() == (b"d", b"")
    whole.type(b"exit\n")
    assert (await whole.end())[0] == b"x"
    # The exit status is there for who comes late.
    _, late = await attach(sandbox, resume=True)
    assert await late.end() == (b"x", struct.pack("!i", 0))


async def test_shells_are_bounded_and_not_made_by_who_wants_one_back(
    sandbox: AgentChannel,
) -> None:
    with pytest.raises(EnvironmentRefused) as unknown:
        await attach(sandbox, "gone", resume=True)
    assert unknown.value.code == "unknown_id"
    terminals = [(await attach(sandbox, f"s{number}"))[1] for number in range(10)]
    with pytest.raises(EnvironmentRefused) as busy:
        await attach(sandbox, "more")
    assert busy.value.code == "busy"
    for terminal in terminals:
        terminal.type(b"", b"k")
    for terminal in terminals:
        assert (await terminal.end())[0] == b"x"


async def test_a_reader_who_falls_behind_holds_the_shell_and_nobody_else(
    sandbox: AgentChannel,
) -> None:
    _, terminal = await attach(sandbox)
    terminal.type(b"yes everloop | head -c 600000; echo all to$((0))ld\n")
    # The daemon serves others while nobody reads.
    assert (await run(sandbox, "echo here")).stdout == "here\n"
    await terminal.until(b"all to0ld")
    assert len(terminal.shown) > 600_000
    terminal.leave()


async def test_a_shell_counts_as_activity_while_it_lives(sandbox: AgentChannel) -> None:
    _, terminal = await attach(sandbox)
    await terminal.until(b"> ")
    terminal.leave()
    info = await sandbox.info()
    assert (info.processes, info.running) == (1, 0) and info.idle_s < 1
    _, again = await attach(sandbox, resume=True)
    again.type(b"exit\n")
    await again.end()

    async def gone() -> bool:
        return (await sandbox.info()).processes == 0

    await until(gone)
