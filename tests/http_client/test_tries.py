"""When a request is tried again, how long is waited in between, and when it is given up."""

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from infrastructure.errors import Rejected, Unavailable
from infrastructure.http_client import HttpClient, HttpConfig
from infrastructure.http_client.client import retry_after_s
from tests.http_client.conftest import CONFIG, Naps
from tests.loopback import Answer, Loopback, as_json
from tests.servers import free_port
from tests.tls import certificate_for


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


def test_the_gate_is_asked_before_every_try(naps: Naps) -> None:
    refusals = [None, Rejected("The source is switched off.")]

    def gate() -> None:
        if refusal := refusals.pop(0):
            raise refusal

    with HttpClient(CONFIG, gate, sleep=naps) as client, Loopback(Answer(503)) as server:
        with pytest.raises(Rejected, match="switched off"):
            client.request("GET", server.url)
        assert len(server.seen) == 1


def test_a_slow_drip_through_tls_ends_at_the_deadline(tmp_path: Path) -> None:
    certificate = certificate_for("127.0.0.1", tmp_path)
    with Loopback(certificate=certificate) as server, HttpClient(HttpConfig(ca_file=certificate[0])) as client:
        server._answers = [server.drip(itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"x")))]
        with pytest.raises(Unavailable, match="did not answer in time"):
            client.request("GET", server.url, deadline_s=0.5, retry=False)
        assert server.gone.wait(30)
