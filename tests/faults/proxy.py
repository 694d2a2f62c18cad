"""A network between a runner and its server: it stops at a given message, cuts connections, or swallows everything.

It reads the frames of the protocol (PostgreSQL documentation, "Message Formats"), so that "the COMMIT was sent and its
answer is lost" is a place where it can stop, not a matter of luck.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

_HOST = "127.0.0.1"
_QUERIES = b"QP"  # a simple query, and the statement of an extended one
_READY = b"Z"
_GONE = (OSError, asyncio.IncompleteReadError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A message that contains `at`, the first one after a message with `behind`.

    The proxy holds it back; with `answered` it lets it pass and holds back the answer, once the server has given it.
    """

    at: bytes
    behind: bytes = b""
    answered: bool = False


@dataclass(slots=True, kw_only=True)
class _Line:
    """One connection: the client's two ends and the server's."""

    from_client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    from_server: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    withheld: bool = False

    def cut(self) -> None:
        self.to_client.transport.abort()
        self.to_server.transport.abort()


@dataclass(slots=True, kw_only=True)
class Proxy:
    """Listens on `port` of 127.0.0.1 and passes everything on to the server's socket.

    `reached` is set when the stop is reached. Then one of `release`, `cut` and `swallow` says what becomes of it.
    """

    server: Path
    stop: Stop | None = None
    port: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _lines: list[_Line] = field(default_factory=list)
    _armed: bool = False

    def release(self) -> None:
        """Let what is held back go on its way, as a slow network would."""
        self._loop.call_soon_threadsafe(self._released.set)

    def cut(self) -> None:
        """Break every connection there is; what is held back is lost. New ones are served."""
        self._loop.call_soon_threadsafe(self._cut)

    def swallow(self) -> None:
        """Keep every connection open and pass nothing on any more; new ones are accepted and never answered."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def restore(self) -> None:
        """The end of `swallow`: the old connections are broken, new ones are served."""
        self._loop.call_soon_threadsafe(self._flowing.set)
        self.cut()

    def _cut(self) -> None:
        for line in self._lines:
            line.cut()

    async def serve(self, listening: threading.Event, ending: asyncio.Event) -> None:
        """Serve until `ending`."""
        self._flowing.set()
        self._armed = self.stop is not None and not self.stop.behind
        served: set[asyncio.Task[None]] = set()

        async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connect(reader, writer))
            served.add(task)
            with suppress(asyncio.CancelledError, *_GONE):
                await task
            served.discard(task)
            writer.transport.abort()

        server = await asyncio.start_server(serving, _HOST, self.port)
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        await ending.wait()
        server.close()
        self._cut()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
        await asyncio.sleep(0)  # the callbacks of the aborted transports

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        from_server, to_server = await asyncio.open_unix_connection(str(self.server))
        line = _Line(from_client=reader, to_client=writer, from_server=from_server, to_server=to_server)
        self._lines.append(line)
        try:
            await _first_ended(self._requests(line), self._answers(line))
        finally:
            self._lines.remove(line)
            to_server.close()
            writer.close()

    async def _requests(self, line: _Line) -> None:
        length = await line.from_client.readexactly(4)  # the first message has no type
        line.to_server.write(length + await line.from_client.readexactly(int.from_bytes(length) - 4))
        while True:
            kind, frame = await _frame(line.from_client)
            await self._flowing.wait()
            if kind in _QUERIES and self._stops_at(frame):
                if self.stop and self.stop.answered:
                    line.withheld = True
                else:
                    self.reached.set()
                    await self._released.wait()
                    await self._flowing.wait()
            line.to_server.write(frame)
            await line.to_server.drain()

    async def _answers(self, line: _Line) -> None:
        held = b""
        while True:
            kind, frame = await _frame(line.from_server)
            await self._flowing.wait()
            held += frame
            if line.withheld:
                if kind != _READY:
                    continue
                line.withheld = False
                self.reached.set()
                await self._released.wait()
                await self._flowing.wait()
            line.to_client.write(held)
            await line.to_client.drain()
            held = b""

    def _stops_at(self, frame: bytes) -> bool:
        if self.stop is None:
            return False
        if self._armed and self.stop.at in frame:
            self._armed = False
            return not self.reached.is_set()
        self._armed = self._armed or (bool(self.stop.behind) and self.stop.behind in frame)
        return False


async def _frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """(type, the whole message). Raises IncompleteReadError at the end of the connection."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:]) - 4)


async def _first_ended(*ways: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def open_proxy(server: Path, stop: Stop | None = None) -> Iterator[Proxy]:
    """A proxy before the server's socket, in a thread of its own, which ends with the block."""
    it = Proxy(server=server, stop=stop)
    listening, ending = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: it._loop.run_until_complete(it.serve(listening, ending)))  # noqa: SLF001 - its maker
    thread.start()
    try:
        assert listening.wait(10)
        yield it
    finally:
        it._loop.call_soon_threadsafe(ending.set)  # noqa: SLF001 - its maker
        thread.join()
        it._loop.close()  # noqa: SLF001 - its maker
