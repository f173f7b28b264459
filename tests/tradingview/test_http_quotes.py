"""What is asked of the scanner, and the quotes that its rows hold."""

import json
from pathlib import Path

import pytest

from infrastructure.errors import Malformed, Rejected
from infrastructure.http_client import HttpClient
from infrastructure.tradingview.base import Quote
from infrastructure.tradingview.http import COLUMNS, SCAN_BATCH, quote_of
from tests.loopback import Answer, Loopback, as_json
from tests.tradingview.http_source import against


def row(symbol: str, **values: object) -> dict[str, object]:
    return {"s": symbol, "d": [values.get(column) for column in COLUMNS]}


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
