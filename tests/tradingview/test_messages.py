import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.bars import Bars
from infrastructure.errors import Malformed
from infrastructure.tradingview import frames, messages
from infrastructure.tradingview.base import SymbolInfo
from infrastructure.tradingview.messages import (
    CriticalError,
    Hello,
    Message,
    ProtocolError,
    QuoteData,
    SeriesCompleted,
    SeriesData,
    SeriesError,
    SymbolError,
    SymbolResolved,
    Unknown,
)
from infrastructure.tradingview.payloads import SeriesBars

NAN = float("nan")


def decoded(name: str, *parameters: Any) -> Any:
    return messages.decode(json.dumps({"m": name, "p": parameters})).p


def series(*rows: list[float]) -> SeriesBars:
    data = decoded("du", "cs", {"sds_1": {"s": [{"i": 0, "v": row} for row in rows]}})
    assert isinstance(data, SeriesData)
    found: SeriesBars = data.objects["sds_1"]
    return found


def quote(**values: Any) -> dict[str, Any]:
    data = decoded("qsd", "qs", {"n": "A:B", "s": "ok", "v": values})
    assert isinstance(data, QuoteData)
    return data.quote.v.changes()


def test_quote_fields_get_our_names_and_units() -> None:
    assert quote(
        lp=1, lp_time=1723679998, ch=-0.5, chp=0.2, bid=1.5, ask=2, bid_size=3, ask_size=4, volume=5.5, open_price=6,
        high_price=7, low_price=8, prev_close_price=9, current_session="market", update_mode="streaming",
        original_name="BATS:AAPL", currency_code="USD", description="Apple Inc.",
    ) == {
        "last": 1.0, "last_ms": 1723679998000, "change": -0.5, "change_percent": 0.2, "bid": 1.5, "ask": 2.0,
        "bid_size": 3.0, "ask_size": 4.0, "volume": 5.5, "open": 6.0, "high": 7.0, "low": 8.0, "previous_close": 9.0,
        "session": "market", "update_mode": "streaming", "venue": "BATS:AAPL", "currency": "USD",
        "description": "Apple Inc.",
    }  # fmt: skip


def test_a_delta_holds_only_what_changed() -> None:
    assert quote(lp=2.5, trade_loaded=True, **{"market-status": {"phase": "regular"}}) == {"last": 2.5}


def test_null_and_the_sentinel_are_now_unknown() -> None:
    assert quote(bid=None, volume=1e100, lp_time=None) == {"bid": None, "volume": None, "last_ms": None}


@pytest.mark.parametrize("time_s", [1.7e12, 1e18, 1e306, -1.0])
def test_a_time_that_cannot_be_one_is_unknown(time_s: float) -> None:
    assert quote(lp=1, lp_time=time_s) == {"last": 1.0, "last_ms": None}


def test_a_refused_quote_says_why() -> None:
    unknown = decoded("qsd", "qs", {"n": "A:B", "s": "error", "errmsg": "no_such_symbol", "v": {}})
    denied = decoded("qsd", "qs", {"n": "A:B", "s": "permission_denied", "v": {"alternative": "A_DLY:B"}})
    assert (unknown.refusal, denied.refusal) == ("no_such_symbol", "permission_denied")


def test_bars_of_five_six_and_more_numbers_may_be_mixed() -> None:
    bars = series([60.0, 1, 3, 0.5, 2], [120.0, 2, 4, 1, 3, 10], [180.0, 3, 5, 2, 4, 1e100, 7, 8]).bars()
    assert bars.same_as(
        Bars.from_rows(
            [(60_000, 1, 3, 0.5, 2, NAN), (120_000, 2, 4, 1, 3, 10), (180_000, 3, 5, 2, 4, NAN)],
        )
    )


def test_open_interest_behind_the_volume_is_left_out() -> None:
    assert series([60.0, 1, 3, 0.5, 2, 10, 77]).bars().same_as(Bars.from_rows([(60_000, 1, 3, 0.5, 2, 10)]))


def test_bars_out_of_order_are_sorted_and_the_last_of_one_time_wins() -> None:
    bars = series([120, 2, 2, 2, 2, 2], [60, 1, 1, 1, 1, 1], [120, 9, 9, 9, 9, 9]).bars()
    assert bars.same_as(Bars.from_rows([(60_000, 1, 1, 1, 1, 1), (120_000, 9, 9, 9, 9, 9)]))


def test_a_bar_without_a_price_is_none() -> None:
    assert series([60, 1e100, 1, 1, 1, 1]).bars().same_as(Bars.empty())


@pytest.mark.parametrize("row", [[60, 1, 1, 1], [], [1e100, 1, 1, 1, 1, 1], [-1e15, 1, 1, 1, 1, 1]])
def test_a_bar_that_is_none_is_malformed(row: list[float]) -> None:
    with pytest.raises(Malformed):
        series(row).bars()


def test_the_objects_of_studies_have_no_bars() -> None:
    data = decoded("du", "cs", {"st1": {"st": [{"i": -1000100, "v": [1.0, 1e100]}], "t": "s1_st1"}})
    assert data.objects["st1"].bars().same_as(Bars.empty())


@pytest.mark.parametrize(
    ("said_s", "close_ms"), [(1787255999, 1787256000000), (1686341760, 1686341760000), (None, None)]
)
def test_the_close_of_the_last_bar_is_the_full_minute(said_s: int | None, close_ms: int | None) -> None:
    data = decoded("du", "cs", {"sds_1": {"s": [], "lbs": {"bar_close_time": said_s}}})
    assert data.objects["sds_1"].close_ms == close_ms


def test_fewer_and_more_parameters_than_listed_are_read() -> None:
    assert decoded("symbol_error", "cs", "r", "permission denied", "group", "nse", "x") == SymbolError(
        "cs", "r", "permission denied", "group", "nse"
    )
    assert decoded("series_completed", "cs", "s1") == SeriesCompleted("cs", "s1")
    assert decoded("series_error", "cs", "s1", "t1", "resolve error", "node") == SeriesError(
        "cs", "s1", "t1", "resolve error"
    )
    assert decoded("critical_error", "cs", "invalid parameters", "method: x") == CriticalError(
        "cs", "invalid parameters"
    )
    assert decoded("protocol_error") == ProtocolError()


@pytest.mark.parametrize(("said", "ended"), [("end", "end"), ("limit", "limit"), ("maybe", ""), (None, ""), (7, "")])
def test_why_a_history_ends(said: Any, ended: str) -> None:
    completed = decoded("series_completed", "cs", "s1", "streaming", "t1", {"data_completed": said})
    assert completed.ended == ended


def test_facts_that_are_missing_or_null_have_defaults() -> None:
    resolved = decoded("symbol_resolved", "cs", "r", {"exchange": None, "aliases": None, "subsessions": None})
    assert isinstance(resolved, SymbolResolved)
    assert resolved.facts.info("A:B", "endofday") == SymbolInfo(
        symbol="A:B", full_name="A:B", pro_name="A:B", exchange="", listed_exchange="", description="", type="",
        currency="", timezone="Etc/UTC", session="24x7", update_mode="endofday",
    )  # fmt: skip


def test_messages_nobody_needs_are_named() -> None:
    assert decoded("tickmark_update", "cs", {}) == Unknown("tickmark_update")
    assert messages.decode('{"p":7,"m":"brand_new"}').p == Unknown("brand_new")


def test_the_hello_has_no_name() -> None:
    text = '{"session_id":"x","timestamp":1787292487,"timestampMs":1787292487138,"javastudies":"3.66"}'
    assert messages.decode(text) == Message(Hello("x"), 1787292487138.0)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "<html>",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        '{"m":7}',
        '{"m":"qsd"}',
        '{"m":"qsd","p":{}}',
        '{"m":"qsd","p":["qs",{"n":"A:B","v":{"lp":"12"}}]}',
        '{"m":"du","p":["cs",{"sds_1":{"s":[{"v":["x"]}]}}]}',
        '{"m":"du","p":["cs",{"sds_1":{"s":[{"v":[1e999]}]}}]}',
        '{"m":"qsd","p":["\ud800"]}',
        "[" * 100_000,
    ],
)
def test_a_payload_that_cannot_be_read_is_malformed(payload: str) -> None:
    with pytest.raises(Malformed):
        messages.decode(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["qsd", "du", "timescale_update", "symbol_resolved", "series_completed", "protocol_error", "x"])


@given(names, json_values | st.lists(json_values))
def test_any_parameters_are_read_or_malformed(name: str, parameters: Any) -> None:
    try:
        message = messages.decode(json.dumps({"m": name, "p": parameters}))
    except Malformed:
        return
    assert isinstance(message.p, messages.Parameters)


rows = st.lists(
    st.tuples(
        st.integers(0, 2**33),
        *[st.floats(-1e9, 1e9)] * 4,
        st.floats(0, 1e12) | st.just(1e100),
    ),
    unique_by=lambda row: row[0],
)


@given(rows)
def test_every_bar_arrives_to_the_last_bit(rows: list[tuple[float, ...]]) -> None:
    expected = [(t * 1000, o, h, low, c, NAN if math.isclose(v, 1e100) else v) for t, o, h, low, c, v in sorted(rows)]
    assert series(*[list(row) for row in rows]).bars().same_as(Bars.from_rows(expected))


def test_a_request_is_one_frame_of_escaped_json() -> None:
    frame = messages.request("quote_add_symbols", "qs", "KRX:삼성")
    assert frame == "~m~" + '55~m~{"m":"quote_add_symbols","p":["qs","KRX:\\uc0bc\\uc131"]}'
    assert frames.decode(frame) == ['{"m":"quote_add_symbols","p":["qs","KRX:\\uc0bc\\uc131"]}']


def test_a_symbol_spec_is_json_behind_an_equals_sign() -> None:
    assert messages.symbol_spec('A:"B') == '={"symbol":"A:\\"B","adjustment":"splits","session":"regular"}'
