import itertools
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from django.test import override_settings
from standardwebhooks import Webhook, WebhookVerificationError

from infrastructure.http_client import HttpClient, HttpConfig
from infrastructure.webhooks import Delivery, Event, WebhookDispatcher
from infrastructure.webhooks.addresses import WebhookAddresses, parse_networks
from infrastructure.webhooks.signing import new_secret
from tests.loopback import Answer, Loopback
from tests.servers import free_port
from tests.tls import certificate_for

SECRET = new_secret()
EVENT = Event(
    "evt_1",
    "bars.corrected",
    datetime(2026, 11, 2, 9, 30, tzinfo=timezone(timedelta(hours=1))),
    {"symbol": "KRX:005930", "name": "삼성전자"},
)


@pytest.fixture
def dispatcher() -> Iterator[WebhookDispatcher]:
    with override_settings(WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8"]), WebhookDispatcher.from_settings() as dispatcher:
        yield dispatcher


def outcome(delivery: Delivery) -> Delivery:
    assert delivery.seconds >= 0
    return replace(delivery, seconds=0)


def test_a_receiver_can_verify_what_arrives(dispatcher: WebhookDispatcher) -> None:
    with Loopback() as receiver:
        delivery = dispatcher.send(f"{receiver.url}/hook?a=b", [SECRET], EVENT)
    (seen,) = receiver.seen
    assert (outcome(delivery), delivery.delivered) == (Delivery(200, "", "", 0), True)
    assert (seen.method, seen.path, seen.headers["Content-Type"]) == ("POST", "/hook?a=b", "application/json")
    assert Webhook(SECRET).verify(seen.body, seen.headers) == {
        "type": "bars.corrected",
        "timestamp": "2026-11-02T08:30:00+00:00",
        "data": {"symbol": "KRX:005930", "name": "삼성전자"},
    }
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(seen.body, seen.headers)


def test_while_secrets_rotate_old_and_new_both_verify(dispatcher: WebhookDispatcher) -> None:
    other = new_secret()
    with Loopback() as receiver:
        dispatcher.send(receiver.url, [SECRET, other], EVENT)
    (seen,) = receiver.seen
    assert Webhook(SECRET).verify(seen.body, seen.headers) == Webhook(other).verify(seen.body, seen.headers)


def test_id_and_body_stay_the_same_over_tries_and_the_time_does_not() -> None:
    times = iter([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)])
    with HttpClient() as http, Loopback(Answer(503)) as receiver:
        dispatcher = WebhookDispatcher(http, lambda: next(times))
        dispatcher.send(receiver.url, [SECRET], EVENT)
        dispatcher.send(receiver.url, [SECRET], EVENT)
    first, second = receiver.seen
    assert (
        (first.body, first.headers["webhook-id"])
        == (second.body, second.headers["webhook-id"])
        == (EVENT.body(), "evt_1")
    )
    assert [seen.headers["webhook-timestamp"] for seen in receiver.seen] == ["1767225600", "1767312000"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (204, ""),
        (301, "rejected"),
        (400, "rejected"),
        (404, "rejected"),
        (410, "gone"),
        (429, "unavailable"),
        (500, "unavailable"),
        (504, "unavailable"),
    ],
)
def test_only_a_status_of_2xx_is_success_and_nothing_is_followed_or_repeated(
    dispatcher: WebhookDispatcher, status: int, error: str
) -> None:
    with Loopback() as elsewhere, Loopback(Answer(status, headers={"Location": elsewhere.url})) as receiver:
        delivery = dispatcher.send(receiver.url, [SECRET], EVENT)
    message = f"127.0.0.1:{receiver.port} answered {status}." if error else ""
    assert outcome(delivery) == Delivery(status, error, message, 0)  # type: ignore[arg-type]
    assert (len(receiver.seen), elsewhere.seen) == (1, [])


def test_the_receiver_may_say_when_to_come_back(dispatcher: WebhookDispatcher) -> None:
    with Loopback(Answer(429, headers={"Retry-After": "120"})) as receiver:
        assert dispatcher.send(receiver.url, [SECRET], EVENT).retry_after_s == 120


def test_a_receiver_that_drips_its_answer_has_the_event_all_the_same(dispatcher: WebhookDispatcher) -> None:
    with Loopback() as receiver:
        receiver._answers = [receiver.drip(itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"x")))]
        assert outcome(dispatcher.send(receiver.url, [SECRET], EVENT)) == Delivery(200, "", "", 0)
        assert receiver.gone.wait(30)


def test_a_receiver_that_says_nothing_is_unavailable_after_the_deadline() -> None:
    with HttpClient(HttpConfig(deadline_s=0.2)) as http, socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        delivery = WebhookDispatcher(http).send(url, [SECRET], EVENT)
    assert outcome(delivery) == Delivery(None, "unavailable", f"{url[7:]} did not answer in time.", 0)


def test_nobody_listening_is_unavailable(dispatcher: WebhookDispatcher) -> None:
    delivery = dispatcher.send(f"http://127.0.0.1:{free_port()}", [SECRET], EVENT)
    assert (delivery.status, delivery.error, "ConnectionRefusedError" in delivery.message) == (
        None,
        "unavailable",
        True,
    )


def test_what_is_no_answer_is_unavailable(dispatcher: WebhookDispatcher) -> None:
    with Loopback(Answer(raw=lambda file: file.write(b"SSH-2.0-OpenSSH\r\n"))) as receiver:
        assert dispatcher.send(receiver.url, [SECRET], EVENT).error == "unavailable"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.org/",
        "javascript:alert(1)",
        "http://",
        "file:///etc/passwd",
        "http://①②⑦.⓪.⓪.①",
        "http://127。0。0。1",
    ],
)
def test_what_is_no_url_is_rejected(dispatcher: WebhookDispatcher, url: str) -> None:
    assert dispatcher.send(url, [SECRET], EVENT).error == "rejected"


def test_a_wrong_secret_is_rejected_before_anything_is_sent(dispatcher: WebhookDispatcher) -> None:
    with Loopback() as receiver:
        assert dispatcher.send(receiver.url, ["whsec_short"], EVENT).error == "rejected"
    assert receiver.seen == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "[::1]", "[::]",
     "[::ffff:127.0.0.1]", "user@127.0.0.1", "1.1.1.1@127.0.0.1"],
)  # fmt: skip
@override_settings(WEBHOOK_ALLOWED_NETWORKS=[])
def test_no_spelling_reaches_our_own_machine(host: str) -> None:
    with Loopback() as receiver, WebhookDispatcher.from_settings() as dispatcher:
        delivery = dispatcher.send(f"http://{host}:{receiver.port}/", [SECRET], EVENT)
    assert (delivery.status, delivery.error, receiver.seen) == (None, "rejected", [])
    assert "not a public address" in delivery.message


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, dispatcher: WebhookDispatcher) -> None:
    with Loopback() as proxy, Loopback() as receiver:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("all_proxy", proxy.url)
        assert dispatcher.send(receiver.url, [SECRET], EVENT).delivered
    assert proxy.seen == []


def test_the_name_is_asked_once_and_the_answer_connected_to() -> None:
    """A name that turns to our own machine after the check (rebinding) is not asked again."""
    answers = [["127.0.0.2"], ["127.0.0.1"]]
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    guard = WebhookAddresses(parse_networks(["127.0.0.2"]), resolve)
    with Loopback() as receiver, HttpClient(addresses=guard) as http:
        delivery = WebhookDispatcher(http).send(f"http://rebind.example:{receiver.port}/", [SECRET], EVENT)
    assert (delivery.error, receiver.seen, asked) == ("unavailable", [], ["rebind.example"])  # .2 has no receiver


def test_the_vetted_address_is_used_under_the_receivers_own_name(tmp_path: Path) -> None:
    """Host header, SNI and certificate stay those of the URL."""
    certificate = certificate_for("receiver.example", tmp_path)
    guard = WebhookAddresses(parse_networks(["127.0.0.1"]), lambda host, port: ["127.0.0.1"])
    with (
        Loopback(certificate=certificate) as receiver,
        HttpClient(HttpConfig(ca_file=certificate[0]), addresses=guard) as http,
    ):
        dispatcher = WebhookDispatcher(http)
        delivery = dispatcher.send(f"https://receiver.example:{receiver.port}/", [SECRET], EVENT)
        other = dispatcher.send(f"https://other.example:{receiver.port}/", [SECRET], EVENT)
    assert outcome(delivery) == Delivery(200, "", "", 0)
    assert [seen.headers["Host"] for seen in receiver.seen] == [f"receiver.example:{receiver.port}"]
    assert outcome(other) == Delivery(
        None, "rejected", f"other.example:{receiver.port} has no certificate that this machine trusts.", 0
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"id": "a.b"}, {"id": ""}, {"id": "a\nb"}, {"type": "no spaces"}, {"type": ".a"}, {"type": ""},
        {"at": datetime(2026, 1, 1)},  # noqa: DTZ001
    ],
)  # fmt: skip
def test_an_event_that_cannot_be_signed_cannot_be_made(parts: dict) -> None:
    with pytest.raises(ValueError, match="no event"):
        replace(EVENT, **parts)


def test_the_body_of_an_event_is_compact_json() -> None:
    assert EVENT.body() == json.dumps(json.loads(EVENT.body()), separators=(",", ":")).encode()
