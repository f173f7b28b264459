"""The whole platform with a token and a cookie, at LOG_LEVEL=DEBUG: neither shows in anything that it prints, serves,
stores or keeps, and neither stands on a command line."""

import base64
import binascii
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import bson
import psutil
import pymongo
import pytest
import redis
import requests
from websockets.sync.client import connect

from infrastructure.simulator import tokens
from tests.platform_process import Platform, running_platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COOKIE = "made-up-cookie-51d0c7"
LIVE_S = 120.0
MOST_PAGES = 400
QUESTIONS = [
    "symbols", "status", "openapi.json", "bars?symbol=TEST:TICK", "bars?symbol=NO:SUCH", "quotes?symbols=TEST:TICK",
]  # fmt: skip


@pytest.fixture(scope="module")
def token() -> str:
    """In the shape of a real one, and accepted by the simulator, which then answers as it does to a paid account."""
    return tokens.issue(time.time_ns() // 1_000_000)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, token: str) -> Iterator[Platform]:
    """Has streamed, pulled, backfilled and lost its source once."""
    variables = {"TRADINGVIEW_AUTH_TOKEN": token, "TRADINGVIEW_SESSION_COOKIE": COOKIE, "LOG_LEVEL": "DEBUG"}
    with running_platform(tmp_path_factory.mktemp("platform") / "var", **variables) as running:
        for sign in ("feed is live", r"pull 1m .* done", r"refresh quotes .* done", r"run_backfill\)? done"):
            running.wait_for(sign, timeout_s=LIVE_S)
        said = len(running.lines)
        os.kill(running.processes["simulator"], signal.SIGKILL)
        running.wait_for("feed is reconnecting", after=said, timeout_s=LIVE_S)
        running.wait_for("feed is live", after=said, timeout_s=LIVE_S)
        yield running


@pytest.fixture(scope="module")
def secrets(token: str) -> list[bytes]:
    """Every part of the token that is not the same in all, plain and as in a URL."""
    values = [token, *token.split(".")[1:], COOKIE]
    return sorted({form.encode() for value in values for form in (value, quote(value, safe=""))})


def shown(secrets: list[bytes], content: bytes) -> bool:
    return any(secret in content for secret in secrets)


def test_the_token_is_in_use(platform: Platform) -> None:
    """Without one AAPL comes from another venue: what follows would prove nothing."""
    venues = {row["symbol"]: row["full_name"] for row in platform.get("/api/v1/symbols")}
    assert venues["NASDAQ:AAPL"] == "NASDAQ:AAPL"


def test_no_line_of_output_shows_a_secret(platform: Platform, secrets: list[bytes]) -> None:
    assert any("DEBUG" in line for line in platform.lines)
    assert [line for line in platform.lines if shown(secrets, line.encode())] == []


def test_no_command_line_shows_a_secret(platform: Platform, secrets: list[bytes]) -> None:
    family = [psutil.Process(platform.process.pid), *psutil.Process(platform.process.pid).children(recursive=True)]
    assert [process for process in family if shown(secrets, " ".join(process.cmdline()).encode())] == []


def test_no_page_and_no_answer_shows_a_secret(platform: Platform, secrets: list[bytes]) -> None:
    showing, seen = [], set()
    with logged_in(platform) as session:
        api = [
            "symbols",
            "status",
            "openapi.json",
            "bars?symbol=TEST:TICK",
            "quotes?symbols=TEST:TICK",
            "bars?symbol=?",
        ]
        waiting = ["/", "/admin/", "/nowhere", *(f"/api/v1/{path}" for path in api)]
        while waiting and len(seen) < MOST_PAGES:
            path = waiting.pop(0)
            answer = session.get(platform.url + path, timeout=60)
            assert answer.status_code < 500, path
            seen.add(path)
            if shown(secrets, answer.content + repr(answer.headers).encode()):
                showing.append(path)
            waiting += [link for link in links(answer) if link not in seen and link not in waiting]
    assert showing == []
    admin = {path.split("/")[3] for path in seen if path.startswith("/admin/marketdata/")}
    assert admin >= {"symbol", "quote", "barseries", "backfilljob", "pull", "upstreamswitch"}


def logged_in(platform: Platform) -> requests.Session:
    session = requests.Session()
    login = f"{platform.url}/admin/login/"
    session.get(login, timeout=60)
    form = {"username": "admin", "password": platform.password, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    answer = session.post(f"{login}?next=/admin/", form, headers={"Referer": login}, timeout=60)
    assert answer.url == f"{platform.url}/admin/"
    return session


def links(answer: requests.Response) -> list[str]:
    """Pages of this site that the answer links to, without those that only sort or filter it, and without logout."""
    found = []
    for link in re.findall(r"""(?:href|src)="([^"]+)\"""", answer.text):
        there = urlsplit(urljoin(answer.url, link.replace("&amp;", "&")))
        if there.netloc == urlsplit(answer.url).netloc and "logout" not in there.path:
            found.append(there.path)
    return list(dict.fromkeys(found))


def test_no_live_message_shows_a_secret(platform: Platform, secrets: list[bytes]) -> None:
    url = platform.url.replace("http", "ws") + "/ws/v1/"
    with connect(url, origin=platform.url) as socket:  # type: ignore[arg-type]
        socket.send('{"op":"subscribe","quotes":["NASDAQ:AAPL","TEST:TICK"],"bars":["TEST:TICK@1m","NO:SUCH@1m"]}')
        messages = [str(socket.recv(timeout=60)) for _ in range(10)]
    assert [message for message in messages if shown(secrets, message.encode())] == []
    assert {'"hello"', '"subscribed"', '"snapshot"', '"update"'} <= set(re.findall(r'(?<="type":)"\w+"', str(messages)))


def test_no_stored_document_shows_a_secret(platform: Platform, secrets: list[bytes]) -> None:
    uri = f"mongodb://127.0.0.1:{platform.store_ports['mongodb']}/?replicaSet=rs0"
    showing, collections = [], set()
    with pymongo.MongoClient(uri) as client:
        for database in client.list_database_names():
            for name in client[database].list_collection_names():
                for document in client[database][name].find():
                    collections.add(name)
                    if shown(secrets, b"".join(opened(document))):
                        showing.append((name, document.get("_id")))
    assert showing == []
    assert {"symbol", "quote", "backfill_job", "bar_series", "django_q_task", "oplog.rs"} <= collections


def opened(value: object) -> Iterator[bytes]:
    """Its bytes, and those of every text in it that is base64 (Django-Q keeps pickles so)."""
    if isinstance(value, dict):
        yield bson.encode({str(key): item for key, item in value.items()})
        for item in value.values():
            yield from opened(item)
    elif isinstance(value, list):
        for item in value:
            yield from opened(item)
    elif isinstance(value, str):
        for part in value.split(":"):
            try:
                yield base64.b64decode(part + "==", altchars=b"-_")
            except (binascii.Error, ValueError):
                continue


def test_nothing_in_redis_shows_a_secret(platform: Platform, secrets: list[bytes]) -> None:
    read = {
        "string": "get",
        "hash": "hgetall",
        "list": "lrange",
        "set": "smembers",
        "zset": "zrange",
        "stream": "xrange",
    }
    contents = {}
    for number in (0, 1):
        with redis.Redis(port=platform.store_ports["redis"], db=number) as client:
            for key in client.scan_iter():
                kind = client.type(key).decode()
                arguments = (0, -1) if kind in ("list", "zset") else ()
                contents[number, key] = repr((key, getattr(client, read[kind])(key, *arguments))).encode()
    assert [key for key, content in contents.items() if shown(secrets, content)] == []
    assert {(0, b"md1:quotes"), (0, b"md1:feed")} <= set(contents)


def test_no_file_of_the_platform_shows_a_secret(platform: Platform, secrets: list[bytes]) -> None:
    files = [path for path in platform.var.rglob("*") if path.is_file()]
    assert Path("ports.json") in {path.relative_to(platform.var) for path in files}
    assert [path for path in files if shown(secrets, path.read_bytes())] == []
