"""A relay far away: its round trips are what a sender waits for, whether the next message is announced or not."""

from __future__ import annotations

import asyncio
import os
import smtplib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.results import Result
from benchmarks.sink import sink
from pipeline.adapters.mailer import Relay

# Seconds that everything takes each way, and how many messages go out at a time.
EACH_WAY, MESSAGES = 0.01, 150
SENDER, RECIPIENT = "reports@example.com", "ann@example.org"


def measure(rounds: int) -> Result:
    """Messages of 12 kB a second of one process, by turns, as often as `rounds` says."""
    data = b"Subject: Aircraft log\r\n\r\n" + (os.urandom(36).hex().encode() + b"\r\n") * 162
    ways: dict[str, Callable[[int], None]] = {
        "smtplib, one connection": lambda port: _smtplib(port, data),
        "the product's relay, each message alone": lambda port: _relay(port, data, announced=False),
        "the product's relay, the next message announced with the dot": lambda port: _relay(port, data, announced=True),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    with sink() as mail, _far_away(mail.port) as port:
        for _ in range(rounds):
            for name, send in ways.items():
                began = time.perf_counter()
                send(port)
                found[name].append(MESSAGES / (time.perf_counter() - began))
    return Result(
        "distance",
        f"Messages a second to a relay {EACH_WAY * 1000:.0f} ms away (one process, no ledger)",
        ("", "median", "least", "most"),
        [(name, *[f"{one:.1f}" for one in (median(all_), min(all_), max(all_))]) for name, all_ in found.items()],
        {name: median(all_) for name, all_ in found.items()},
    )


def _smtplib(port: int, data: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="localhost") as smtp:
        for _ in range(MESSAGES):
            smtp.sendmail(SENDER, [RECIPIENT], data)


def _relay(port: int, data: bytes, *, announced: bool) -> None:
    relay = Relay(f"smtp://127.0.0.1:{port}")
    for number in range(MESSAGES):
        following = (RECIPIENT, data) if announced and number + 1 < MESSAGES else None
        relay.send(SENDER, RECIPIENT, data, lambda: None, following)
    relay.close()


@contextmanager
def _far_away(port: int) -> Iterator[int]:
    """Another port that leads to `port`, and holds back whatever passes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(_passing(port), "127.0.0.1", 0), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def _passing(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def pump(heard: asyncio.StreamReader, told: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await heard.read(65536):
            loop.call_later(EACH_WAY, told.write, data)
        loop.call_later(EACH_WAY, told.close)

    async def serve(heard: asyncio.StreamReader, told: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(heard, back), pump(there, told))

    return serve
