"""A TCP relay that makes a near server far: delay, jitter, limited rate, stalls. User space, no privileges needed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from dedelayed_ros.errors import InputError, LinkError
from dedelayed_ros.sim.traces import BandwidthTrace

_CHUNK = 16384
_BUFFER_S = 0.2
"""How much of a limited link's time the bottleneck's buffer holds before the sender is made to wait."""
_BUFFER_BYTES = 8 << 20
"""Most bytes on their way in one direction of one connection, limited rate or not."""
_DIAL_S = 2.0


@dataclass(frozen=True)
class RelaySettings:
    """`rtt_ms` is shared by both ways in halves. `rate_mbps` limits each way, over all connections. `trace`: bandwidth
    of the way from clients to the target, from the relay's start on; seconds in which nothing passes are real stalls.

    `jitter_ms`: mean of an extra delay, drawn from a log-normal distribution for each chunk and shared by both ways in
    halves; order is kept, so a late chunk holds up those behind it. `seed` makes the draws repeatable.
    """

    listen: str = '127.0.0.1:7448'
    to: str = '127.0.0.1:7447'
    rtt_ms: float = 100.0
    rate_mbps: float | None = None
    jitter_ms: float = 0.0
    seed: int = 0
    trace: BandwidthTrace | None = None

    def __post_init__(self) -> None:
        for name in ('rtt_ms', 'jitter_ms'):
            if not 0 <= getattr(self, name) <= 60_000:
                raise InputError(f'{name} is {getattr(self, name)}; expected 0 to 60000')
        if self.rate_mbps is not None and not 0 < self.rate_mbps <= 100_000:
            raise InputError(f'rate_mbps is {self.rate_mbps}; expected above 0 and at most 100000')


class _Way:
    """One direction of the link: when a chunk that enters now comes out."""

    def __init__(self, settings: RelaySettings, seed: int, trace: BandwidthTrace | None = None) -> None:
        self._settings = settings
        self._trace = trace
        self._begun_s: float | None = None  # when the trace began
        self._random = random.Random(seed)
        self._free_s = 0.0  # when the bottleneck has sent all that is before it
        self.stalled_until_s = 0.0
        self.bytes = 0

    def backlog_s(self, now_s: float) -> float:
        """How long a byte that comes now waits for the bottleneck."""
        return max(self._free_s, self.stalled_until_s) - now_s

    def due_s(self, size: int, now_s: float) -> float:
        start_s = max(now_s, self._free_s, self.stalled_until_s)
        rate = self._settings.rate_mbps
        self._free_s = start_s + (size * 8e-6 / rate if rate else 0.0)
        if self._trace is not None:
            if self._begun_s is None:
                self._begun_s = now_s
            self._free_s = max(self._free_s, self._begun_s + self._trace.done_s(start_s - self._begun_s, size))
        self.bytes += size
        return self._free_s + (self._settings.rtt_ms + self._jitter_ms()) / 2e3

    def _jitter_ms(self) -> float:
        if not self._settings.jitter_ms:
            return 0.0
        # sigma 1 and a mean of exp(1/2): mostly small, now and then several times the mean.
        return self._settings.jitter_ms * self._random.lognormvariate(-0.5, 1.0)


class Relay:
    """Relays every connection made to `settings.listen` to `settings.to`, in a thread of its own.

    While the target is down, connections are accepted and closed at once, as a client would see a dead server behind a
    living network; when it is back the next connection reaches it. Use as a context manager, or `start` and `stop`.
    """

    def __init__(self, settings: RelaySettings) -> None:
        self.settings = settings
        self._listen = _address(settings.listen)
        self._to = _address(settings.to)
        self._up = _Way(settings, 2 * settings.seed, settings.trace)
        self._down = _Way(settings, 2 * settings.seed + 1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._stopping = False

    @property
    def bytes_up(self) -> int:
        """Bytes that clients sent to the target."""
        return self._up.bytes

    @property
    def bytes_down(self) -> int:
        """Bytes that the target sent to clients."""
        return self._down.bytes

    def start(self) -> None:
        """Listens; returns when connections are accepted. Raises `LinkError` where it cannot listen."""
        ready: list[OSError | None] = []
        event = threading.Event()

        def work() -> None:
            loop = asyncio.new_event_loop()
            self._loop = loop
            try:
                self._server = loop.run_until_complete(asyncio.start_server(self._accept, *self._listen))
            except OSError as error:
                ready.append(error)
            else:
                ready.append(None)
            event.set()
            if ready[0] is None:
                loop.run_forever()
            loop.close()

        if self._thread is not None:
            raise LinkError('this relay was started before; make a new one')
        self._thread = threading.Thread(target=work, name='relay', daemon=True)
        self._thread.start()
        event.wait()
        if ready[0] is not None:
            self._thread.join()
            raise LinkError(
                f'the relay cannot listen at {self.settings.listen}: {ready[0].strerror or ready[0]}. '
                'Stop what uses the port, or choose another with --listen'
            )

    def stop(self) -> None:
        """Closes every connection and the port. May be called twice."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None or not thread.is_alive():
            return

        async def close() -> None:
            assert self._server is not None
            self._stopping = True
            self._server.close()
            await asyncio.sleep(0)  # a connection that was just accepted gets its task
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            await asyncio.sleep(0)  # lets the sockets close
            loop.stop()

        asyncio.run_coroutine_threadsafe(close(), loop)
        thread.join(timeout=5)

    def stall(self, seconds: float) -> None:
        """From now on nothing enters the link for so long, either way; TCP keeps it all."""
        assert self._loop is not None

        def begin() -> None:
            until_s = asyncio.get_running_loop().time() + seconds
            self._up.stalled_until_s = self._down.stalled_until_s = until_s

        self._loop.call_soon_threadsafe(begin)

    def __enter__(self) -> Relay:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # -- the relay's own thread

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with _closing(writer):
                far_reader, far_writer = await asyncio.wait_for(asyncio.open_connection(*self._to), _DIAL_S)
                with _closing(far_writer):
                    if self._stopping:
                        return  # before Python 3.12 wait_for forgets that it was cancelled when it succeeds just then
                    ways = [
                        asyncio.create_task(self._carry(reader, far_writer, self._up)),
                        asyncio.create_task(self._carry(far_reader, writer, self._down)),
                    ]
                    try:
                        # When one side hangs up or dies, so does the other: nobody may talk into a void.
                        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for way in ways:
                            way.cancel()
                        await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.TimeoutError, asyncio.CancelledError):
            pass  # the target is down or the relay is being stopped; closing the connection says so

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
        """Moves bytes one way until its source ends and all that was on its way has arrived."""
        loop = asyncio.get_running_loop()
        flying: deque[tuple[float, bytes]] = deque()
        change = asyncio.Event()
        ended = False

        async def deliver() -> None:
            while True:
                while not flying:
                    if ended:
                        return
                    change.clear()
                    await change.wait()
                due_s, chunk = flying[0]
                if due_s > loop.time():
                    await asyncio.sleep(due_s - loop.time())
                writer.write(chunk)
                await writer.drain()
                flying.popleft()

        delivery = asyncio.create_task(deliver())
        try:
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(_CHUNK):
                    flying.append((way.due_s(len(chunk), loop.time()), chunk))
                    change.set()
                    while way.backlog_s(loop.time()) > _BUFFER_S or len(flying) * _CHUNK > _BUFFER_BYTES:
                        await asyncio.sleep(0.002)
            ended = True
            change.set()
            with contextlib.suppress(ConnectionError):
                await delivery
        finally:
            delivery.cancel()


@contextlib.contextmanager
def _closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        # The relay is being stopped: not even what is buffered is worth waiting for.
        writer.transport.abort()
        raise
    finally:
        writer.close()


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.removeprefix('tcp/').rpartition(':')
    if not (colon and host and port.isdigit() and 0 < int(port) <= 65535):
        raise InputError(f'{text!r} is no address; expected host:port, as 127.0.0.1:7448')
    return host.strip('[]'), int(port)
