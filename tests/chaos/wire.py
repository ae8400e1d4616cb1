"""TCP proxies that a test cuts, unplugs and silences: what a network does to connections between healthy machines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
# Where a server listens: the path of a Unix socket, or a port on this machine.
Place = str | int


class Wires:
    """The loop, in a thread of its own, that all proxies share."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._wires: list[Wire] = []
        self._thread = threading.Thread(target=self.loop.run_forever, name="wires", daemon=True)
        self._thread.start()

    def wire(self, target: Place) -> Wire:
        """A new proxy to the server at `target`, which need not be there yet."""
        wire = Wire(target, self)
        self._wires.append(wire)
        asyncio.run_coroutine_threadsafe(wire.listen(), self.loop).result(60)
        return wire

    def within(self, work: Callable[[], Answer]) -> Answer:
        """Do `work` in the loop's thread, where the connections are."""

        async def worked() -> Answer:
            return work()

        return asyncio.run_coroutine_threadsafe(worked(), self.loop).result(60)

    def stop(self) -> None:
        """Close every proxy."""
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()

    async def _close(self) -> None:
        for wire in self._wires:
            wire.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Wire:
    """One proxy: `port` on loopback leads to the server."""

    def __init__(self, target: Place, wires: Wires) -> None:
        self.target, self._wires = target, wires
        self.port = 0
        self._ends: set[asyncio.StreamWriter] = set()
        self._plugged = True
        self._flows = asyncio.Event()

    async def listen(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> int:
        """Reset every connection; new ones are let through. How many there were."""
        return self._wires.within(self._cut)

    def unplug(self) -> None:
        """Reset every connection, and each new one, until it is plugged in."""
        self._plugged = False
        self.cut()

    def plug(self) -> None:
        self._plugged = True

    def silence(self) -> None:
        """Let nothing through, and tell nobody: connections stay open."""
        self._wires.within(self._flows.clear)

    def speak(self) -> None:
        self._wires.within(self._flows.set)

    def close(self) -> None:
        """In the loop's thread: nobody is let in any more."""
        self._server.close()
        self._cut()

    def _cut(self) -> int:
        for end in list(self._ends):
            end.transport.abort()
        return len(self._ends) // 2

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self._plugged:
                raise ConnectionError
            if isinstance(self.target, str):
                there = await asyncio.open_unix_connection(self.target)
            else:
                there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, there[1]}
        self._ends |= ends
        try:
            await asyncio.gather(self._carry(reader, there[1]), self._carry(there[0], writer))
        finally:
            self._ends -= ends

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From one end to the other until either ends; then both do."""
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            writer.transport.abort()
        finally:
            if reader.at_eof() or writer.is_closing():
                writer.close()
