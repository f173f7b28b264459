import math
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Cache, CoverageStore, Database, QuoteStore, keys
from infrastructure.tradingview.base import Quote
from marketdata.live.protocol import encode_quote
from marketdata.models import Symbol
from marketdata.services import upstream
from tests.platform.commands import manage_code
from tests.servers import free_port

COIN = "BINANCE:BTCUSDT"
MINUTE = INTERVALS["1m"]
START = 1_700_000_040_000
UNKNOWN_INTERVAL = f"There is no interval '7x'; choose one of {', '.join(INTERVALS)}."
WRONG_RANGE = "start_ms must be before end_ms, and does not go with before_ms."
WRONG_GAPS = "start_ms must be before end_ms, by at most 4000 days."


@pytest.fixture
def reader(empty: None, settings: LazySettings) -> Client:
    settings.ANONYMOUS_VIEWING = True
    return Client()


@pytest.fixture
def stored(bars: BarStore) -> Bars:
    """Thirty minutes in three chunks' worth of time, the last without volume."""
    Symbol.objects.create(key=COIN)
    rows = [(START + i * 60_000, 10 + i, 11.5 + i, 9.25 + i, 10.1 + i, 0.00000001 * i) for i in range(29)]
    table = Bars.from_rows([*rows, (START + 29 * 60_000, 1.0, 1.0, 1.0, 1.0, math.nan)])
    bars.write(bars.series(COIN, MINUTE, bars_per_week=10_080), table)
    return table


def get(client: Client, path: str, **query: Any) -> Any:
    answer = client.get(f"/api/v1/{path}", query)
    assert answer.headers["Content-Type"].startswith("application/json")
    return answer.status_code, answer.json()


def rows(bars: Bars) -> list[list[float | None]]:
    return [
        [bar.time_ms, bar.open, bar.high, bar.low, bar.close, None if math.isnan(bar.volume) else bar.volume]
        for bar in bars
    ]


def test_the_newest_bars_are_exact_and_more_says_that_there_are_older_ones(reader: Client, stored: Bars) -> None:
    answer = {"symbol": COIN, "interval": "1m", "bars": rows(stored[-10:]), "more": True}
    assert get(reader, "bars", symbol=COIN, interval="1m", limit=10) == (200, answer)
    assert get(reader, "bars", symbol=COIN, limit=30) == (200, {**answer, "bars": rows(stored), "more": False})


def test_bars_before_a_time_do_not_include_it(reader: Client, stored: Bars) -> None:
    before = START + 10 * 60_000
    _code, answer = get(reader, "bars", symbol=COIN, limit=4, before_ms=before)
    assert (answer["bars"], answer["more"]) == (rows(stored[6:10]), True)
    _code, answer = get(reader, "bars", symbol=COIN, limit=10, before_ms=before)
    assert (answer["bars"], answer["more"]) == (rows(stored[:10]), False)
    _code, answer = get(reader, "bars", symbol=COIN, limit=2, before_ms=before, end_ms=before - 60_000)
    assert answer["bars"] == rows(stored[7:9])


def test_a_range_is_cut_at_its_end(reader: Client, stored: Bars) -> None:
    wanted = {"start_ms": START + 60_000, "end_ms": START + 6 * 60_000}
    _code, answer = get(reader, "bars", symbol=COIN, limit=5, **wanted)
    assert (answer["bars"], answer["more"]) == (rows(stored[1:6]), False)
    _code, answer = get(reader, "bars", symbol=COIN, limit=3, **wanted)
    assert (answer["bars"], answer["more"]) == (rows(stored[1:4]), True)


def test_a_range_over_several_documents_reads_no_more_than_it_gives(reader: Client, bars: BarStore) -> None:
    Symbol.objects.create(key=COIN)
    series = bars.series(COIN, MINUTE, bars_per_week=10_080)
    table = Bars.from_rows([(START + i * series.span_ms // 4, 1.0, 1.0, 1.0, 1.0, float(i)) for i in range(12)])
    bars.write(series, table)
    broken = Database().collection("bar_chunk").find().sort("_id", -1).limit(1)[0]
    Database().collection("bar_chunk").update_one({"_id": broken["_id"]}, {"$set": {"data": b"damaged"}})
    _code, answer = get(reader, "bars", symbol=COIN, limit=6, start_ms=START)
    assert (answer["bars"], answer["more"]) == (rows(table[:6]), True)
    code, answer = get(reader, "bars", symbol=COIN, limit=12, start_ms=START)
    assert (code, broken["_id"] in answer["detail"]) == (502, True)


def test_a_known_symbol_without_bars_has_none(reader: Client, stored: Bars) -> None:
    assert get(reader, "bars", symbol=COIN, interval="1d") == (
        200,
        {"symbol": COIN, "interval": "1d", "bars": [], "more": False},
    )


@pytest.fixture
def holed(stored: Bars, bars: BarStore, settings: LazySettings) -> None:
    """The thirty stored minutes and ten later ones, of a market around the clock; asked for were the first twenty
    minutes and five after the hole, in which nothing was traded."""
    settings.SIMULATOR_SPEED = 2.0  # not our clock: every bar may be there
    Symbol.objects.filter(pk=COIN).update(session="24x7", timezone="Etc/UTC")
    series = bars.series(COIN, MINUTE, bars_per_week=10_080)
    bars.write(series, Bars.from_rows([(START + i * 60_000, 1.0, 1.0, 1.0, 1.0, 1.0) for i in range(40, 50)]))
    bars.write(series, Bars.from_rows([(START + 52 * 60_000, 1.0, 1.0, 1.0, 1.0, 1.0)]))
    CoverageStore(Database()).add(series, [(START, START + 20 * 60_000), (START + 33 * 60_000, START + 35 * 60_000)])


def test_gaps_are_trading_time_that_is_neither_stored_nor_known_to_be_silent(reader: Client, holed: None) -> None:
    wanted = {"symbol": COIN, "interval": "1m", "start_ms": START, "end_ms": START + 53 * 60_000}
    gaps = [[START + low * 60_000, START + high * 60_000, high - low] for low, high in ((30, 33), (35, 40), (50, 52))]
    answer = {"symbol": COIN, "interval": "1m", "gaps": gaps, "more": False}
    assert get(reader, "gaps", **wanted) == (200, answer)
    Symbol.objects.filter(pk=COIN).update(session="")
    assert get(reader, "gaps", **wanted) == (200, {**answer, "gaps": None})
    assert get(reader, "gaps", **{**wanted, "interval": "1d"}) == (200, {**answer, "interval": "1d", "gaps": None})


WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("bars", {"symbol": "NO:ONE"}, 404, "'NO:ONE' is not a symbol of this platform."),
    ("bars", {"symbol": COIN, "interval": "7x"}, 400, UNKNOWN_INTERVAL),
    ("bars", {}, 400, "symbol: Field required."),
    ("bars", {"symbol": COIN, "limit": 5001}, 400, "limit: Input should be less than or equal to 5000."),
    ("bars", {"symbol": COIN, "limit": 0}, 400, "limit: Input should be greater than or equal to 1."),
    ("bars", {"symbol": COIN, "before_ms": 10**30}, 400, "before_ms: Input should be less than 253402300800000."),
    ("bars", {"symbol": COIN, "start_ms": 5, "end_ms": 5}, 400, WRONG_RANGE),
    ("bars", {"symbol": COIN, "start_ms": 5, "before_ms": 9}, 400, WRONG_RANGE),
    ("gaps", {"symbol": COIN, "interval": "1m", "start_ms": 5, "end_ms": 5}, 400, WRONG_GAPS),
    ("gaps", {"symbol": COIN, "interval": "1m", "start_ms": 0, "end_ms": 10**12}, 400, WRONG_GAPS),
    (
        "gaps",
        {"symbol": "NO:ONE", "interval": "1m", "start_ms": 0, "end_ms": 1},
        404,
        "'NO:ONE' is not a symbol of this platform.",
    ),
    ("quotes", {"symbols": ",".join(f"X:{n}" for n in range(1001))}, 400, "At most 1000 symbols at once."),
    ("quotes", {}, 400, "symbols: Field required."),
    ("nothing/here", {}, 404, "There is no 'nothing/here' here, only symbols, bars, gaps, quotes, status and tickets."),
]


def test_a_wrong_question_is_answered_in_one_sentence(reader: Client, subtests: pytest.Subtests) -> None:
    for path, query, code, detail in WRONG:
        with subtests.test(detail):
            assert get(reader, path, **query) == (code, {"detail": detail})


def test_nothing_can_be_changed_over_it(reader: Client) -> None:
    for path in ("symbols", "bars", "gaps", "quotes", "status"):
        answers = [getattr(reader, method)(f"/api/v1/{path}") for method in ("post", "put", "patch", "delete")]
        assert [answer.status_code for answer in answers] == [405] * 4


def test_admission_is_that_of_the_live_page(empty: None, settings: LazySettings) -> None:
    ann = Client()
    ann.force_login(User.objects.create_user("ann"))
    for path in ("symbols", "bars?symbol=X", "gaps?symbol=X", "quotes?symbols=X", "status", "nothing"):
        settings.ANONYMOUS_VIEWING = False
        answer = Client().get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()) == (
            401,
            {"detail": "Log in, or send a valid API key, to read market data."},
        )
        assert ann.get(f"/api/v1/{path}").status_code != 401
        settings.ANONYMOUS_VIEWING = True
        assert Client().get(f"/api/v1/{path}").status_code != 401


def test_symbols_come_in_the_order_of_the_watch_list_with_all_a_page_shows(reader: Client) -> None:
    Symbol.objects.create(key="A:OFF", active=False, position=1)
    Symbol.objects.create(key="C:B", position=2)
    Symbol.objects.create(
        key="B:A", position=2, description="삼성", full_name="X:A", venue="X", delay_s=900, currency="KRW",
        timezone="Asia/Seoul", session="0900-1530", update_mode="delayed_streaming_900", type="stock", price_scale=1,
        collect_intervals=["1d", "5m"], stream_intervals=["1m", "5m"],
    )  # fmt: skip
    code, answer = get(reader, "symbols")
    assert (code, [one["symbol"] for one in answer]) == (200, ["B:A", "C:B", "A:OFF"])
    assert answer[0] == {
        "symbol": "B:A", "description": "삼성", "type": "stock", "currency": "KRW", "timezone": "Asia/Seoul",
        "session": "0900-1530", "price_scale": 1, "min_move": 1, "has_volume": True, "full_name": "X:A", "venue": "X",
        "update_mode": "delayed_streaming_900", "delay_s": 900, "active": True, "intervals": ["1m", "5m", "1d"],
    }  # fmt: skip


def test_quotes_come_from_redis_and_where_nobody_streams_them_from_the_database(reader: Client) -> None:
    def q(symbol: str, last: float) -> Quote:
        return Quote(symbol, last=last)

    now = 4_000_000_000_000  # later than any test runs: streamed this moment
    streamed, old = encode_quote(q("A:LIVE", 1.0), 9, now), encode_quote(q("A:OLD", 2.0), 9, 1000)
    Cache.from_settings().put_quotes({"A:LIVE": streamed, "A:OLD": old, "A:OTHER": old})
    QuoteStore(Database()).save([(q("A:LIVE", 5.0), 1), (q("A:OLD", 6.0), 2000), (q("A:STORED", 7.0), 3)])
    code, answer = get(reader, "quotes", symbols="A:LIVE,A:OLD,A:STORED,A:NONE,A:LIVE")
    assert (code, {name: (one["s"], one["last"], one["seq"], one["ms"]) for name, one in answer.items()}) == (
        200,
        {"A:LIVE": ("A:LIVE", 1.0, 9, now), "A:OLD": ("A:OLD", 6.0, 0, 2000), "A:STORED": ("A:STORED", 7.0, 0, 3)},
    )


def test_status_says_what_runs(reader: Client) -> None:
    feed = {"state": "live", "fence": 3}
    Cache.from_settings().set_json(keys.FEED, feed, 60)
    upstream.turn(False, "ann", "a test")
    code, answer = get(reader, "status")
    assert answer.pop("server_ms") > 1_700_000_000_000
    assert (code, answer) == (
        200,
        {
            "source": "simulator",
            "simulated": True,
            "upstream": {"on": False, "why": "Upstream traffic is off: ann switched it off (a test)."},
            "feed": feed,
            "stores": {"mongodb": True, "redis": True},
        },
    )


def test_answers_are_not_kept(reader: Client) -> None:
    assert reader.get("/api/v1/status").headers["Cache-Control"] == "private, no-store"


def test_its_description_is_served_without_any_page_of_another_host(reader: Client) -> None:
    code, answer = get(reader, "openapi.json")
    assert (code, sorted(answer["paths"])) == (
        200, ["/api/v1/bars", "/api/v1/gaps", "/api/v1/quotes", "/api/v1/status", "/api/v1/symbols",
              "/api/v1/tickets"],
    )  # fmt: skip
    tickets = answer["paths"].pop("/api/v1/tickets")
    assert {method for path in answer["paths"].values() for method in path} == {"get"}
    assert set(tickets) == {"post"}


ASK_WITHOUT_STORES = """
from django.test import Client
for path in ("symbols", "bars?symbol=X", "quotes?symbols=X", "status"):
    answer = Client().get("/api/v1/" + path)
    print(answer.status_code, answer.json().get("detail", answer.json().get("stores")))
"""


def test_lost_stores_are_said_too() -> None:
    ended = manage_code(
        ASK_WITHOUT_STORES,
        MONGODB_URI=f"mongodb://127.0.0.1:{free_port()}/",
        REDIS_URL=f"redis://127.0.0.1:{free_port()}",
        MONGODB_TIMEOUT_S="0.3",
        ANONYMOUS_VIEWING="on",
        ALLOWED_HOSTS="testserver",
    )
    *failed, status = ended.out.splitlines()
    assert len(failed) == 3
    assert all(line.startswith("503 MongoDB does not answer: ") for line in failed)
    assert status == "200 {'mongodb': False, 'redis': False}"
