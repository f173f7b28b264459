import json
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from infrastructure.errors import Malformed, Rejected, Throttled, Unavailable
from infrastructure.http_client import HttpClient, HttpRejected
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview.base import Quote, SymbolMatch
from infrastructure.tradingview.http import COLUMNS, SCAN_BATCH, TradingViewHttp, quote_of
from tests.loopback import Answer, Loopback, as_json, page

COOKIE = "s3cr3t"
AAPL_LISTINGS = [
    "NASDAQ:AAPL", "TSX:AAPL", "BMV:AAPL", "BCBA:AAPL", "BIVA:AAPL", "BCS:AAPL", "SIX:AAPL", "NEO:AAPL",
    "BOATS:AAPL", "BVC:AAPL", "GPW:AAPL", "VIE:AAPL", "BCBA:AAPLD", "BCS:AAPL0", "BCS:AAPL1", "BCBA:AAPLB",
    "BCBA:AAPLC", "SET:AAPL80", "SET:AAPL01", "SET:AAPL03", "BCS:AAPLCL", "SET:AAPL19", "BVL:AAPLUS",
    "BMFBOVESPA:AAPL34", "NASDAQ:AAPLYXX", "NASDAQ:AAPLIXX", "NASDAQ:AAPLWXX", "NASDAQ:AAPLTXX",
    "NASDAQ:AAPLDXX", "NASDAQ:AAPLVXX", "NASDAQ:AAPLZXX", "MILSEDEX:F34588", "MILSEDEX:F34608",
    "MILSEDEX:F34630", "MILSEDEX:F55447", "MILSEDEX:F80659", "EUROTLX:I76744", "MILSEDEX:F92350",
    "BCBA:AAPL.CI", "BCS:AAPLCL1", "BCS:AAPLCL0", "SIX:AAPL.USD", "BSE:AAPLUSTRAD",
]  # fmt: skip


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with HttpClient(sleep=lambda _: None) as client:
        yield client


def against(server: Loopback, http: HttpClient, cookie: str = COOKIE) -> TradingViewHttp:
    return TradingViewHttp(http, server.url, server.url, "https://www.tradingview.com", cookie)


def row(symbol: str, **values: object) -> dict[str, object]:
    return {"s": symbol, "d": [values.get(column) for column in COLUMNS]}


# --- Search ---------------------------------------------------------------------------------------------------------


def test_a_real_answer_becomes_matches(captures: Path, http: HttpClient) -> None:
    body = (captures / "20-symbol-search-v3-aapl.json").read_bytes()
    with Loopback(Answer(body=body)) as server:
        found = against(server, http).search("AAPL")
    assert found[:4] == [
        SymbolMatch("NASDAQ:AAPL", "Apple Inc.", "stock", "NASDAQ", "USD", "US"),
        SymbolMatch("TSX:AAPL", "Apple Inc. Shs Canadian Depositary Receipt Repr Shs Reg S", "dr", "TSX", "CAD", "CA"),
        SymbolMatch("BMV:AAPL", "Apple Inc.", "stock", "BMV", "MXN", "MX"),
        SymbolMatch("BCBA:AAPL", "Apple Inc. Shs Cert Deposito Arg Repr 0.05 Shs", "dr", "BYMA", "ARS", "AR"),
    ]
    assert [match.symbol for match in found] == AAPL_LISTINGS


def test_a_search_says_where_it_comes_from_and_what_it_wants(http: HttpClient) -> None:
    with Loopback(as_json({"symbols_remaining": 0, "symbols": []})) as server:
        assert against(server, http).search("nasdaq:aapl", type="stock") == []
    (seen,) = server.seen
    assert urlsplit(seen.path).path == "/symbol_search/v3/"
    assert parse_qs(urlsplit(seen.path).query) == {
        "text": ["aapl"], "exchange": ["nasdaq"], "search_type": ["stocks"], "hl": ["0"], "lang": ["en"],
        "domain": ["production"], "start": ["0"],
    }  # fmt: skip
    assert {name: seen.headers[name] for name in ("Origin", "Referer", "Cookie")} == {
        "Origin": "https://www.tradingview.com",
        "Referer": "https://www.tradingview.com/",
        "Cookie": "sessionid=s3cr3t",
    }


def test_without_a_cookie_none_is_sent_and_a_whole_header_is_kept(http: HttpClient) -> None:
    with Loopback(as_json({"symbols": []})) as server:
        against(server, http, "").search("x")
        against(server, http, "sessionid=a; sessionid_sign=b").search("x")
    assert [seen.headers.get("Cookie") for seen in server.seen] == [None, "sessionid=a; sessionid_sign=b"]


def test_pages_are_asked_for_until_there_are_enough(http: HttpClient) -> None:
    def part(start: int, count: int, remaining: int) -> Answer:
        rows = [{"symbol": f"S{n}", "exchange": "X", "description": ""} for n in range(start, start + count)]
        return as_json({"symbols_remaining": remaining, "symbols": rows})

    with Loopback(part(0, 50, 70), part(49, 50, 20), part(100, 20, 0)) as server:  # the second overlaps by one
        found = against(server, http).search("s", limit=110)
    assert [match.symbol for match in found] == [f"X:S{n}" for n in (*range(99), *range(100, 111))]
    assert [parse_qs(urlsplit(seen.path).query)["start"] for seen in server.seen] == [["0"], ["50"], ["100"]]


def test_a_search_that_never_ends_is_left(http: HttpClient) -> None:
    endless = as_json({"symbols_remaining": 99, "symbols": [{"symbol": "A", "exchange": "X"}]})
    with Loopback(endless) as server:
        found = against(server, http).search("a", limit=100)
    assert ([match.symbol for match in found], len(server.seen)) == (["X:A"], 3)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"symbol": "<em>AA</em>PL", "description": "<em>Apple</em> & Co", "type": "stock", "exchange": "NYSE Arca"},
            [SymbolMatch("NYSE:AAPL", "Apple & Co", "stock", "NYSE Arca", "", "")],
        ),
        (
            {
                "symbol": "ES", "description": "E-mini S&P 500", "type": "futures", "exchange": "CME",
                "prefix": "CME_MINI", "currency_code": "USD", "country": "US",
                "contracts": [
                    {"symbol": "ES1!", "description": "Continuous", "typespecs": ["continuous"]},
                    {"symbol": "ESZ2026"},
                    {"description": "nameless"},
                    "rubbish",
                ],
            },
            [
                SymbolMatch("CME_MINI:ES1!", "Continuous", "futures", "CME", "USD", "US"),
                SymbolMatch("CME_MINI:ESZ2026", "E-mini S&P 500", "futures", "CME", "USD", "US"),
            ],
        ),
        ({"symbol": "X", "exchange": "Y", "contracts": []}, [SymbolMatch("Y:X", "", "", "Y", "", "")]),
        ({"symbol": "NOWHERE"}, []),
        ({"exchange": "NASDAQ"}, []),
        ({"symbol": None, "exchange": 7}, []),
        ("rubbish", []),
    ],
    ids=["emphasis", "future", "no contracts", "no venue", "no ticker", "wrong types", "no object"],
)  # fmt: skip
def test_items(http: HttpClient, item: object, expected: list[SymbolMatch]) -> None:
    with Loopback(as_json({"symbols_remaining": 0, "symbols": [item]})) as server:
        assert against(server, http).search("x") == expected


@pytest.mark.parametrize("answer", [[], {}, {"symbols": {}}, {"symbols": [], "symbols_remaining": "many"}, 7, None])
def test_an_answer_of_another_shape_is_malformed(http: HttpClient, answer: object) -> None:
    with Loopback(as_json(answer)) as server, pytest.raises(Malformed) as caught:
        against(server, http).search("x")
    assert caught.value.sample == json.dumps(answer)


# --- Quotes ---------------------------------------------------------------------------------------------------------


def test_a_real_scan_becomes_quotes(captures: Path, http: HttpClient) -> None:
    answer = json.loads((captures / "21-scanner-scan-stocks.json").read_text())
    columns = ("name", "description", "close", "change", "volume", "market_cap_basic")
    for item in answer["data"]:
        item["d"] = row("", **dict(zip(columns, item["d"], strict=True)))["d"]
    with Loopback(as_json(answer)) as server:
        found = against(server, http).quotes(["NASDAQ:AAPL", "NASDAQ:NONE", "NASDAQ:NVDA"])
    assert found == {
        "NASDAQ:AAPL": Quote(
            "NASDAQ:AAPL",
            last=308.91,
            change_percent=-7.353867378460241,
            volume=132489137.0,
            description="Apple Inc.",
        ),
        "NASDAQ:NVDA": Quote(
            "NASDAQ:NVDA",
            last=200.75,
            change_percent=2.9276045939294546,
            volume=139954432.0,
            description="NVIDIA Corporation",
        ),
    }


def test_a_real_flat_object_becomes_a_quote(captures: Path) -> None:
    values = json.loads((captures / "22-scanner-symbol-endpoint-aapl.json").read_text())
    assert quote_of("NASDAQ:AAPL", values) == Quote(
        "NASDAQ:AAPL",
        last=308.91,
        change=-24.519999999999982,
        change_percent=-7.353867378460241,
        open=304.81,
        high=310.69,
        low=300.0,
        volume=132489137.0,
        currency="USD",
        description="Apple Inc.",
    )


def test_a_scan_asks_for_every_ticker_once(http: HttpClient) -> None:
    with Loopback(as_json({"totalCount": 0, "data": []})) as server:
        assert against(server, http).quotes(["A:B", "A:C", "A:B"]) == {}
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/global/scan")
    assert json.loads(seen.body) == {
        "symbols": {"tickers": ["A:B", "A:C"], "query": {"types": []}},
        "columns": list(COLUMNS),
        "range": [0, 2],
    }


def test_many_symbols_are_asked_in_batches(http: HttpClient) -> None:
    symbols = [f"X:S{n}" for n in range(SCAN_BATCH + 1)]
    answers = [as_json({"data": [row(symbol, close=1)]}) for symbol in (symbols[0], symbols[-1])]
    with Loopback(*answers) as server:
        assert list(against(server, http).quotes(symbols)) == [symbols[0], symbols[-1]]
    assert [len(json.loads(seen.body)["symbols"]["tickers"]) for seen in server.seen] == [SCAN_BATCH, 1]


def test_no_symbols_ask_nothing(http: HttpClient) -> None:
    with Loopback() as server:
        assert against(server, http).quotes([]) == {}
    assert server.seen == []


def test_a_symbol_that_was_not_asked_for_is_left_out(http: HttpClient) -> None:
    with Loopback(as_json({"data": [row("X:OTHER", close=1), row("X:MINE", close=2)]})) as server:
        assert against(server, http).quotes(["X:MINE"]) == {"X:MINE": Quote("X:MINE", last=2.0)}


def test_the_sentinel_for_no_value_is_none(http: HttpClient) -> None:
    with Loopback(
        as_json({"data": [row("X:I", close=5, volume=1e100, update_mode="delayed_streaming_900")]})
    ) as server:
        (quote,) = against(server, http).quotes(["X:I"]).values()
    assert quote == Quote("X:I", last=5.0, update_mode="delayed_streaming_900")
    assert quote.delay_s == 900


@pytest.mark.parametrize("status", [200, 400])
def test_columns_that_the_market_lacks_are_given_up_for_good(http: HttpClient, status: int) -> None:
    def refusal(column: str) -> Answer:
        return as_json({"totalCount": 0, "error": f'Unknown field "{column}"', "data": None}, status)

    rest = [column for column in COLUMNS if column not in ("bid", "ask")]
    values = [None if column != "close" else 7 for column in rest]
    with Loopback(refusal("bid"), refusal("ask"), as_json({"data": [{"s": "X:F", "d": values}]})) as server:
        source = against(server, http)
        assert source.quotes(["X:F"]) == source.quotes(["X:F"]) == {"X:F": Quote("X:F", last=7.0)}
    assert [len(json.loads(seen.body)["columns"]) for seen in server.seen] == [12, 11, 10, 10]


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("error", ['Unknown field "close"', 'Unknown field "x"', "Something else"])
def test_an_error_in_a_good_answer_is_a_refusal(http: HttpClient, status: int, error: str) -> None:
    with Loopback(as_json({"totalCount": 0, "error": error}, status)) as server, pytest.raises(Rejected) as caught:
        against(server, http).quotes(["X:Y"])
    assert (str(caught.value), len(server.seen)) == (f"The scanner refuses the request: {error}.", 1)


@pytest.mark.parametrize(
    "answer",
    [
        {"data": None}, {}, [], {"data": [7]}, {"data": [{"s": "X:Y"}]}, {"data": [{"s": "X:Y", "d": [1]}]},
        {"data": [row("X:Y", close="high")]}, {"data": [row("X:Y", close=True)]}, {"data": [row("X:Y", currency=1)]},
    ],
)  # fmt: skip
def test_rows_of_another_shape_are_malformed(http: HttpClient, answer: object) -> None:
    with Loopback(as_json(answer)) as server, pytest.raises(Malformed):
        against(server, http).quotes(["X:Y"])


# --- Trouble --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["search", "quotes"])
def test_trouble_is_told_apart(http: HttpClient, call: str) -> None:
    answers = [page(), Answer(), page(403), Answer(404), page(503), Answer(429, headers={"Retry-After": "60"})]
    errors: list[tuple[type, str]] = []
    with Loopback(*answers) as server:
        for _ in range(5):
            with pytest.raises((Malformed, Rejected, Unavailable)) as caught:
                getattr(against(server, http), call)("XY")
            errors.append((caught.type, str(caught.value)))
    host = f"127.0.0.1:{server.port}"
    assert errors == [
        (Malformed, f"{host} sent a web page instead of JSON."),
        (Malformed, f"{host} sent nothing instead of JSON."),
        (
            Rejected,
            f"{host} answered 403: TradingView refuses this machine's address or the TRADINGVIEW_ORIGIN. "
            "Data centres are often refused; try from another network.",
        ),
        (HttpRejected, f"{host} answered 404."),
        (Throttled, f"{host} answered 429."),  # 503 was tried again
    ]


def test_the_cookie_is_in_no_log_and_no_error(http: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Loopback(page(503)) as server, pytest.raises(Unavailable) as caught:
        against(server, http).search("x")
    assert caplog.records
    assert COOKIE not in caplog.text + str(caught.value) + repr(against(server, http))


# --- Against the simulator ------------------------------------------------------------------------------------------


def source_of(server: SimulatorServer, http: HttpClient) -> TradingViewHttp:
    return TradingViewHttp(http, server.http_url, server.http_url, "https://www.tradingview.com")


@pytest.mark.parametrize(
    ("text", "type", "first"),
    [
        ("AAPL", "stock", "NASDAQ:AAPL"),
        ("nasdaq:aapl", "", "NASDAQ:AAPL"),
        ("ES", "futures", "CME_MINI:ES1!"),
        ("BTCUSDT", "spot", "BINANCE:BTCUSDT"),
        ("FB", "", "NASDAQ:META"),
        ("005930", "", "KRX:005930"),
    ],
)
def test_the_simulator_is_searched(
    simulator: SimulatorServer, http: HttpClient, text: str, type: str, first: str
) -> None:
    assert source_of(simulator, http).search(text, type=type, limit=5)[0].symbol == first


def test_quotes_of_the_simulator_are_those_of_its_market(simulator: SimulatorServer, http: HttpClient) -> None:
    wanted = ["TEST:TICK", "LSE:VOD", "TEST:NOTHING", "KRX:005930"]
    found = source_of(simulator, http).quotes(wanted)
    assert list(found) == ["TEST:TICK", "LSE:VOD", "KRX:005930"]
    assert {symbol: (quote.currency, quote.delay_s) for symbol, quote in found.items()} == {
        "TEST:TICK": ("USD", 0),
        "LSE:VOD": ("GBX", 900),
        "KRX:005930": ("KRW", 0),
    }
    assert all(
        quote.last and quote.low and quote.high and quote.low <= quote.last <= quote.high for quote in found.values()
    )


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("http_html", Malformed), ("http_empty", Malformed), ("http_403", Rejected), ("http_503", Unavailable),
        ("http_429", Unavailable), ("scanner_error", Rejected),
    ],
)  # fmt: skip
def test_faults_of_the_simulator_are_told_apart(http: HttpClient, mode: str, error: type[Exception]) -> None:
    with SimulatorServer() as server:
        server.faults.set(mode)
        with pytest.raises(error):
            source_of(server, http).quotes(["TEST:TICK"])
