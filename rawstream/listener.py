"""Listening sockets: binding them with clear errors, and keeping quiet when descriptors run out.

Owns: one bound socket, its options, whether it accepts at present. Must not know: HTTP, what an
accepted connection is for.

What libuv does when accept meets EMFILE: it gives up a descriptor of its own, accepts and closes
what waits, and takes the descriptor back. When it can't take it back (ENFILE, a thread that was
faster), the next EMFILE makes the loop spin at full load until a descriptor is free. So `guard`
looks once a second whether there is one, and stops listening while there is not; what waits then
gets its 503 through a descriptor kept for this.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from rawstream.errors import ConfigError

log = logging.getLogger(__name__)

_Address = tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]

_SPARE_TO_GO_ON = 8  # free descriptors that make it worth listening again
_SHED_PER_LOOK = 1024
_SAME_PORT_TRIES = 16  # the system chose a port for IPv4 that is taken for IPv6: choose again


async def bind_tcp(host: str, port: int) -> list[socket.socket]:
    """Bind to `host` ('': all addresses of both families) and `port` (0: any, the same for all).

    Raises ConfigError on 'port' or 'host' with what the operator can do.
    """
    if host == "":
        infos: list[_Address] = [
            (socket.AF_INET, ("0.0.0.0", port)),
            (socket.AF_INET6, ("::", port, 0, 0)),
        ]
    else:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except (socket.gaierror, UnicodeError) as error:
            raise ConfigError("host", f"'{host}' is no address or name known here") from error
        infos = list(dict.fromkeys((info[0], tuple(info[4])) for info in found))
    for attempt in range(_SAME_PORT_TRIES):
        try:
            return _bind_all(infos, port)
        except OSError as error:
            chosen_elsewhere = port == 0 and error.errno == errno.EADDRINUSE
            if not chosen_elsewhere or attempt == _SAME_PORT_TRIES - 1:
                raise _bind_error(error, host, port) from error
    raise AssertionError("the last try returns or raises")


def _bind_all(infos: list[_Address], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, address in infos:
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and (sockets or len(infos) > 1):
                    continue  # a machine without IPv6
                raise
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address[0], port, *address[2:]))
            except OSError as error:
                sock.close()
                if error.errno == errno.EADDRNOTAVAIL and sockets:
                    continue  # IPv6 is built in and switched off
                raise
            sockets.append(sock)
            port = port or sock.getsockname()[1]
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind_error(error: OSError, host: str, port: int) -> ConfigError:
    where = f" on {host}" if host else ""
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            "port", f"port {port} is already in use{where}; choose another or stop what uses it"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(
            "port", f"port {port} is not allowed for this user; choose one above 1023"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError("host", f"'{host}' is not an address of this machine")
    return ConfigError("port", f"port {port}{where}: {os.strerror(error.errno or 0).lower()}")


def bind_unix(path: Path) -> socket.socket:
    """Bind a Unix socket that only our user may open; a dead one left at `path` is replaced.

    Raises ConfigError when the path can't be used or another process listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_dead(path):
                raise
            path.unlink()
            sock.bind(str(path))
    except OSError as error:
        sock.close()
        problem = (error.strerror or str(error)).lower()
        raise ConfigError("socket", f"{path}: {problem}") from error
    finally:
        os.umask(mask)
    return sock


def _is_dead(path: Path) -> bool:
    """A socket file that nobody listens behind."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False


class Listener:
    """One bound socket and whether it accepts. `make_protocol` makes the protocol of each
    connection.
    """

    def __init__(
        self,
        sock: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        backlog: int,
        not_sent_low_bytes: int,
        user_timeout_seconds: float,
        path: Path | None = None,
    ) -> None:
        self._sock = sock
        self._make_protocol = make_protocol
        self._backlog = backlog
        self._path = path
        # The loop gets a duplicate: closing it stops the accepting and leaves the socket, and
        # what waits in its queue, alive.
        self._accepting: asyncio.Server | None = None
        self._resuming: asyncio.Task[None] | None = None
        self._reserve: int | None = os.open(os.devnull, os.O_RDONLY)
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # Linux hands these down to every accepted socket: no system calls per connection.
            tcp = socket.IPPROTO_TCP
            sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
            sock.setsockopt(tcp, socket.TCP_NOTSENT_LOWAT, not_sent_low_bytes)
            sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, round(user_timeout_seconds * 1000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @property
    def accepting(self) -> bool:
        return self._accepting is not None

    async def start(self) -> None:
        """Begin to accept, or begin again."""
        loop = asyncio.get_running_loop()
        sock = self._sock.dup()
        try:
            if sock.family == socket.AF_UNIX:
                self._accepting = await loop.create_unix_server(
                    self._make_protocol, sock=sock, backlog=self._backlog
                )
            else:
                self._accepting = await loop.create_server(
                    self._make_protocol, sock=sock, backlog=self._backlog
                )
        except BaseException:
            sock.close()
            raise

    def guard(self, answer: bytes) -> int:
        """Once a second: stop accepting while descriptors are short, send `answer` to who waits
        then.

        Returns how many were turned away.
        """
        if self._accepting is not None:
            if not _descriptors_free(1):
                log.warning("out of file descriptors: new connections are turned away")
                self._stop()
        elif self._resuming is None and _descriptors_free(_SPARE_TO_GO_ON):
            log.warning("file descriptors are free again: listening")
            self._resuming = asyncio.get_running_loop().create_task(
                self._resume(), name="listen again"
            )
        return self._turn_away(answer) if self._accepting is None else 0

    def close(self) -> None:
        """Stop for good. Idempotent."""
        self._stop()
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        self._sock.close()
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _stop(self) -> None:
        accepting, self._accepting = self._accepting, None
        if accepting is not None:
            accepting.close()

    async def _resume(self) -> None:
        try:
            await self.start()
        except OSError:
            pass  # gone again: the next look tries again
        finally:
            self._resuming = None

    def _turn_away(self, answer: bytes) -> int:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        turned_away = 0
        try:
            for _ in range(_SHED_PER_LOOK):
                sock, _ = self._sock.accept()
                turned_away += 1
                with sock:
                    sock.setblocking(False)
                    sock.send(answer)
        except OSError:
            pass  # nobody waits any more, or there was no descriptor to be had after all
        try:
            self._reserve = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            pass  # the next look tries again
        return turned_away


def _descriptors_free(count: int) -> bool:
    taken: list[int] = []
    try:
        for _ in range(count):
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return True
