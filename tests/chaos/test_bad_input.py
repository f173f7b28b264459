"""Commands as a person types them, with something wrong: one sentence that names what and why, and an exit code.

Every document of a prepared database is what it was; where the work had begun, its job says how it ended.
"""

import re
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import bson
import pymongo
import pytest
from django.conf import settings

from infrastructure.simulator import SimulatorServer, tokens
from tests.platform.commands import manage
from tests.portal import Portal
from tests.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NAME = "bad_input"
COIN = "BINANCE:BTCUSDT"
NOBODY = f"127.0.0.1:{free_port()}"
FORGED = "not-a-real-token"
PAID = "made-up-paid-token"
ADMIN = {"DJANGO_SUPERUSER_PASSWORD": "made-up-pass", "DJANGO_SUPERUSER_EMAIL": "a@example.org"}


@pytest.fixture(scope="module")
def source() -> Iterator[SimulatorServer]:
    with SimulatorServer(paid_tokens=frozenset({PAID})) as server:
        yield server


@pytest.fixture(autouse=True)
def no_fault(source: SimulatorServer) -> Iterator[None]:
    yield
    source.faults.clear()


@pytest.fixture(scope="module")
def prepared(source: SimulatorServer) -> Iterator[dict[str, list[bytes]]]:
    """All that is stored, by collection."""
    ended = manage("prepare", source=source, MONGODB_NAME=NAME)
    assert ended.code == 0, ended.err
    yield contents()
    with pymongo.MongoClient(settings.MONGODB_URI) as client:
        client.drop_database(NAME)


def contents() -> dict[str, list[bytes]]:
    with pymongo.MongoClient(settings.MONGODB_URI) as client:
        names = client[NAME].list_collection_names()
        return {name: sorted(bson.encode(document) for document in client[NAME][name].find()) for name in names}


def refused(source: SimulatorServer, *arguments: str, **variables: str) -> tuple[int, str]:
    """Exit code and sentence of a command that did nothing else than say it."""
    ended = manage(*arguments, source=source, **{"MONGODB_NAME": NAME, **variables})
    assert ended.out == ""
    return ended.code, ended.sentence.removeprefix("CommandError: ")


NEWEST = ("--bars", "5")
UNKNOWN = r"TradingView has no symbol NASDAQ:NOPE for this account: invalid symbol\."
WRONG = [
    (("backfill", "NASDAQ:NOPE", *NEWEST), UNKNOWN),
    (
        ("backfill", COIN, "NASDAQ:NOPE", *NEWEST),
        UNKNOWN,
    ),
    (("backfill", "APPLE", *NEWEST), r"'APPLE' is not of the form EXCHANGE:TICKER, as in NASDAQ:AAPL\."),
    (("backfill", COIN, "--interval", "7m", *NEWEST), r"There is no interval '7m'; choose one of 1m, .*\."),
    (
        ("backfill", COIN, "--from", "2026-02-01", "--to", "2026-01-01"),
        r"The beginning, 2026-02-01 00:00 UTC, is not before the end, 2026-01-02 00:00 UTC\.",
    ),
    (("simulator", "--port", "99999"), r"--port must be a number between 0 and 65535\."),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG)
def test_wrong_words(
    prepared: dict[str, list[bytes]], source: SimulatorServer, arguments: tuple[str, ...], sentence: str
) -> None:
    code, said = refused(source, *arguments)
    assert code == 1
    assert re.fullmatch(sentence, said)
    assert contents() == prepared


def failed(source: SimulatorServer, prepared: dict[str, list[bytes]], **variables: str) -> tuple[str, str, str]:
    """What a backfill said on stderr, and the state and the error of its job, which is all that was written."""
    ended = manage("backfill", COIN, *NEWEST, source=source, MONGODB_NAME=NAME, **variables)
    assert ended.code == 1
    with pymongo.MongoClient(settings.MONGODB_URI) as client:
        (job,) = (one for one in client[NAME]["backfill_job"].find({"bars": 5, "received": 0, "documents": 0}))
        client[NAME]["backfill_job"].delete_one({"_id": job["_id"]})
    assert contents() == prepared
    return ended.sentence.removeprefix("CommandError: "), job["state"], job["error"]


def go_on(sentence: str) -> str:
    """The sentence, with a pattern for what follows where the work may go on later."""
    return re.escape(sentence) + r" Go on with: manage\.py backfill --resume [0-9a-f]{24}"


def test_a_token_that_has_expired(prepared: dict[str, list[bytes]], source: SimulatorServer) -> None:
    expired = tokens.issue(time.time_ns() // 1_000_000 - 3_600_000, life_s=60)
    said, state, error = failed(source, prepared, TRADINGVIEW_AUTH_TOKEN=expired)
    assert re.fullmatch(r"The TRADINGVIEW_AUTH_TOKEN expired at \d{4}-\d\d-\d\d \d\d:\d\d UTC\.", said)
    assert (state, error) == ("failed", said)


def test_a_token_that_has_expired_without_saying_so(prepared: dict[str, list[bytes]], source: SimulatorServer) -> None:
    source.faults.set("token_expired")
    said, state, error = failed(source, prepared, TRADINGVIEW_AUTH_TOKEN=PAID, TRADINGVIEW_TIMEOUT_S="1")
    assert re.fullmatch(go_on(error), said)
    assert (state, error) == (
        "paused",
        f"TradingView said nothing of {COIN} for 1 s. So it is with an expired TRADINGVIEW_AUTH_TOKEN.",
    )


def test_a_token_that_nobody_gave(prepared: dict[str, list[bytes]], source: SimulatorServer) -> None:
    sentence = "TradingView refuses the TRADINGVIEW_AUTH_TOKEN: bad auth token. It may have expired."
    assert failed(source, prepared, TRADINGVIEW_AUTH_TOKEN=FORGED) == (sentence, "failed", sentence)


def test_a_page_instead_of_data(prepared: dict[str, list[bytes]], source: SimulatorServer) -> None:
    sentence = "127.0.0.1 answered 200 with a page instead of a websocket."
    with ThreadingHTTPServer(("127.0.0.1", 0), Portal) as portal:
        threading.Thread(target=portal.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{portal.server_port}/"
        said, state, error = failed(source, prepared, TRADINGVIEW_WEBSOCKET_URL=url)
        portal.shutdown()
    assert (said, state, error) == (sentence, "failed", sentence)


def test_a_source_that_is_not_there(prepared: dict[str, list[bytes]], source: SimulatorServer) -> None:
    said, state, error = failed(source, prepared, TRADINGVIEW_WEBSOCKET_URL=f"ws://{NOBODY}/")
    assert re.fullmatch(go_on(error), said)
    assert (state, error) == ("paused", "127.0.0.1 cannot be reached: Connection refused.")


STORE_COMMANDS = [
    ("backfill", COIN, *NEWEST),
    ("prepare",),
    ("migrate",),
    ("createsuperuser", "--noinput", "--username", "ann"),
]


@pytest.mark.parametrize("arguments", STORE_COMMANDS, ids=lambda words: words[0])
def test_a_store_that_is_not_there(source: SimulatorServer, arguments: tuple[str, ...]) -> None:
    variables = {"MONGODB_URI": f"mongodb://{NOBODY}/", "MONGODB_TIMEOUT_S": "0.3", **ADMIN}
    code, said = refused(source, *arguments, **variables)
    assert code == 1
    assert said.startswith(f"MongoDB does not answer: {NOBODY}: [Errno 111] Connection refused")


SETTINGS = [
    ({"TRADINGVIEW_TIMEOUT_S": "soon"}, "TRADINGVIEW_TIMEOUT_S must be a number between 0.1 and 300, not 'soon'."),
    (
        {"MARKETDATA_SOURCE": "yahoo"},
        "MARKETDATA_SOURCE must be one of simulator, tradingview, replay, not 'yahoo'.",
    ),
    (
        {"TRADINGVIEW_WEBSOCKET_URL": "http://u:made-up@127.0.0.1/"},
        "TRADINGVIEW_WEBSOCKET_URL must be a URL that starts with ws:// or wss://.",
    ),
]


@pytest.mark.parametrize(("variables", "sentence"), SETTINGS)
def test_a_setting_that_cannot_be_used(source: SimulatorServer, variables: dict[str, str], sentence: str) -> None:
    assert refused(source, "backfill", **variables) == (2, sentence)


@pytest.mark.parametrize("command", ["runfeed", "qcluster", "serve", "prepare", "simulator", "up", "migrate"])
def test_every_command_says_so(source: SimulatorServer, command: str) -> None:
    variables, sentence = SETTINGS[0]
    assert refused(source, command, **variables) == (2, sentence)


def test_a_queue_that_is_not_there(source: SimulatorServer) -> None:
    assert refused(source, "qcluster", Q_CLUSTER_NAME="none") == (
        2,
        "Q_CLUSTER_NAME: There is no queue 'none', only pulls, backfills.",
    )
