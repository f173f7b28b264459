import gzip
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
import urllib3

from infrastructure.backoff import Backoff
from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.http_client import HttpClient, HttpConfig, HttpRejected
from infrastructure.http_client.client import retry_after_s
from infrastructure.http_client.errors import kind_of
from tests.loopback import Answer, Loopback, as_json, page
from tests.servers import free_port
from tests.tls import certificate_for

CONFIG = HttpConfig(backoff=Backoff(0.5, 2, 5, 0.5), user_agent="tests")


class Naps(list[float]):
    """Stands in for sleeping: keeps how long was asked for."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def client(naps: Naps) -> Iterator[HttpClient]:
    with HttpClient(CONFIG, sleep=naps, random=lambda: 0.5) as client:
        yield client


def test_an_answer_is_returned_whole(client: HttpClient) -> None:
    with Loopback(as_json({"a": [1, 2.5, None]}, ETag="x")) as server:
        answer = client.request("GET", f"{server.url}/path", params={"text": "a b", "n": 1}, headers={"Origin": "o"})
    assert (answer.status, answer.json(), answer.headers["etag"]) == (200, {"a": [1, 2.5, None]}, "x")
    assert [(s.method, s.path, s.headers["Origin"], s.headers["User-Agent"]) for s in server.seen] == [
        ("GET", "/path?text=a+b&n=1", "o", "tests")
    ]


def test_connections_are_kept(client: HttpClient) -> None:
    with Loopback(as_json(1)) as server:
        for _ in range(3):
            client.request("GET", server.url)
    assert len({seen.peer for seen in server.seen}) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(client: HttpClient, status: int) -> None:
    with Loopback(Answer(status, b"no")) as server, pytest.raises(HttpRejected) as caught:
        client.request("GET", server.url)
    assert str(caught.value) == f"127.0.0.1:{server.port} answered {status}."
    assert (caught.value.response.status, caught.value.response.body, len(server.seen)) == (status, b"no", 1)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(client: HttpClient, status: int) -> None:
    with Loopback() as elsewhere, Loopback(Answer(status, headers={"Location": elsewhere.url})) as server:
        with pytest.raises(Rejected, match=f"answered {status}: redirects are not followed"):
            client.request("GET", server.url, headers={"Cookie": "secret"})
        assert elsewhere.seen == []


@pytest.mark.parametrize("location", ["http://[", "", "//", "file:///etc/passwd"])
def test_where_a_redirect_leads_is_not_even_read(client: HttpClient, location: str) -> None:
    with Loopback(Answer(302, headers={"Location": location})) as server, pytest.raises(HttpRejected):
        client.request("GET", server.url)


def test_the_endless_body_of_a_redirect_is_not_read(client: HttpClient) -> None:
    with Loopback() as server:
        start = b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"
        server._answers = [server.drip(itertools.chain([start], itertools.repeat(b"x")))]
        assert client.send("POST", server.url).status == 302
        assert server.gone.wait(30)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_is_unavailable_is_tried_again_after_a_growing_pause(client: HttpClient, naps: Naps, status: int) -> None:
    with Loopback(Answer(status), Answer(status), as_json("here")) as server:
        assert client.request("GET", server.url).json() == "here"
    assert (len(server.seen), naps) == (3, [0.5, 1.0])


def test_tries_are_counted(client: HttpClient, naps: Naps) -> None:
    with Loopback(Answer(503)) as server, pytest.raises(Unavailable, match=r"answered 503\."):
        client.request("GET", server.url)
    assert (len(server.seen), naps) == (3, [0.5, 1.0])


def test_a_post_is_sent_once_unless_the_caller_knows_better(client: HttpClient) -> None:
    with Loopback(Answer(503), as_json(1)) as server:
        with pytest.raises(Unavailable):
            client.request("POST", server.url, json={"a": 1})
        assert client.request("POST", server.url, json={"a": 1}).json() == 1
        assert [seen.body for seen in server.seen] == [b'{"a": 1}'] * 2
    with Loopback(Answer(503), as_json(1)) as server:
        assert client.request("POST", server.url, json={"a": 1}, retry=True).json() == 1


def test_retry_after_is_waited_for(client: HttpClient, naps: Naps) -> None:
    with Loopback(Answer(429, headers={"Retry-After": "7"}), as_json(1)) as server:
        assert client.request("GET", server.url).json() == 1
    assert naps == [7.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("11", 11.0), ("000011", 11.0), ("21600", 21600.0), ("9" * 5000, 86400.0), ("99999", 86400.0)],
)
def test_a_long_retry_after_is_told_and_not_slept(client: HttpClient, naps: Naps, header: str, seconds: float) -> None:
    with Loopback(Answer(429, headers={"Retry-After": header})) as server, pytest.raises(Unavailable) as caught:
        client.request("GET", server.url)
    assert (caught.value.retry_after_s, naps, len(server.seen)) == (seconds, [], 1)


@pytest.mark.parametrize("header", ["", "soon", "-5", "1.5", "٣", "Mon, 99 Foo"])
def test_a_retry_after_that_says_nothing_is_ignored(header: str) -> None:
    assert retry_after_s(header) is None


@pytest.mark.parametrize(("ahead", "seconds"), [(timedelta(days=900), 86400.0), (timedelta(days=-900), 0.0)])
def test_retry_after_may_be_a_date(ahead: timedelta, seconds: float) -> None:
    assert retry_after_s(format_datetime(datetime.now(UTC) + ahead, usegmt=True)) == seconds


def test_no_pause_reaches_beyond_the_deadline(client: HttpClient, naps: Naps) -> None:
    with Loopback(Answer(503)) as server, pytest.raises(Unavailable):
        client.request("GET", server.url, deadline_s=0.4)
    assert (naps, len(server.seen)) == ([], 1)


@pytest.mark.parametrize(
    "pieces",
    [
        itertools.chain([b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"], itertools.repeat(b"x")),
        itertools.chain([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"1\r\nx\r\n")),
        itertools.chain([b"HTTP/1.1 200 OK\r\nX-Slow: "], itertools.repeat(b"x")),
        itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"x")),
    ],
    ids=["body", "chunks", "header", "until close"],
)
def test_a_slow_drip_ends_at_the_deadline(client: HttpClient, pieces: Iterator[bytes]) -> None:
    with Loopback() as server:
        server._answers = [server.drip(pieces)]
        with pytest.raises(Unavailable, match="did not answer in time"):
            client.request("GET", server.url, deadline_s=0.3, retry=False)
        assert server.gone.wait(30)


def test_a_silent_server_is_left_at_the_end_of_a_try_and_asked_again(naps: Naps) -> None:
    release = threading.Event()
    silent = Answer(raw=lambda _: release.wait(30))
    client = HttpClient(HttpConfig(try_s=0.2, deadline_s=30), sleep=naps)
    with client, Loopback(silent, as_json("here")) as server:
        assert client.request("GET", server.url).json() == "here"
        release.set()


def test_a_connection_closed_without_an_answer_is_unavailable(client: HttpClient) -> None:
    with Loopback(Answer(raw=lambda _: None)) as server, pytest.raises(Unavailable, match="could not be reached"):
        client.request("GET", server.url)
    assert len(server.seen) == 3


def test_a_body_cut_short_is_unavailable(client: HttpClient) -> None:
    cut = Answer(raw=lambda file: file.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    with Loopback(cut, as_json("whole")) as server:
        assert client.request("GET", server.url).json() == "whole"


def test_nobody_listening_is_unavailable(client: HttpClient, naps: Naps) -> None:
    with pytest.raises(Unavailable, match="could not be reached: ConnectionRefusedError"):
        client.request("GET", f"http://127.0.0.1:{free_port()}")
    assert naps == [0.5, 1.0]


def test_an_unknown_name_is_unavailable(client: HttpClient) -> None:
    with pytest.raises(Unavailable, match=r"The name nowhere\.invalid cannot be resolved"):
        client.request("GET", "http://nowhere.invalid/", retry=False)


@pytest.mark.parametrize(
    "url", ["", "no-scheme", "ftp://127.0.0.1/", "http://", "http://a:b@c:d", "http://[::1", "http:///x"]
)
def test_a_url_that_cannot_be_used_is_rejected(client: HttpClient, url: str) -> None:
    with pytest.raises(Rejected):
        client.request("GET", url)


def test_a_password_in_a_url_stays_out_of_messages(client: HttpClient) -> None:
    with pytest.raises(Unavailable) as caught:
        client.request("GET", f"http://me:hunter2@127.0.0.1:{free_port()}/?key=hunter2", retry=False)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (page(), "sent a web page instead of JSON"),
        (Answer(), "sent nothing instead of JSON"),
        (Answer(body=b"{"), "sent something else instead of JSON"),
        (Answer(body=b"[NaN]"), "sent something else instead of JSON"),
        (Answer(body=b"\xff\xfe\xff"), "sent something else instead of JSON"),
        (Answer(body=b"[" * 100_000), "sent something else instead of JSON"),
    ],
)
def test_what_is_not_json_is_malformed_and_kept(client: HttpClient, answer: Answer, message: str) -> None:
    with Loopback(answer) as server, pytest.raises(Malformed, match=message) as caught:
        client.request("GET", server.url).json()
    assert caught.value.sample == answer.body.decode("utf-8", "replace")[:500]


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "compressed"])
def test_a_body_beyond_the_limit_is_malformed(naps: Naps, encoded: bool) -> None:
    body = b"x" * 1_000_001
    answer = Answer(body=gzip.compress(body), headers={"Content-Encoding": "gzip"}) if encoded else Answer(body=body)
    client = HttpClient(HttpConfig(body_bytes=1_000_000), sleep=naps)
    with client, Loopback(answer, as_json("next")) as server:
        with pytest.raises(Malformed, match="sent more than 1000000 bytes"):
            client.request("GET", server.url)
        assert client.request("GET", server.url).json() == "next"


def test_a_compressed_body_is_opened(client: HttpClient) -> None:
    with Loopback(Answer(body=gzip.compress(b"[1]"), headers={"Content-Encoding": "gzip"})) as server:
        assert client.request("GET", server.url).json() == [1]


def test_a_broken_compression_is_malformed(client: HttpClient) -> None:
    with Loopback(Answer(body=b"not gzip", headers={"Content-Encoding": "gzip"})) as server, pytest.raises(Malformed):
        client.request("GET", server.url)


def test_cookies_are_not_kept(client: HttpClient) -> None:
    with Loopback(Answer(headers={"Set-Cookie": "a=b"})) as server:
        client.request("GET", server.url)
        client.request("GET", server.url)
    assert ["Cookie" in seen.headers for seen in server.seen] == [False, False]


def test_the_gate_is_asked_before_every_try(naps: Naps) -> None:
    refusals = [None, Rejected("The source is switched off.")]

    def gate() -> None:
        if refusal := refusals.pop(0):
            raise refusal

    with HttpClient(CONFIG, gate, sleep=naps) as client, Loopback(Answer(503)) as server:
        with pytest.raises(Rejected, match="switched off"):
            client.request("GET", server.url)
        assert len(server.seen) == 1


def test_send_returns_any_status_of_one_try(client: HttpClient) -> None:
    with Loopback(Answer(410, b"gone"), Answer(503), Answer(302)) as server:
        assert [client.send("POST", server.url, data=b"{}").status for _ in range(3)] == [410, 503, 302]


@pytest.mark.parametrize("trust_env", [False, True])
def test_a_proxy_of_the_environment_is_used_only_where_configured(
    monkeypatch: pytest.MonkeyPatch, trust_env: bool
) -> None:
    with Loopback(as_json("proxy")) as proxy, Loopback(as_json("direct")) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        with HttpClient(HttpConfig(trust_env=trust_env)) as client:
            assert client.request("GET", server.url).json() == ("proxy" if trust_env else "direct")


def test_a_child_opens_its_own_connection(client: HttpClient) -> None:
    with Loopback(as_json(1)) as server:
        client.request("GET", server.url)
        pid = os.fork()
        if not pid:
            code = 9
            try:
                code = client.request("GET", server.url).json() - 1
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        client.request("GET", server.url)
    parent, child, again = (seen.peer for seen in server.seen)
    assert parent == again != child


def test_nothing_opens_in_the_constructor_and_a_closed_client_opens_again(client: HttpClient) -> None:
    assert HttpClient()._session is None
    with Loopback(as_json(1)) as server:
        client.request("GET", server.url)
        client.close()
        assert client.request("GET", server.url).json() == 1


def test_a_certificate_of_nobody_is_rejected_and_a_trusted_one_is_not(tmp_path: Path, naps: Naps) -> None:
    certificate = certificate_for("127.0.0.1", tmp_path)
    with Loopback(as_json("safe"), certificate=certificate) as server:
        with HttpClient(sleep=naps) as client, pytest.raises(Rejected, match="no certificate that this machine trusts"):
            client.request("GET", server.url)
        assert naps == []
        with HttpClient(HttpConfig(ca_file=certificate[0])) as client:
            assert client.request("GET", server.url).json() == "safe"


def test_a_slow_drip_through_tls_ends_at_the_deadline(tmp_path: Path) -> None:
    certificate = certificate_for("127.0.0.1", tmp_path)
    with Loopback(certificate=certificate) as server, HttpClient(HttpConfig(ca_file=certificate[0])) as client:
        server._answers = [server.drip(itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"x")))]
        with pytest.raises(Unavailable, match="did not answer in time"):
            client.request("GET", server.url, deadline_s=0.5, retry=False)
        assert server.gone.wait(30)


def walk(error: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in error.__subclasses__():
        yield child
        yield from walk(child)


@pytest.mark.parametrize("root", [requests.RequestException, urllib3.exceptions.HTTPError])
def test_every_error_of_the_drivers_has_a_kind(root: type[BaseException]) -> None:
    drivers = [error for error in walk(root) if error.__module__.split(".")[0] in ("requests", "urllib3")]
    assert len(drivers) > 15
    assert [error.__name__ for error in drivers if kind_of(error) is None] == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (requests.exceptions.ConnectTimeout, Unavailable),
        (requests.exceptions.SSLError, Unavailable),
        (requests.exceptions.InvalidProxyURL, Rejected),
        (urllib3.exceptions.NameResolutionError, Unavailable),
        (urllib3.exceptions.IncompleteRead, Unavailable),
        (urllib3.exceptions.InvalidChunkLength, Malformed),
        (urllib3.exceptions.ProxySchemeUnknown, Rejected),
    ],
)
def test_kinds(error: type[Exception], kind: Callable[..., Exception]) -> None:
    assert kind_of(error) is kind
