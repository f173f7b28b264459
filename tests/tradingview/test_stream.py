"""What a stream asks on one connection, and what it makes of the answers."""

import logging

import pytest

from infrastructure.bars import Bar
from infrastructure.errors import Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.base import BarUpdate, Quote, QuoteUpdate, SeriesBegun, SymbolRefused, Wanted
from infrastructure.tradingview.payloads import QUOTE_FIELDS
from infrastructure.tradingview.stream import OPENING
from tests.tradingview.stream_talk import T, Talk
from tests.tradingview.talk import MINUTE_MS, bars, completed, flat, resolved, say
from tests.tradingview.wishes import MINUTE, minutes, quotes

HOUR = INTERVALS["1h"]
NOTHING = {
    "last": None, "last_ms": None, "change": None, "change_percent": None, "bid": None, "ask": None, "bid_size": None,
    "ask_size": None, "volume": None, "open": None, "high": None, "low": None, "previous_close": None, "session": None,
    "update_mode": None, "venue": None, "currency": None, "description": None,
}  # fmt: skip


def test_quotes_are_asked_for_with_a_list_of_fields() -> None:
    talk = Talk(quotes("B:B", "A:A"))
    assert talk.sent == [
        ("quote_create_session", talk.quotes),
        ("quote_set_fields", talk.quotes, *QUOTE_FIELDS),
        ("quote_add_symbols", talk.quotes, "A:A", "B:B"),
    ]


def test_a_changed_wish_adds_and_removes() -> None:
    talk = Talk(quotes("A:A", "B:B"))
    assert talk.want(quotes("B:B", "C:C")) == [
        ("quote_add_symbols", talk.quotes, "C:C"),
        ("quote_remove_symbols", talk.quotes, "A:A"),
    ]
    assert talk.quote("A:A", lp=1.0) == []  # was on its way
    assert talk.want(quotes("B:B", "C:C")) == []


def test_the_first_quote_is_full_and_later_ones_hold_what_changed() -> None:
    talk = Talk(quotes("A:A"))
    first = talk.quote("A:A", at=T, lp=1.5, bid=1.4)
    assert first == [QuoteUpdate("A:A", NOTHING | {"last": 1.5, "bid": 1.4}, T)]
    assert talk.quote("A:A", at=T + 1, bid=None) == [QuoteUpdate("A:A", {"bid": None}, T + 1)]
    quote = Quote("A:A", ask=9.0)  # from before a reconnect
    for event in (*first, *talk.quote("A:A", lp=1.6)):
        assert isinstance(event, QuoteUpdate)
        quote = quote.merged(event.changes)
    assert quote == Quote("A:A", last=1.6, bid=1.4)


def test_a_refused_symbol_is_taken_off_and_told_once() -> None:
    talk = Talk(quotes("A:A", "X:X"))
    error = say("qsd", talk.quotes, {"n": "X:X", "s": "error", "errmsg": "no_such_symbol", "v": {}})
    assert talk.hear(error, say("quote_completed", talk.quotes, "X:X")) == [SymbolRefused("X:X", "no_such_symbol")]
    assert talk.said() == [("quote_remove_symbols", talk.quotes, "X:X")]
    assert talk.want(quotes("A:A", "X:X")) == []
    assert Talk(quotes("A:A", "X:X"), refused=talk.refused).sent[-1][2:] == ("A:A",)


def test_a_refused_symbol_that_was_given_up_may_be_wanted_again() -> None:
    talk = Talk(quotes("A:A", "X:X"))
    talk.hear(say("qsd", talk.quotes, {"n": "X:X", "s": "permission_denied", "v": {}}))
    talk.want(quotes("A:A"))
    assert talk.want(quotes("A:A", "X:X")) == [("quote_add_symbols", talk.quotes, "X:X")]


def test_each_pair_of_symbol_and_interval_has_a_chart_session_of_its_own() -> None:
    talk = Talk(Wanted(frozenset(), frozenset({("A:A", MINUTE), ("A:A", HOUR)})))
    assert set(talk.charts) == {("A:A", "1"), ("A:A", "60")}
    assert len(set(talk.charts.values())) == 2


def test_bars_flow_and_close() -> None:
    talk = Talk(minutes("A:A"))
    facts = {"timezone": "Etc/UTC", "session": "24x7"}
    bar = Bar(T, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert talk.history("A:A", flat(T), at=T + 1, **facts) == [
        SeriesBegun("A:A", MINUTE, T),
        BarUpdate("A:A", MINUTE, bar, False, T + MINUTE_MS, T + 1),
    ]
    assert talk.stream.tick(T + MINUTE_MS + 2_000) == [
        BarUpdate("A:A", MINUTE, bar, True, T + MINUTE_MS, T + MINUTE_MS + 2_000)
    ]


def test_bars_no_longer_wanted_end_their_chart_session() -> None:
    talk = Talk(minutes("A:A"))
    chart = talk.charts["A:A", "1"]
    assert talk.want(Wanted()) == [("chart_delete_session", chart)]
    assert talk.hear(resolved(chart), bars(chart, flat(T)), completed(chart)) == []


def test_refused_bars_leave_the_quotes_alone() -> None:
    talk = Talk(Wanted(frozenset({"A:A"}), frozenset({("A:A", MINUTE)})))
    chart = talk.charts["A:A", "1"]
    assert talk.hear(say("series_error", chart, "sds_1", "s1", "seconds_not_entitled")) == [
        SymbolRefused("A:A", "TradingView has no 1m bars of A:A: seconds_not_entitled.", MINUTE)
    ]
    assert talk.said() == [("chart_delete_session", chart)]
    assert talk.stream.tick(T + 10**9) == []
    assert talk.said() == []
    assert len(talk.quote("A:A", lp=1.0)) == 1


def test_few_chart_sessions_are_opened_at_a_time() -> None:
    symbols = [f"A:{n:02}" for n in range(OPENING + 3)]
    talk = Talk(minutes(*symbols))
    assert [symbol for symbol, _ in talk.charts] == symbols[:OPENING]
    talk.history("A:00", flat(T))
    talk.hear(say("symbol_error", talk.charts["A:01", "1"], "sds_sym_1", "invalid symbol"))
    talk.said()
    assert [symbol for symbol, _ in talk.charts] == symbols[: OPENING + 2]


def test_a_chart_session_that_died_is_opened_again_later() -> None:
    talk = Talk(minutes("A:A", "B:B"))
    dead = talk.charts["A:A", "1"]
    assert talk.hear(say("critical_error", dead, "internal error"), at=T) == []
    assert talk.said() == [("chart_delete_session", dead)]
    assert len(talk.history("B:B", flat(T))) == 2  # the others go on
    talk.stream.tick(T + 4_999)
    assert talk.said() == []
    talk.stream.tick(T + 5_000)
    assert [message[0] for message in talk.said()] == ["chart_create_session", "resolve_symbol", "create_series"]
    assert talk.charts["A:A", "1"] != dead


def test_a_chart_session_without_an_answer_is_opened_again_ever_more_seldom() -> None:
    talk = Talk(minutes("A:A"), at=T)
    opened, now = [], T
    while len(opened) < 9:
        now += 1_000
        talk.stream.tick(now)
        if any(message[0] == "create_series" for message in talk.said()):
            opened.append((now - T) // 1_000)
    pauses = [
        b - a - 21 for a, b in zip([0, *opened], opened, strict=False)
    ]  # 20 s for the answer, found a second later
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_quotes_given_up_by_the_server_end_the_connection() -> None:
    talk = Talk(quotes("A:A"))
    with pytest.raises(Unavailable, match="gave up the quotes: invalid_parameters"):
        talk.hear(say("critical_error", talk.quotes, "invalid_parameters", "method: quote_add_symbols"))


def test_a_message_that_cannot_be_read_is_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk(quotes("A:A"))
    with caplog.at_level(logging.WARNING, "infrastructure.tradingview.stream"):
        assert talk.hear('~m~8~m~{"m":"x"') == []
    assert '{"m":"x"' in caplog.text
    said = talk.quote("A:A", lp=2)
    assert said == []  # all is asked for again, in another session
    talk.said()
    assert talk.quote("A:A", lp=2) == [QuoteUpdate("A:A", NOTHING | {"last": 2.0}, T)]


def test_messages_of_sessions_that_are_not_ours_are_ignored() -> None:
    talk = Talk(quotes("A:A"))
    assert talk.hear(say("qsd", "qs_other", {"n": "A:A", "s": "ok", "v": {"lp": 2}})) == []
    assert talk.hear(say("critical_error", "cs_other", "x"), say("quote_completed", talk.quotes, "A:A")) == []


def test_after_a_message_that_cannot_be_read_all_is_asked_for_again() -> None:
    """It may have been a bar's last state, or a price: nobody knows whose."""
    talk = Talk(Wanted(frozenset({"A:A"}), frozenset({("B:B", MINUTE)})))
    talk.quote("A:A", lp=1.0)
    talk.history("B:B", flat(T))
    quotes_name, chart = talk.quotes, talk.charts["B:B", "1"]
    assert talk.hear("~m~5~m~{spoi", bars(chart, flat(T + MINUTE_MS), name="du")) == []
    said = talk.said()
    assert said[:2] == [("chart_delete_session", chart), ("quote_delete_session", quotes_name)]
    assert ("quote_add_symbols", talk.quotes, "A:A") in said
    assert talk.charts["B:B", "1"] != chart and talk.quotes != quotes_name
    assert talk.quote("A:A", lp=2.0) == [QuoteUpdate("A:A", NOTHING | {"last": 2.0}, T)]


def test_a_source_that_keeps_sending_nonsense_is_asked_again_less_and_less_often() -> None:
    talk = Talk(quotes("A:A"))
    renewed = []
    for second in range(120):
        talk.hear("~m~5~m~{spoi", at=T + second * 1000)
        talk.stream.tick(T + second * 1000)
        if talk.said():
            renewed.append(second)
    assert renewed == [0, 5, 15, 35, 75]
