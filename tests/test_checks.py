import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.core import checks as django_checks
from django.test import override_settings

import infrastructure.checks
from infrastructure.checks import check_providers, check_stores, check_tradingview, check_webhooks

REAL = {
    "websocket_url": "wss://data.tradingview.com/socket.io/websocket",
    "search_url": "https://symbol-search.tradingview.com",
    "scanner_url": "https://scanner.tradingview.com",
    "site_url": "https://www.tradingview.com",
    "pause_s": 1.0,
}
SECRET = "hunter2"


@contextmanager
def configured(
    source: str = "simulator", tradingview: dict[str, object] | None = None, **others: object
) -> Iterator[None]:
    values = {**settings.TRADINGVIEW, **(tradingview or {})}
    with override_settings(MARKETDATA_SOURCE=source, TRADINGVIEW=values, **others):
        yield


def found() -> list[tuple[str | None, str]]:
    """Ids, and the setting that each message starts with."""
    checks = (check_tradingview, check_stores, check_webhooks, check_providers)
    messages = [message for check in checks for message in check(None)]
    assert all(message.hint and SECRET not in f"{message.msg}{message.hint}" for message in messages)
    return [(message.id, message.msg.split()[0]) for message in messages]


def test_the_defaults_pass() -> None:
    assert found() == []


def test_the_real_source_with_its_own_addresses_passes() -> None:
    with configured("tradingview", {**REAL, "auth_token": "a.b.c", "session_cookie": SECRET}):
        assert found() == []


@pytest.mark.parametrize(
    ("key", "name", "values"),
    [
        (
            "websocket_url",
            "TRADINGVIEW_WEBSOCKET_URL",
            ["", "http://host/", "wss://", "wss://host:99999", "wss://[::1", "host"],
        ),
        ("search_url", "TRADINGVIEW_SEARCH_URL", ["", "ws://host", "https:///path"]),
        ("scanner_url", "TRADINGVIEW_SCANNER_URL", ["", "ftp://host"]),
        ("site_url", "TRADINGVIEW_SITE_URL", ["", "ftp://host"]),
        ("origin", "TRADINGVIEW_ORIGIN", ["", "www.tradingview.com"]),
    ],
)
def test_a_url_that_cannot_be_used(key: str, name: str, values: list[str]) -> None:
    for value in values:
        with configured(tradingview={key: value}):
            assert found() == [("infrastructure.E001", name)]


def test_real_prices_are_not_shown_as_invented() -> None:
    with configured(tradingview=REAL):
        assert found() == [
            ("infrastructure.E002", "TRADINGVIEW_WEBSOCKET_URL"),
            ("infrastructure.E002", "TRADINGVIEW_SEARCH_URL"),
            ("infrastructure.E002", "TRADINGVIEW_SCANNER_URL"),
            ("infrastructure.E002", "TRADINGVIEW_SITE_URL"),
        ]


@pytest.mark.parametrize(
    ("key", "url", "name"),
    [
        ("websocket_url", "ws://data.tradingview.com/socket.io/websocket", "TRADINGVIEW_WEBSOCKET_URL"),
        ("search_url", "http://symbol-search.tradingview.com", "TRADINGVIEW_SEARCH_URL"),
        ("scanner_url", "http://scanner.tradingview.com", "TRADINGVIEW_SCANNER_URL"),
        ("site_url", "http://www.tradingview.com", "TRADINGVIEW_SITE_URL"),
    ],
)
def test_the_real_source_is_reached_encrypted(key: str, url: str, name: str) -> None:
    with configured("tradingview", {**REAL, key: url}):
        assert found() == [("infrastructure.E003", name)]


@pytest.mark.parametrize("secrets", [{"auth_token": SECRET}, {"session_cookie": SECRET}])
def test_secrets_do_not_travel_in_clear_text(secrets: dict[str, object]) -> None:
    for host, expected in (
        ("simulator", [("infrastructure.E003", "TRADINGVIEW_SEARCH_URL")]),
        ("127.0.0.1", []),
        ("localhost", []),
        ("[::1]", []),
    ):
        with configured(tradingview={**secrets, "search_url": f"http://{host}:8765"}):
            assert found() == expected


def test_a_simulator_elsewhere_may_be_reached_in_clear_text() -> None:
    with configured(tradingview={"websocket_url": "ws://simulator:8765/socket.io/websocket"}):
        assert found() == []


@pytest.mark.parametrize(("source", "pause_s", "ids"), [
    ("tradingview", 0.0, ["infrastructure.W001"]), ("tradingview", 0.5, []), ("simulator", 0.0, []),
])  # fmt: skip
def test_the_real_source_is_asked_slowly(source: str, pause_s: float, ids: list[str]) -> None:
    urls = REAL if source == "tradingview" else {}
    with configured(source, {**urls, "pause_s": pause_s}):
        assert [id for id, _ in found()] == ids


@pytest.mark.parametrize(
    "uri",
    ["", f"http://me:{SECRET}@host", f"mongodb://me:{SECRET}@", f"mongodb://me:{SECRET}/2@host", f"mongodb://{SECRET}:x/",
     f"mongodb://host/?replicaSet={SECRET}&retryWrites=perhaps&w=-1"],
)  # fmt: skip
def test_a_mongodb_uri_that_cannot_be_read(uri: str) -> None:
    with configured(MONGODB_URI=uri):
        assert found() == [("infrastructure.E004", "MONGODB_URI")]


def test_a_name_server_is_not_asked_by_a_check() -> None:
    with configured(MONGODB_URI="mongodb+srv://nowhere.invalid/"):
        assert found() == []


@pytest.mark.parametrize(
    "url",
    ["", f"http://:{SECRET}@host", "redis://", f"redis://:{SECRET}@host:6379/2", "redis://host?db=2", "redis://host:x"],
)
def test_a_redis_url_that_cannot_be_read_or_names_a_database(url: str) -> None:
    with configured(REDIS_URL=url):
        assert found() == [("infrastructure.E005", "REDIS_URL")]


def test_the_cache_has_its_own_redis_database() -> None:
    with configured(REDIS_DB=3, REDIS_CACHE_DB=3):
        assert found() == [("infrastructure.E006", "REDIS_DB")]


def test_networks_of_webhooks_are_networks() -> None:
    with configured(WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8", "fd00::/8"]):
        assert found() == []
    with configured(WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8", "10.0.0.1/8"]):
        assert found() == [("infrastructure.E007", "'10.0.0.1/8'")]


@pytest.mark.parametrize("path", ["", "nowhere", "infrastructure.nowhere.Thing", "infrastructure.errors.Nothing"])
def test_a_provider_that_cannot_be_imported(path: str) -> None:
    paths = dict.fromkeys(("MARKETDATA_STREAM_PROVIDER", "MARKETDATA_UPSTREAM_GATE"), "infrastructure.errors.Rejected")
    with override_settings(MARKETDATA_PROVIDER=path, **paths):
        (message,) = check_providers(None)
    assert (message.id, message.msg.split()[0]) == ("infrastructure.E008", "MARKETDATA_PROVIDER")


def test_django_runs_every_check_of_this_module() -> None:
    registered = {
        check.__name__
        for check in django_checks.registry.registry.get_checks()
        if check.__module__ == "infrastructure.checks"
    }
    assert registered == {name for name in vars(infrastructure.checks) if name.startswith("check_")}


def test_a_replay_needs_its_recording(tmp_path: Path) -> None:
    with configured("replay", REPLAY_FILE=""):
        assert found() == [("infrastructure.E009", "REPLAY_FILE")]
    with configured("replay", REPLAY_FILE=str(tmp_path / "none")):
        assert found() == [("infrastructure.E009", "REPLAY_FILE")]
    (tmp_path / "one").touch()
    with configured("replay", REPLAY_FILE=str(tmp_path / "one")):
        assert found() == []


def test_each_id_is_used_for_one_thing() -> None:
    ids = re.findall(r'id="(infrastructure\.[EW]\d{3})"', Path(infrastructure.checks.__file__).read_text())
    assert len(ids) == len(set(ids)) == 10
