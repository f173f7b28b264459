import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from infrastructure.intervals import INTERVALS
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.simulator.catalogue import CATALOGUE, synthetic
from tests.simulator.conftest import FRIDAY_MS
from tests.simulator.talk import talk

PAGE_HEADERS = {"Origin": "https://www.tradingview.com", "Referer": "https://www.tradingview.com/"}


class Browser:
    def __init__(self, server: SimulatorServer) -> None:
        self._connection = HTTPConnection(server.host, server.port, timeout=20)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] = PAGE_HEADERS) -> tuple[int, str]:
        response = self.raw(method, path, body, headers)
        return response.status, response.read().decode()

    def raw(self, method: str, path: str, body: Any = None, headers: dict[str, str] = PAGE_HEADERS) -> HTTPResponse:
        data = json.dumps(body) if isinstance(body, dict) else body
        self._connection.request(method, path, data, headers)
        return self._connection.getresponse()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        status, text = self.ask(method, path, body)
        assert status == 200, text
        return json.loads(text)

    def search(self, **query: str) -> Any:
        return self.json("GET", f"/symbol_search/v3/?{urlencode(query)}")


@pytest.fixture
def browser(server: SimulatorServer) -> Iterator[Browser]:
    browser = Browser(server)
    yield browser
    browser._connection.close()


def test_search_rows_have_the_recorded_fields(browser: Browser, captures: Path) -> None:
    recorded = json.loads((captures / "20-symbol-search-v3-aapl.json").read_text())
    ours = browser.search(text="AAPL", hl="0", exchange="", lang="en", search_type="undefined", domain="production")
    assert ours.keys() == recorded.keys()
    real, mine = recorded["symbols"][0], ours["symbols"][0]
    assert mine.keys() <= real.keys()
    for field in ("symbol", "description", "type", "exchange", "currency_code", "isin", "country", "typespecs"):
        assert mine[field] == real[field]


def test_search_finds_by_exchange_type_and_root(browser: Browser) -> None:
    def found(**query: str) -> list[str]:
        return [f"{row.get('prefix', row['exchange'])}:{row['symbol']}" for row in browser.search(**query)["symbols"]]

    assert found(text="BTC", exchange="BITSTAMP") == ["BITSTAMP:BTCUSD"]
    assert found(text="BINANCE:BTC") == ["BINANCE:BTCUSDT"]
    assert found(text="", search_type="indices") == ["SP:SPX", "TVC:RUT", "NASDAQ:NDX"]
    assert found(text="FB") == ["NASDAQ:META"]
    assert found(text="ES", search_type="futures") == ["CME_MINI:ES"]
    contract = browser.search(text="ES", search_type="futures")["symbols"][0]["contracts"][0]
    assert contract["symbol"] == "ES1!"
    assert found(text="no such thing") == []


def test_matches_are_marked_on_demand(browser: Browser) -> None:
    row = browser.search(text="appl", hl="1", exchange="NASDAQ")["symbols"][0]
    assert (row["symbol"], row["description"]) == ("AAPL", "<em>Appl</em>e Inc.")


def test_search_comes_in_pages_of_fifty(clock: StandingClock) -> None:
    with SimulatorServer(clock=clock, synthetic_symbols=70) as server:
        browser = Browser(server)
        first = browser.search(text="TEST:SYM")
        second = browser.search(text="TEST:SYM", start="50")
        beyond = browser.search(text="TEST:SYM", start="500")
    names = [row["symbol"] for row in first["symbols"] + second["symbols"]]
    assert names == [item.ticker for item in synthetic(70)]
    assert (first["symbols_remaining"], second["symbols_remaining"]) == (20, 0)
    assert beyond == {"symbols_remaining": 0, "symbols": []}


def test_the_old_search_is_a_bare_list(browser: Browser) -> None:
    rows = browser.json("GET", "/symbol_search/?text=vodafone&hl=0&type=stock&domain=production")
    assert [row["symbol"] for row in rows] == ["VOD"]


@pytest.mark.parametrize("missing", ["Origin", "Referer"])
def test_search_wants_the_headers_of_a_page(browser: Browser, missing: str) -> None:
    headers = {name: value for name, value in PAGE_HEADERS.items() if name != missing}
    assert browser.ask("GET", "/symbol_search/v3/?text=AAPL", headers=headers)[0] == 403


def test_a_scan_has_the_recorded_shape_and_the_models_numbers(
    browser: Browser, server: SimulatorServer, captures: Path
) -> None:
    recorded = json.loads((captures / "21-scanner-scan-stocks.json").read_text())
    columns = ["name", "description", "close", "change", "volume", "market_cap_basic"]
    body = {
        "symbols": {"tickers": ["NASDAQ:AAPL", "NASDAQ:NOSUCH", "NYSE:KO"], "query": {"types": []}}, "columns": columns,
    }  # fmt: skip
    answer = browser.json("POST", "/america/scan", body)
    assert answer.keys() == recorded.keys()
    assert (answer["totalCount"], [row["s"] for row in answer["data"]]) == (2, ["NASDAQ:AAPL", "NYSE:KO"])
    before, today = server.market.history("NASDAQ:AAPL", INTERVALS["1d"], 2, FRIDAY_MS)
    assert answer["data"][0]["d"] == [
        "AAPL", "Apple Inc.", today.close, (today.close - before.close) / before.close * 100, today.volume,
        14.7e9 * today.close,
    ]  # fmt: skip


def test_scans_filter_sort_and_cut(browser: Browser, server: SimulatorServer) -> None:
    def scan(market: str = "america", **body: Any) -> tuple[int, list[str]]:
        answer = browser.json("POST", f"/{market}/scan", {"columns": ["close"], **body})
        return answer["totalCount"], [row["s"] for row in answer["data"]]

    dear = {"left": "close", "operation": "greater", "right": 200}
    closes = {item.name: server.market.quote(item.name, FRIDAY_MS).last or 0 for item in CATALOGUE}
    shares = [item.name for item in CATALOGUE if item.country == "US" and item.type == "stock"]
    wanted = sorted((name for name in shares if closes[name] > 200), key=lambda name: -closes[name])
    sort = {"sortBy": "close", "sortOrder": "desc"}
    assert scan(filter=[dear], sort=sort) == (len(wanted), wanted)
    assert scan(filter=[dear], sort=sort, range=[1, 2]) == (len(wanted), wanted[1:2])
    either = {
        "operator": "or",
        "operands": [
            {"expression": {"left": "name", "operation": "match", "right": "ko"}},
            {"operation": {"operator": "and", "operands": [
                {"expression": {"left": "name", "operation": "equal", "right": "META"}},
                {"expression": {"left": "typespecs", "operation": "has", "right": ["common"]}},
            ]}},
        ],
    }  # fmt: skip
    assert scan(filter2=either) == (2, ["NASDAQ:META", "NYSE:KO"])
    assert scan("india") == (1, ["NSE:RELIANCE"])
    assert scan("global", markets=["india", "uk"]) == (2, ["NSE:RELIANCE", "LSE:VOD"])
    assert scan("crypto", filter=[{"left": "exchange", "operation": "in_range", "right": ["KRAKEN", "BITSTAMP"]}]) == (
        2, ["BITSTAMP:BTCUSD", "KRAKEN:ADAUSD"],
    )  # fmt: skip


def test_technical_columns_come_from_the_bars_of_their_time_frame(browser: Browser, server: SimulatorServer) -> None:
    body = {"columns": ["close|60", "SMA10|60", "close[1]|60", "RSI|5"], "symbols": {"tickers": ["BINANCE:BTCUSDT"]}}
    close, average, before, rsi = browser.json("POST", "/crypto/scan", body)["data"][0]["d"]
    hours = server.market.history("BINANCE:BTCUSDT", INTERVALS["1h"], 10, FRIDAY_MS)
    assert (close, before) == (hours.close[-1], hours.close[-2])
    assert average == pytest.approx(hours.close.mean())
    assert 0 <= rsi <= 100


@pytest.mark.parametrize(
    ("path", "columns", "status", "error"),
    [
        ("/america/scan", ["close", "rainfall"], 400, 'Unknown field "rainfall"'),
        ("/america/scan", ["close|7"], 400, 'Unknown field "close|7"'),
        ("/futures/scan", ["bid"], 400, 'Unknown field "bid"'),
        ("/atlantis/scan", ["close"], 404, "Unknown market 'atlantis'"),
    ],
)
def test_a_scan_that_cannot_be_says_why(
    browser: Browser, path: str, columns: list[str], status: int, error: str
) -> None:
    found, text = browser.ask("POST", path, {"columns": columns})
    assert (found, json.loads(text)) == (status, {"totalCount": 0, "error": error})


def test_one_symbol_is_a_flat_object(browser: Browser, server: SimulatorServer, captures: Path) -> None:
    recorded = json.loads((captures / "22-scanner-symbol-endpoint-aapl.json").read_text())
    fields = ",".join(recorded)
    found = browser.json("GET", f"/symbol?symbol=NASDAQ:AAPL&fields={fields}&no_404=true")
    assert found.keys() == recorded.keys()
    today = server.market.history("NASDAQ:AAPL", INTERVALS["1d"], 1, FRIDAY_MS)
    assert (found["close"], found["volume"], found["currency"]) == (today.close[0], today.volume[0], "USD")
    markets = [
        browser.json("GET", f"/symbol?symbol={item.name}&fields=market") for item in CATALOGUE if not item.permission
    ]
    assert {market["market"] for market in markets} == {
        "america", "crypto", "india", "uk", "korea", "hongkong", "cfd", "futures", "forex", "economics2",
    }  # fmt: skip
    assert browser.ask("GET", "/symbol?symbol=NASDAQ:NOSUCH&fields=close")[0] == 404
    assert browser.json("GET", "/symbol?symbol=NASDAQ:NOSUCH&fields=close&no_404=true") is None


def test_metainfo_lists_fields_as_recorded(browser: Browser, captures: Path) -> None:
    recorded = json.loads((captures / "34-scanner-metainfo-cut.json").read_text())
    ours = browser.json("GET", "/america/metainfo")
    assert ours.keys() == recorded.keys()
    assert ours["fields"][0].keys() == recorded["fields"][0].keys()
    assert {"name", "close", "RSI"} <= {field["n"] for field in ours["fields"]}


def test_sign_in_and_the_home_page_give_a_token_that_opens_the_socket(
    browser: Browser, server: SimulatorServer
) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = browser.raw("POST", "/accounts/signin/", "username=a&password=b&remember=on", form)
    cookies = "; ".join(value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie") or ())
    tokens = [json.loads(answer.read())["user"]["auth_token"]]
    page = browser.ask("GET", "/", headers={"Cookie": cookies})[1]
    tokens += re.findall(r'"auth_token":"([^"]+)"', page)
    assert len(tokens) == 2
    for token in tokens:
        with talk(server, token=token) as client:
            client.send("chart_create_session", "cs_1", "")
            client.send("resolve_symbol", "cs_1", "sym_1", "NASDAQ:AAPL")
            assert client.until("symbol_resolved")[-1]["p"][2]["full_name"] == "NASDAQ:AAPL"
    assert "auth_token" not in browser.ask("GET", "/", headers={})[1]


def test_sign_in_may_want_a_captcha(browser: Browser, server: SimulatorServer) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert json.loads(browser.ask("POST", "/accounts/signin/", "username=a", form)[1])["code"] == "invalid_credentials"
    server.faults.set("captcha")
    answer = json.loads(browser.ask("POST", "/accounts/signin/", "username=a&password=b", form)[1])
    assert answer["code"] == "recaptcha_required"


def test_symbol_pages_exist_for_symbols(browser: Browser) -> None:
    assert browser.ask("GET", "/symbols/NASDAQ-AAPL/")[0] == 200
    assert browser.ask("GET", "/symbols/NASDAQ:AAPL")[0] == 200
    assert browser.ask("GET", "/symbols/NASDAQ-NOSUCH/")[0] == 404


@pytest.mark.parametrize(
    ("mode", "value", "status", "body", "retry_after"),
    [
        ("http_429", None, 429, "", None),
        ("http_429", 7, 429, "", "7"),
        ("http_403", None, 403, "<!DOCTYPE html>", None),
        ("http_503", None, 503, "<!DOCTYPE html>", None),
        ("http_html", None, 200, "<!DOCTYPE html>", None),
        ("http_empty", None, 200, "", None),
        ("scanner_error", None, 200, '{"totalCount": 0, "error"', None),
    ],
)
def test_http_misbehaves_as_told_and_recovers(
    browser: Browser, server: SimulatorServer, mode: str, value: int | None, status: int, body: str, retry_after: str
) -> None:
    server.faults.set(mode, times=1, value=value)
    response = browser.raw("POST", "/america/scan", {"columns": ["close"]})
    text = response.read().decode()
    assert (response.status, text[: len(body)], response.headers.get("Retry-After")) == (status, body, retry_after)
    assert bool(text) == bool(body)
    assert browser.json("POST", "/america/scan", {"columns": ["close"]})["totalCount"] == 5
