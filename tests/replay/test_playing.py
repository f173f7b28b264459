"""Captures made by hand: what the clocks of a recording decide, and what a recorded connection may go through."""

import json
from typing import Any

import pytest

from infrastructure.bars import Bar
from infrastructure.errors import Malformed
from infrastructure.replay.lines import Kind, Record
from infrastructure.replay.playing import Player, moments
from infrastructure.tradingview.base import BarUpdate, QuoteUpdate, SeriesBegun, StreamEvent, SymbolRefused
from infrastructure.tradingview.chart import RESOLVE, SERIES, TURNAROUND
from infrastructure.tradingview.messages import request, symbol_spec
from tests.tradingview.talk import bars, completed, flat, hello, resolved, say
from tests.tradingview.wishes import MINUTE

OPEN = 1_767_625_200_000  # Monday 2026-01-05 15:00 UTC: New York trades
AHEAD_MS = 5_000  # the server's clock is ahead of the recorder's
AAPL = "NASDAQ:AAPL"


class Tape:
    """`at` in seconds after OPEN on the recorder's clock."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, at: float, kind: Kind, *texts: str, connection: int = 0) -> "Tape":
        wall_ms = OPEN + round(at * 1000)
        self.records += [Record(at, wall_ms, connection, kind, text, len(self.records) + 1) for text in texts or ("",)]
        return self

    def opened(self, at: float) -> "Tape":
        return self.add(at, "+").add(at, "<", hello(OPEN + round(at * 1000) + AHEAD_MS))

    def asks_quotes(self, at: float, name: str, *symbols: str) -> "Tape":
        return self.add(at, ">", request("quote_create_session", name), request("quote_add_symbols", name, *symbols))

    def asks_bars(self, at: float, name: str, symbol: str = AAPL) -> "Tape":
        return self.add(
            at, ">", request("chart_create_session", name, ""),
            request("resolve_symbol", name, RESOLVE, symbol_spec(symbol)),
            request("create_series", name, SERIES, TURNAROUND, RESOLVE, MINUTE.wire, 10, ""),
        )  # fmt: skip

    def answers_bars(self, at: float, name: str, *rows: tuple[float, ...]) -> "Tape":
        return self.add(at, "<", resolved(name) + bars(name, *rows) + completed(name))

    def answers_quote(self, at: float, name: str, symbol: str, **values: Any) -> "Tape":
        return self.add(at, "<", say("qsd", name, {"n": symbol, "s": "ok", "v": values}))

    def play(self) -> tuple[Player, list[StreamEvent]]:
        player = Player()
        return player, [event for moment in moments(self.records) for event in player.play(moment)]


def closed(events: list[StreamEvent]) -> list[tuple[int, bool, int]]:
    return [(e.bar.time_ms, e.closed, e.received_ms) for e in events if isinstance(e, BarUpdate)]


def test_a_bar_closes_by_the_servers_clock_as_it_was_recorded() -> None:
    """55 s by the recorder's clock are 60 s by the server's; and two for the last trades."""
    tape = Tape().opened(10).asks_bars(10, "cs_1").answers_bars(11, "cs_1", flat(OPEN))
    _, events = tape.add(56.5, "<", "~m~4~m~~h~1").play()
    assert closed(events) == [(OPEN, False, OPEN + 11_000)]
    _, events = tape.add(70, "<", "~m~4~m~~h~2").play()
    assert closed(events) == [(OPEN, False, OPEN + 11_000), (OPEN, True, OPEN + 57_000)]


def test_what_forms_at_the_end_of_a_recording_stays_so() -> None:
    player, events = Tape().opened(10).asks_bars(10, "cs_1").answers_bars(11, "cs_1", flat(OPEN)).play()
    assert events == [
        SeriesBegun(AAPL, MINUTE, OPEN),
        BarUpdate(AAPL, MINUTE, Bar(OPEN, 1, 1, 1, 1, 1), False, OPEN + 60_000, OPEN + 11_000),
    ]
    assert (player.state, player.infos[AAPL].full_name) == (("live", ""), "BATS:AAPL")


def test_a_connection_that_ended_closes_no_bar() -> None:
    """Nobody knows what it missed: the next one tells."""
    tape = Tape().opened(10).asks_bars(10, "cs_1").answers_bars(11, "cs_1", flat(OPEN))
    tape.add(12, "-").add(12, "-", "It was lost.").opened(80).asks_bars(80, "cs_2")
    player, events = tape.play()
    assert closed(events) == [(OPEN, False, OPEN + 11_000)]
    assert player.state == ("reconnecting", "It was lost.")
    player, events = tape.answers_bars(81, "cs_2", flat(OPEN, 2), flat(OPEN + 60_000)).play()
    assert closed(events)[1:] == [(OPEN, True, OPEN + 81_000), (OPEN + 60_000, False, OPEN + 81_000)]
    assert player.state == ("live", "")


def test_a_stream_is_what_the_worst_of_its_connections_is() -> None:
    tape = Tape().opened(0).asks_quotes(0, "qs_1", AAPL).answers_quote(1, "qs_1", AAPL, lp=1.5)
    tape.add(2, "+", connection=1)
    assert tape.play()[0].state == ("connecting", "")
    tape.add(3, "-", "Refused.", connection=1)
    assert tape.play()[0].state == ("reconnecting", "Refused.")
    tape.add(4, "-", connection=1)
    assert tape.play()[0].state == ("live", "")


def test_a_text_that_ended_the_connection_ends_it_again() -> None:
    tape = Tape().opened(0).asks_quotes(0, "qs_1", AAPL).answers_quote(1, "qs_1", AAPL, lp=1.5)
    tape.add(2, "<", "~m~999~m~{}")
    assert tape.play()[0].state == ("reconnecting", "TradingView sent a frame that is shorter than it says.")


def test_what_was_asked_for_again_over_the_same_connection_has_a_new_name() -> None:
    tape = Tape().opened(0).asks_quotes(0, "qs_1", AAPL).answers_quote(1, "qs_1", AAPL, lp=1.5, volume=7)
    tape.add(2, ">", request("quote_delete_session", "qs_1")).asks_quotes(2, "qs_2", AAPL)
    _, events = tape.answers_quote(3, "qs_1", AAPL, lp=9).answers_quote(4, "qs_2", AAPL, lp=2.5).play()
    quotes = [event for event in events if isinstance(event, QuoteUpdate)]
    assert [(quote.changes["last"], quote.changes["volume"], quote.received_ms - OPEN) for quote in quotes] == [
        (1.5, 7, 1000), (2.5, None, 4000),
    ]  # fmt: skip


def test_a_refusal_and_what_is_no_longer_wanted() -> None:
    tape = Tape().opened(0).asks_quotes(0, "qs_1", AAPL, "NO:ONE")
    tape.add(1, "<", say("qsd", "qs_1", {"n": "NO:ONE", "s": "error", "errmsg": "no_such_symbol", "v": {}}))
    tape.add(1, ">", request("quote_remove_symbols", "qs_1", "NO:ONE", AAPL))
    _, events = tape.answers_quote(2, "qs_1", AAPL, lp=1.5).play()
    assert events == [SymbolRefused("NO:ONE", "no_such_symbol")]


def test_missing_records_are_said(caplog: pytest.LogCaptureFixture) -> None:
    Tape().opened(0).add(1.25, "!", "17").play()
    assert caplog.messages == ["17 records are missing at 1.250000 s of the recording"]


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "~m~2~m~{}",
        "~m~2~m~[]",
        "~m~1~m~x",
        '~m~17~m~{"m":"x","p":null}',
        request("resolve_symbol", "c", RESOLVE, "=x"),
    ],
)
def test_a_request_that_is_none_is_malformed_with_its_line(text: str) -> None:
    with pytest.raises(Malformed, match=r"^Line 3 of the recording holds no request: "):
        Tape().opened(0).add(1, ">", text).play()


def test_a_long_silence_is_not_searched_for_bars_that_close() -> None:
    silence = [Record(0.0, OPEN, 0, "+", ""), Record(99_999_999.0, OPEN + 99_999_999_000, 0, "-", "")]
    looks = [moment for moment in moments(silence) if moment.record is None]
    assert [look.at_s for look in looks] == [float(n) for n in range(1, 601)]


def test_bars_that_nobody_asked_for_are_left_out_and_their_symbol_is_known() -> None:
    facts = {"pro_name": AAPL, "full_name": "BATS:AAPL"}
    text = say("symbol_resolved", "cs", "sym_1", facts) + bars("cs", flat(OPEN)) + completed("cs")
    player, events = Tape().add(0, "<", text).play()
    assert events == []
    assert json.dumps(sorted(player.infos)) == f'["{AAPL}"]'
