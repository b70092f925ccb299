"""The way of pieces into the log."""

import asyncio
from collections.abc import Sequence

import pytest

from activities.model.writer import BACKLOG_CHARACTERS, ROW_CHARACTERS, DeltaWriter
from contracts.errors import StaleAttempt
from contracts.events import BlockDelta


class Log:
    """Takes rows as slowly as a test wants."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, list[BlockDelta]]] = []
        self.began = asyncio.Event()
        self.free = asyncio.Event()

    async def write(self, index: int, pieces: Sequence[BlockDelta]) -> None:
        self.began.set()
        await self.free.wait()
        self.rows.append((index, list(pieces)))

    async def rows_hold(self, characters: int) -> None:
        while sum(len(piece.text or "") for _, row in self.rows for piece in row) < characters:
            await asyncio.sleep(0.001)


def text(value: str, block: int = 0) -> BlockDelta:
    return BlockDelta(block=block, text=value)


async def test_the_first_piece_goes_at_once_and_the_rest_together() -> None:
    log = Log()
    writer = DeltaWriter(log.write)
    running = asyncio.create_task(writer.run())
    await writer.put(text("a"))
    await asyncio.wait_for(log.began.wait(), 1)
    for value in "bcdef":
        await writer.put(text(value))
    await writer.put(BlockDelta(block=1, tool_use_id="t", tool_name="f"))
    await writer.put(BlockDelta(block=1, input='{"a'))
    await writer.put(BlockDelta(block=1, input='":1}'))
    log.free.set()
    await asyncio.wait_for(log.rows_hold(6), 5)
    writer.stop()
    await running
    assert log.rows == [
        (0, [text("a")]),
        (
            1,
            [
                text("bcdef"),
                BlockDelta(block=1, tool_use_id="t", tool_name="f"),
                BlockDelta(block=1, input='{"a":1}'),
            ],
        ),
    ]


async def test_a_long_backlog_becomes_several_rows_in_order() -> None:
    log = Log()
    log.free.set()
    writer = DeltaWriter(log.write)
    pieces = [chr(ord("a") + place % 26) * 1000 for place in range(20)]
    for value in pieces:
        await writer.put(text(value))
    running = asyncio.create_task(writer.run())
    await asyncio.wait_for(log.rows_hold(20_000), 5)
    writer.stop()
    await running
    assert [index for index, _ in log.rows] == list(range(len(log.rows)))
    sizes = [sum(len(piece.text or "") for piece in row) for _, row in log.rows]
    assert max(sizes) <= 2 * ROW_CHARACTERS
    assert "".join(piece.text or "" for _, row in log.rows for piece in row) == "".join(pieces)


async def test_pieces_of_different_blocks_and_kinds_are_not_joined() -> None:
    log = Log()
    log.free.set()
    writer = DeltaWriter(log.write)
    pieces = [
        text("a"),
        text("b", block=1),
        BlockDelta(block=1, reasoning="c"),
        BlockDelta(block=1, signature="d"),
        BlockDelta(block=1, signature="e"),
        text("f", block=2),
    ]
    for piece in pieces:
        await writer.put(piece)
    running = asyncio.create_task(writer.run())
    await asyncio.wait_for(log.rows_hold(3), 5)
    writer.stop()
    await running
    assert [piece for _, row in log.rows for piece in row] == pieces


async def test_a_slow_store_makes_the_provider_wait() -> None:
    log = Log()
    writer = DeltaWriter(log.write)
    await writer.put(text("x" * (BACKLOG_CHARACTERS + 1)))
    held = asyncio.create_task(writer.put(text("y")))
    running = asyncio.create_task(writer.run())
    await asyncio.wait_for(log.began.wait(), 1)
    log.free.set()
    await asyncio.wait_for(held, 5)
    writer.stop()
    await running


async def test_an_overtaken_writer_ends() -> None:
    async def refuse(index: int, pieces: Sequence[BlockDelta]) -> None:
        raise StaleAttempt("later")

    writer = DeltaWriter(refuse)
    await writer.put(text("a"))
    with pytest.raises(StaleAttempt):
        await asyncio.wait_for(writer.run(), 5)
