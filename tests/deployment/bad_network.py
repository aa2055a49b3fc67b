"""A wire that delays, breaks connections and can be cut: a TCP proxy in a thread."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

CHUNK = 1 << 16


class Wire:
    """Carries TCP connections to a server, badly.

    Args:
      host: interface that it listens on.
      port: the server's, on the loopback interface.
      delay: seconds by which everything that goes through is late.
      breaks_after: every third connection is reset once so many chunks went through it; the others live.
    """

    def __init__(self, host: str, port: int, *, delay: float, breaks_after: int) -> None:
        self._target = ("127.0.0.1", port)
        self._host = host
        self._delay = delay
        self._lives: Iterator[int | None] = itertools.cycle([breaks_after, None, None])
        self._cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready: Future[tuple[asyncio.AbstractEventLoop, int]] = Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)
        self._thread.start()
        self._loop, self.port = self._ready.result()
        self.broken = 0

    def steady(self) -> None:
        """Breaks none of the connections that it takes from now on."""
        self._lives = itertools.repeat(None)

    def cut(self) -> None:
        """Ends all connections and takes no new ones."""

        async def end() -> None:
            self._cut = True
            self._abort()

        self._run(end())

    def mend(self) -> None:
        """Takes connections again."""
        self._cut = False

    def close(self) -> None:
        """Ends everything, the thread too."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._carry, self._host, 0)
        self._ready.set_result((asyncio.get_running_loop(), server.sockets[0].getsockname()[1]))
        await self._over.wait()
        self._cut = True
        self._abort()
        while self._writers:
            await asyncio.sleep(self._delay)
        server.close()

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back: asyncio.StreamWriter | None = None
        self._writers.add(writer)
        with suppress(OSError):
            if not self._cut:
                there, back = await asyncio.open_connection(*self._target)
                self._writers.add(back)
                life = next(self._lives)
                await asyncio.gather(self._pump(reader, back, life), self._pump(there, writer, life))
        for end in filter(None, (writer, back)):
            end.close()  # what is left in its buffer is still sent
            self._writers.discard(end)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, life: int | None) -> None:
        with suppress(OSError):
            for number in itertools.count():
                chunk = await source.read(CHUNK)
                await asyncio.sleep(self._delay)
                if not chunk or number == life:
                    self.broken += number == life
                    break
                sink.write(chunk)
                await sink.drain()
        if life is None:
            sink.close()
        else:
            sink.transport.abort()
