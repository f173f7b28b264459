"""A real HTTP server on loopback for tests: answers each request with the next of a list of answers and records it."""

import json
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """`raw` replaces all the rest: it writes to the socket what it likes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    raw: Callable[[Any], None] | None = None


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def page(status: int = 200) -> Answer:
    return Answer(status, b"<!DOCTYPE html><title>Just a moment</title>", {"Content-Type": "text/html"})


class Loopback:
    """The last answer is repeated for ever."""

    def __init__(self, *answers: Answer, certificate: tuple[str, str] | None = None) -> None:
        self.seen: list[Seen] = []
        self.gone = threading.Event()  # set when a raw answer finds that its reader has left
        self._answers = list(answers) or [Answer()]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next(self) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def drip(self, pieces: Iterable[bytes]) -> Answer:
        """Bytes that keep coming until the reader leaves: a silence limit alone would wait for ever."""

        def write(file: Any) -> None:
            pause = threading.Event()
            with suppress(OSError):
                for piece in pieces:
                    file.write(piece)
                    file.flush()
                    pause.wait(0.02)
            self.gone.set()

        return Answer(raw=write)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes; the second would wait 40 ms for an answer

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                with suppress(OSError):
                    super().handle()

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = dict(self.headers.items())
                loopback.seen.append(Seen(self.command, self.path, headers, body, self.client_address))
                answer = loopback.next()
                if answer.raw:
                    self.close_connection = True
                    answer.raw(self.wfile)
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 (http.server looks for these names)

        return Handler
