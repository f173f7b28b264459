"""What is asked of the symbol search, and the matches that its answers hold."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from infrastructure.errors import Malformed
from infrastructure.http_client import HttpClient
from infrastructure.tradingview.base import SymbolMatch
from tests.loopback import Answer, Loopback, as_json
from tests.tradingview.http_source import against

AAPL_LISTINGS = [
    "NASDAQ:AAPL", "TSX:AAPL", "BMV:AAPL", "BCBA:AAPL", "BIVA:AAPL", "BCS:AAPL", "SIX:AAPL", "NEO:AAPL",
    "BOATS:AAPL", "BVC:AAPL", "GPW:AAPL", "VIE:AAPL", "BCBA:AAPLD", "BCS:AAPL0", "BCS:AAPL1", "BCBA:AAPLB",
    "BCBA:AAPLC", "SET:AAPL80", "SET:AAPL01", "SET:AAPL03", "BCS:AAPLCL", "SET:AAPL19", "BVL:AAPLUS",
    "BMFBOVESPA:AAPL34", "NASDAQ:AAPLYXX", "NASDAQ:AAPLIXX", "NASDAQ:AAPLWXX", "NASDAQ:AAPLTXX",
    "NASDAQ:AAPLDXX", "NASDAQ:AAPLVXX", "NASDAQ:AAPLZXX", "MILSEDEX:F34588", "MILSEDEX:F34608",
    "MILSEDEX:F34630", "MILSEDEX:F55447", "MILSEDEX:F80659", "EUROTLX:I76744", "MILSEDEX:F92350",
    "BCBA:AAPL.CI", "BCS:AAPLCL1", "BCS:AAPLCL0", "SIX:AAPL.USD", "BSE:AAPLUSTRAD",
]  # fmt: skip


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
