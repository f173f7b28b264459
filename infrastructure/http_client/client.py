"""The one door for outgoing HTTP: turns a request into a `Response` with a 2xx status, or into one of the three errors.

Used by the adapters (symbol search, scanner, webhooks). One deadline covers all tries of a call; nothing is followed
elsewhere (no redirects, cookies or proxies of the environment), and no answer is larger than its limit.
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from infrastructure.backoff import Backoff
from infrastructure.errors import SAMPLE_LIMIT, InfrastructureError, Malformed, Rejected, Throttled, Unavailable
from infrastructure.http_client.connections import Addresses, DeadlineAdapter, resolved, until
from infrastructure.http_client.errors import translated

logger = logging.getLogger(__name__)

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
DAY_S = 86_400.0
BACKOFF = Backoff(first_s=0.5, factor=2, ceiling_s=5, jitter=0.5)


@dataclass(frozen=True, slots=True)
class HttpConfig:
    deadline_s: float = 20.0  # of a call: all tries and the pauses between them
    try_s: float = 10.0  # of one try: connecting, sending, reading to the last byte. (Not the resolver's own time.)
    connect_s: float = 5.0
    tries: int = 3
    backoff: Backoff = BACKOFF
    retry_after_s: float = 10.0  # a longer Retry-After ends the call: the caller comes back later
    body_bytes: int = 16 * 2**20  # after decompression
    connections: int = 8  # kept per host, and hosts kept
    user_agent: str = "Mozilla/5.0 (compatible; marketdata-platform)"
    ca_file: str = ""  # certificates to trust instead of certifi's
    trust_env: bool = False  # proxies and .netrc of the environment


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]  # looked up without regard to case
    body: bytes
    host: str

    def json(self) -> Any:
        """Malformed for a web page, an empty body, NaN and anything else that is not JSON."""
        try:
            return json.loads(self.body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            what = "a web page" if self.body.lstrip()[:1] == b"<" else "something else" if self.body else "nothing"
            raise Malformed(f"{self.host} sent {what} instead of JSON.", self.text) from None

    @property
    def text(self) -> str:
        """The start of the body, for a message or a sample."""
        return self.body[: SAMPLE_LIMIT * 4].decode("utf-8", "replace")[:SAMPLE_LIMIT]


class HttpRejected(Rejected):
    """Answered with 3xx or 4xx; the adapters turn some of these answers into better sentences."""

    def __init__(self, message: str, response: Response) -> None:
        super().__init__(message)
        self.response = response


class _Session(requests.Session):
    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """None, ever. The one of requests is also asked where nothing is to be followed: for the next request, it
        reads the body of a redirect to its end."""
        return iter(())


class HttpClient:
    """Usable from several threads and after a fork; connections open lazily, once per process.

    `gate` is called before anything is sent and raises where sending is switched off; `addresses` chooses which IP
    addresses a host may be reached at (then proxies are never used).
    """

    def __init__(
        self,
        config: HttpConfig | None = None,
        gate: Callable[[], None] | None = None,
        *,
        addresses: Addresses | None = None,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.config = config or HttpConfig()
        self._gate = gate
        self._addresses = addresses
        self._sleep = sleep
        self._random = random
        self._session: tuple[int, requests.Session] | None = None

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        retry: bool | None = None,
    ) -> Response:
        """A 2xx answer. Unavailable: 429, 5xx, no answer in time; HttpRejected: other statuses; Malformed: too large.

        `retry` None: what is unavailable is tried again where the method is idempotent.
        """
        deadline = time.monotonic() + (deadline_s or self.config.deadline_s)
        tries = self.config.tries if (method.upper() in IDEMPOTENT if retry is None else retry) else 1
        n = 0
        while True:
            try:
                return _accepted(self._try(method, url, deadline, params=params, json=json, data=data, headers=headers))
            except Unavailable as error:
                pause = max(self.config.backoff.delay_s(n, self._random), error.retry_after_s or 0)
                n += 1
                if n >= tries or pause > self.config.retry_after_s or time.monotonic() + pause >= deadline:
                    raise
                logger.info("%s Trying again in %.1f s.", error, pause)
                self._sleep(pause)

    def send(
        self,
        method: str,
        url: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> Response:
        """One try, and whatever status it is answered with. The body of the answer is left unread."""
        deadline = time.monotonic() + (deadline_s or self.config.deadline_s)
        return self._try(method, url, deadline, read=False, data=data, headers=headers)

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and session[0] == os.getpid():
            session[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _try(self, method: str, url: str, deadline: float, read: bool = True, **parts: Any) -> Response:
        if self._gate is not None:
            self._gate()
        host = _host(url)
        try:
            with until(min(deadline, time.monotonic() + self.config.try_s)):
                return self._answer(method, url, host, read, parts)
        except InfrastructureError:
            raise
        except (requests.RequestException, HTTPError, OSError) as error:
            raise translated(error, host) from error

    def _answer(self, method: str, url: str, host: str, read: bool, parts: dict[str, Any]) -> Response:
        answer = self._open().request(
            method, url, stream=True, allow_redirects=False, timeout=(self.config.connect_s, self.config.try_s), **parts
        )
        try:
            body = self._body(answer, host) if read else b""
            return Response(answer.status_code, answer.headers, body, host)
        finally:
            answer.close()  # and its connection, where some of the body is left: it would start the next answer

    def _body(self, answer: requests.Response, host: str) -> bytes:
        body = bytearray()
        for chunk in answer.raw.stream(65536, decode_content=True):
            body += chunk
            if len(body) > self.config.body_bytes:
                raise Malformed(f"{host} sent more than {self.config.body_bytes} bytes.")
        return bytes(body)

    def _open(self) -> requests.Session:
        # A connection must not cross a fork: both sides would read from it. The parent's is left alone, not closed.
        if self._session is None or self._session[0] != os.getpid():
            self._session = (os.getpid(), self._new_session())
        return self._session[1]

    def _new_session(self) -> requests.Session:
        session = _Session()
        session.trust_env = self.config.trust_env and self._addresses is None
        session.verify = self.config.ca_file or True
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        session.headers["User-Agent"] = self.config.user_agent
        adapter = DeadlineAdapter(self._addresses or resolved, self.config.connections)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session


def _accepted(response: Response) -> Response:
    if 200 <= response.status < 300:
        return response
    message = f"{response.host} answered {response.status}."
    if response.status == 429 or response.status >= 500:
        kind = Throttled if response.status == 429 else Unavailable
        raise kind(message, retry_after_s(response.headers.get("Retry-After", "")))
    if response.status < 400:
        message = f"{response.host} answered {response.status}: redirects are not followed."
    raise HttpRejected(message, response)


def retry_after_s(header: str) -> float | None:
    """Seconds from now, of a number or an HTTP date; at most a day. None where it says nothing usable."""
    if header.isascii() and header.isdecimal():
        return min(float(header), DAY_S)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    left = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(left, 0.0), DAY_S)


def _host(url: str) -> str:
    """Host and port for messages; never a password, a path or a query."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or "a URL without a host"
    except ValueError:
        return "a URL that cannot be read"


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
