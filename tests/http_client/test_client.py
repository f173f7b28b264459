"""One request of the HTTP client: what is sent, what its answer becomes, what is refused."""

import gzip
import itertools
import os
from pathlib import Path

import pytest

from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.http_client import HttpClient, HttpConfig, HttpRejected
from tests.http_client.conftest import Naps
from tests.loopback import Answer, Loopback, as_json, page
from tests.servers import free_port
from tests.tls import certificate_for


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
