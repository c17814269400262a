"""A TCP proxy that imitates network faults: cut or silent connections, latency, low bandwidth, idle connections dropped."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST instead of FIN


class _Line:
    """The bandwidth that all connections share, in both directions together."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def carry(self, count: int) -> None:
        """Wait as long as it takes to transfer these bytes, after those that came before."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + count / self._rate
            until = self._free_at
        time.sleep(max(0.0, until - time.monotonic()))


class _Pair:
    """One connection through the proxy, with a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, target: socket.socket) -> None:
        self._proxy = proxy
        self._sockets = (client, target)
        self.swallowed = False
        self._used_at = time.monotonic()
        for source, sink in ((client, target), (target, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        # One buffer per connection, since tests that measure memory share the process with running proxies.
        buffer = memoryview(bytearray(_CHUNK))
        with contextlib.suppress(OSError):
            while count := source.recv_into(buffer):
                if self._proxy.latency:
                    time.sleep(self._proxy.latency)
                if self._proxy.silent or self._forgotten():
                    self.swallowed = True
                if self._proxy.line is not None:
                    self._proxy.line.carry(count)
                if not self.swallowed:
                    sink.sendall(buffer[:count])
        # While silent, the end of a connection is swallowed like everything else: the other side must not notice it.
        if not (self._proxy.silent or self.swallowed):
            self.reset()

    def _forgotten(self) -> bool:
        """Whether this connection was idle for so long that the proxy drops its bytes."""
        idle, self._used_at = time.monotonic() - self._used_at, time.monotonic()
        return self._proxy.forgets_after is not None and idle > self._proxy.forgets_after

    def reset(self) -> None:
        self._proxy.forget(self)
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RD)  # wakes the thread that reads; a close alone would not
            end.close()


class Proxy:
    """Forwards ``127.0.0.1:port`` to a target. The port stays the same through ``cut`` and ``heal``."""

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._listening = False
        self.silent = False
        self.latency = 0.0
        self.line: _Line | None = None
        self.forgets_after: float | None = None
        self._socket = self._bind(0)
        self.port: int = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """``host:port`` that a client connects to."""
        return f"127.0.0.1:{self.port}"

    @staticmethod
    def _bind(port: int) -> socket.socket:
        """A bound socket that does not listen: it refuses connections and reserves the port."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def start(self) -> Self:
        """Forward from now on. Starting twice does nothing."""
        if not self._listening:
            self._listening = True
            self._socket.listen(128)
            threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()
        return self

    def cut(self) -> None:
        """Reset every connection, and refuse new ones until ``heal``."""
        if self._listening:
            self._listening = False
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # ends the thread that accepts
            self._socket.close()
            self._socket = self._bind(self.port)
        self._reset_all()

    def half_open(self) -> None:
        """Keep every connection and accept new ones, but drop all bytes in both directions until ``heal``."""
        self.silent = True
        self.start()

    def heal(self) -> None:
        """Forward again. Connections that lost bytes meanwhile are reset: their streams can't be repaired."""
        self.silent = False
        self.latency = 0.0
        self.line = self.forgets_after = None
        with self._lock:
            torn = [pair for pair in self._pairs if pair.swallowed]
        for pair in torn:
            pair.reset()
        self.start()

    def slow(self, latency: float) -> None:
        """Delay all data by ``latency`` seconds, in each direction."""
        self.latency = latency

    def throttle(self, bytes_per_second: float) -> None:
        """Limit the bytes per second, for all connections and both directions together."""
        self.line = _Line(bytes_per_second)

    def forget_idle(self, seconds: float) -> None:
        """Drop all bytes of connections that were idle for longer, without telling either side, as a NAT does."""
        self.forgets_after = seconds

    def stop(self) -> None:
        """Reset every connection and release the port."""
        self.cut()
        self._socket.close()

    def forget(self, pair: _Pair) -> None:
        with self._lock:
            self._pairs.discard(pair)

    def _reset_all(self) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                target = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            target.settimeout(None)
            for end in (client, target):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._join(client, target, listener)

    def _join(self, client: socket.socket, target: socket.socket, listener: socket.socket) -> None:
        pair = _Pair(self, client, target)
        with self._lock:
            self._pairs.add(pair)
        # A cut between accept() and here did not reset this pair.
        if self._socket is not listener or not self._listening:
            pair.reset()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
