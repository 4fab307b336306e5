"""A CONNECT proxy."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress

from misbehaving_store import PIECE, read_request


class Proxy:
    """A CONNECT proxy.

    Attributes:
        asked: Where clients wanted to go.
        credentials: What clients gave as Proxy-Authorization.
        refuse: Whether it lets nobody through.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.credentials: list[str] = []
        self.refuse = False
        self._stopped = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=[client]))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            with client.makefile("rb", buffering=0) as reader:
                request = read_request(reader)
            if request is None:
                return
            self.asked.append(request.target)
            self.credentials.append(request.headers.get("proxy-authorization", ""))
            if self.refuse:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                return
            host, port = request.target.rsplit(":", 1)
            with socket.create_connection((host, int(port)), 60) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                self._relay(client, server)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        while not self._stopped.is_set():
            ready, _, _ = select.select([client, server], [], [], 0.05)
            for end in ready:
                data = end.recv(PIECE)
                if not data:
                    return
                (server if end is client else client).sendall(data)
