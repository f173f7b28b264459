import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.bars import Bar, Bars
from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.times import to_ms
from infrastructure.tradingview.base import History, SymbolInfo, delay_of
from infrastructure.tradingview.history import HistoryRequest
from tests.tradingview.talk import (
    MINUTE_MS,
    bars,
    completed,
    flat,
    hello,
    loading,
    new_session,
    replayed,
    resolved,
    say,
    sent,
)

DAY, MINUTE = INTERVALS["1d"], INTERVALS["1m"]
NOW = 1_700_000_040_000  # a full minute
CLOCK = {"timezone": "Etc/UTC", "session": "24x7"}


class Conversation:
    """A request, its session, and the name of the chart session that it drew."""

    def __init__(self, interval: Any = MINUTE, *, now_ms: int = NOW, **limits: Any) -> None:
        self.session = new_session()
        self.now_ms = now_ms
        self.request = HistoryRequest(self.session, "NASDAQ:AAPL", interval, **{"page_bars": 5000, **limits})
        self.request.ask(now_ms)
        self.sent = sent(self.session)
        self.chart = self.sent[0][1]

    def hear(self, *texts: str) -> list[History]:
        pages = []
        for message in self.session.receive("".join(texts), self.now_ms):
            assert not isinstance(message, Malformed)
            page = self.request.receive(message, self.now_ms)
            if page is not None:
                pages.append(page)
        return pages

    def answer(self, *rows: tuple[float, ...], **more: Any) -> list[History]:
        return self.hear(
            loading(self.chart), resolved(self.chart, **CLOCK), bars(self.chart, *rows), completed(self.chart, **more)
        )

    def ask(self) -> list[tuple[Any, ...]]:
        self.request.ask(self.now_ms)
        messages = sent(self.session)
        self.chart = messages[-1][1]
        return messages


def times(page: History) -> list[int]:
    return page.bars.time_ms.tolist()


def test_a_request_opens_a_chart_session_with_one_series() -> None:
    chat = Conversation(bars=100)
    assert chat.sent == [
        ("chart_create_session", chat.chart, ""),
        (
            "resolve_symbol",
            chat.chart,
            "sds_sym_1",
            '={"symbol":"NASDAQ:AAPL","adjustment":"splits","session":"regular"}',
        ),
        ("create_series", chat.chart, "sds_1", "s1", "sds_sym_1", "1", 101, ""),
    ]
    chat.request.close()
    assert sent(chat.session) == [("chart_delete_session", chat.chart)]


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({}, 5000),
        ({"bars": 20_000}, 5000),
        ({"bars": 1}, 2),
        ({"start_ms": NOW - 9 * MINUTE_MS - 1}, 11),
        ({"start_ms": 0}, 5000),
        ({"start_ms": NOW + 1}, 2),
        ({"bars": 100, "end_ms": NOW - 1}, 5000),
        ({"bars": 100, "end_ms": NOW}, 101),
        ({"bars": 100, "end_ms": NOW - 2 * MINUTE_MS}, 101),
        ({"bars": 100, "page_bars": 10}, 10),
    ],
)
def test_no_more_bars_are_asked_for_than_may_be_needed(limits: dict[str, Any], count: int) -> None:
    assert Conversation(**limits).sent[-1][6] == count


def test_the_recorded_answer_is_one_page(captures: Path) -> None:
    hello_text, answer = json.loads((captures / "09-aapl-1D-five-bars-anonymous.json").read_text())
    chat = Conversation(DAY, now_ms=1787292487138, bars=5)
    (page,) = chat.hear(hello_text, replayed(answer, "cs_m4euhx", chat.chart))
    assert page.info.full_name == "BATS:AAPL"
    assert page.bars.time_ms.tolist() == [1786714200000, 1786973400000, 1787059800000, 1787146200000, 1787232600000]
    assert (page.forming, page.ended, chat.request.more_to_come) == (None, "", False)


def test_the_answer_says_what_the_symbol_is_and_how_delayed() -> None:
    chat = Conversation()
    (page,) = chat.hear(
        resolved(chat.chart), bars(chat.chart, flat(0)), completed(chat.chart, mode="delayed_streaming_900")
    )
    assert page.info == SymbolInfo(
        symbol="NASDAQ:AAPL",
        full_name="BATS:AAPL",
        pro_name="NASDAQ:AAPL",
        exchange="Cboe One",
        listed_exchange="",
        description="",
        type="",
        currency="",
        timezone="America/New_York",
        session="0930-1600",
        update_mode="delayed_streaming_900",
    )
    assert page.info.delay_s == 900


@pytest.mark.parametrize(
    ("mode", "after_close_ms", "is_forming"),
    [
        ("streaming", -1, True),
        ("streaming", 1_999, True),
        ("streaming", 2_000, False),
        ("delayed_streaming_900", 2_000, True),
        ("delayed_streaming_900", 901_999, True),
        ("delayed_streaming_900", 902_000, False),
    ],
)
def test_the_last_bar_forms_until_its_close_has_passed_on_the_servers_clock(
    mode: str, after_close_ms: int, is_forming: bool
) -> None:
    chat = Conversation()
    (page,) = chat.hear(
        hello(NOW + MINUTE_MS + after_close_ms),  # our own clock is as late as it likes
        resolved(chat.chart, **CLOCK),
        # The server's word for the close counts the delay in.
        bars(chat.chart, flat(NOW - MINUTE_MS), flat(NOW, 2.0), close_ms=NOW + MINUTE_MS + delay_of(mode) * 1000),
        completed(chat.chart, mode=mode),
    )
    last = Bar(NOW, 2.0, 2.0, 2.0, 2.0, 1.0)
    assert page.forming == (last if is_forming else None)
    assert list(page.bars) == [Bar(NOW - MINUTE_MS, 1.0, 1.0, 1.0, 1.0, 1.0)] + ([] if is_forming else [last])


def test_without_the_servers_word_the_trading_hours_say_when_a_bar_closes() -> None:
    friday_open_ms, friday_close_ms = 1699626600000, 1699650000000  # 2023-11-10, New York
    for now_ms, is_forming in ((friday_close_ms + 1_999, True), (friday_close_ms + 2_000, False)):
        chat = Conversation(DAY, now_ms=now_ms)
        (page,) = chat.hear(resolved(chat.chart), bars(chat.chart, flat(friday_open_ms)), completed(chat.chart))
        assert (page.forming is not None) == is_forming


def test_hours_that_cannot_be_read_leave_the_nominal_length() -> None:
    chat = Conversation()
    (page,) = chat.hear(
        resolved(chat.chart, session="whenever"),
        bars(chat.chart, flat(NOW - 2 * MINUTE_MS), flat(NOW - MINUTE_MS), flat(NOW)),
        completed(chat.chart),
    )
    assert times(page) == [NOW - 2 * MINUTE_MS, NOW - MINUTE_MS]


def test_older_pages_are_asked_for_and_cut_where_they_overlap() -> None:
    chat = Conversation(page_bars=3)
    first = chat.answer(*[flat(NOW - n * MINUTE_MS) for n in (4, 3, 2)])
    assert [times(page) for page in first] == [[NOW - n * MINUTE_MS for n in (4, 3, 2)]]
    assert chat.ask() == [("request_more_data", chat.chart, "sds_1", 3)]
    second = chat.answer(*[flat(NOW - n * MINUTE_MS, 9.0) for n in (3, 7, 5, 6, 4, 6)])  # out of order, held, twice
    assert [times(page) for page in second] == [[NOW - n * MINUTE_MS for n in (7, 6, 5)]]
    assert chat.request.more_to_come


def test_a_completion_that_comes_twice_ends_nothing() -> None:
    chat = Conversation()
    assert len(chat.answer(flat(NOW - 9 * MINUTE_MS))) == 1
    assert chat.hear(completed(chat.chart)) == []
    chat.ask()
    assert chat.hear(completed(chat.chart)) == []
    assert not chat.request.waiting
    chat.ask()
    (page,) = chat.answer(flat(NOW - 10 * MINUTE_MS))
    assert times(page) == [NOW - 10 * MINUTE_MS]
    assert (page.ended, chat.request.more_to_come) == ("", True)


def test_an_answer_without_older_bars_is_believed_the_second_time() -> None:
    chat = Conversation()
    chat.answer(flat(NOW - 9 * MINUTE_MS))
    chat.ask()
    assert chat.answer(flat(NOW - 9 * MINUTE_MS)) == []
    assert chat.ask() == [("request_more_data", chat.chart, "sds_1", 5000)]
    (page,) = chat.answer()
    assert (times(page), page.ended, chat.request.more_to_come) == ([], "end", False)


def test_a_page_that_got_lost_is_found_by_the_numbers_of_the_next() -> None:
    chat = Conversation()
    chat.answer(*[flat(NOW - n * MINUTE_MS) for n in (12, 11, 10)])
    chat.ask()
    assert chat.answer() == []
    chat.ask()
    rows = [flat(NOW - n * MINUTE_MS) for n in (19, 18)]
    with pytest.raises(Unavailable, match=r"^TradingView left out 4 bars of NASDAQ:AAPL\.$"):
        chat.hear(bars(chat.chart, *rows, first=-6), completed(chat.chart))


def test_a_symbol_without_any_bar_ends_empty() -> None:
    chat = Conversation()
    first = chat.chart
    assert chat.answer() == []
    assert [(name, chart) for name, chart, *_ in chat.ask()] == [
        ("chart_delete_session", first),
        ("chart_create_session", chat.chart),
        ("resolve_symbol", chat.chart),
        ("create_series", chat.chart),
    ]
    (page,) = chat.answer()
    assert (times(page), page.forming, page.ended) == ([], None, "end")


@pytest.mark.parametrize("ended", ["end", "limit"])
def test_the_source_may_say_that_there_is_nothing_older(ended: str) -> None:
    chat = Conversation()
    (page,) = chat.answer(flat(NOW - 9 * MINUTE_MS), data_completed=ended)
    assert (times(page), page.ended, chat.request.more_to_come) == ([NOW - 9 * MINUTE_MS], ended, False)


def test_live_bars_before_the_completion_are_no_end_and_win() -> None:
    chat = Conversation()
    (page,) = chat.hear(
        resolved(chat.chart, **CLOCK),
        bars(chat.chart, flat(NOW - MINUTE_MS), flat(NOW, 1.0), close_ms=NOW + MINUTE_MS),
        bars(chat.chart, flat(NOW, 2.0, 5.0), name="du", close_ms=NOW + MINUTE_MS),
        completed(chat.chart),
    )
    assert times(page) == [NOW - MINUTE_MS]
    assert page.forming == Bar(NOW, 2.0, 2.0, 2.0, 2.0, 5.0)


def test_answers_to_another_turnaround_session_or_series_are_ignored() -> None:
    chat = Conversation()
    pages = chat.hear(
        resolved(chat.chart, **CLOCK),
        bars(chat.chart, flat(0, 7.0), turnaround="s0"),
        bars("cs_other", flat(0, 8.0)),
        say("du", chat.chart, {"st1": {"st": [{"i": 0, "v": [0, 1e100]}], "t": "s1_st1"}}),
        completed(chat.chart, turnaround="s0"),
        completed("cs_other"),
    )
    assert pages == []
    assert len(chat.hear(bars(chat.chart, flat(60_000)), completed(chat.chart))) == 1


def test_a_range_is_opened_at_its_end_cut_on_this_side_and_ends_when_covered() -> None:
    start, end = NOW - 8 * MINUTE_MS, NOW - 5 * MINUTE_MS
    chat = Conversation(start_ms=start, end_ms=end)
    seconds = [ms // 1000 for ms in (start - 2 * MINUTE_MS, end + MINUTE_MS)]
    assert chat.sent[-1] == (
        "create_series", chat.chart, "sds_1", "s1", "sds_sym_1", "1", 5, f"r,{seconds[0]}:{seconds[1]}",
    )  # fmt: skip
    (first,) = chat.answer(*[flat(NOW - n * MINUTE_MS) for n in (7, 6, 5, 4)], data_completed="end")
    assert (times(first), first.ended, chat.request.more_to_come) == (
        [NOW - 7 * MINUTE_MS, NOW - 6 * MINUTE_MS],
        "",
        True,
    )
    assert chat.ask() == [("request_more_data", chat.chart, "sds_1", 3)]
    (second,) = chat.answer(*[flat(NOW - n * MINUTE_MS) for n in (9, 8)])
    assert (times(second), second.ended, chat.request.more_to_come) == ([start], "", False)


def test_an_answer_that_may_end_before_the_range_does_is_not_believed() -> None:
    """The newest bars are asked for, as if nothing had been heard."""
    start, end = NOW - 8 * MINUTE_MS, NOW - 5 * MINUTE_MS
    chat = Conversation(start_ms=start, end_ms=end)
    assert chat.answer(*[flat(NOW - n * MINUTE_MS) for n in (9, 8, 7)]) == []
    assert not chat.request.waiting
    assert [name for name, *_ in chat.ask()] == [
        "chart_delete_session", "chart_create_session", "resolve_symbol", "create_series",
    ]  # fmt: skip
    (first,) = chat.answer(*[flat(NOW - n * MINUTE_MS) for n in (6, 4, 3, 2, 1)])
    assert (times(first), chat.request.more_to_come) == ([NOW - 6 * MINUTE_MS], True)


@pytest.mark.parametrize(("newest", "pages"), [("2023-11-10T20:59", 1), ("2023-11-10T20:58", 0)])
def test_where_no_bar_follows_by_the_trading_hours_the_range_is_reached(newest: str, pages: int) -> None:
    friday_close, last = (to_ms(datetime.fromisoformat(f"{text}+00:00")) for text in ("2023-11-10T21:00", newest))
    chat = Conversation(end_ms=friday_close)
    found = chat.hear(resolved(chat.chart), bars(chat.chart, flat(last - MINUTE_MS), flat(last)), completed(chat.chart))
    assert [times(page) for page in found] == [[last - MINUTE_MS, last]] * pages


def test_a_forming_bar_outside_the_range_is_left_out() -> None:
    chat = Conversation(end_ms=NOW, start_ms=NOW - 2 * MINUTE_MS)
    (page,) = chat.answer(flat(NOW - 2 * MINUTE_MS), flat(NOW - MINUTE_MS), flat(NOW))
    assert (times(page), page.forming) == ([NOW - 2 * MINUTE_MS, NOW - MINUTE_MS], None)


def test_a_number_of_bars_counts_closed_ones_over_all_pages() -> None:
    chat = Conversation(bars=5)
    (first,) = chat.answer(*[flat(NOW - n * MINUTE_MS) for n in (3, 2, 1, 0)])
    assert (len(first.bars), first.forming is not None) == (3, True)
    assert chat.ask() == [("request_more_data", chat.chart, "sds_1", 3)]
    (second,) = chat.answer(*[flat(NOW - n * MINUTE_MS) for n in (7, 6, 5, 4)])
    assert times(second) == [NOW - 5 * MINUTE_MS, NOW - 4 * MINUTE_MS]
    assert not chat.request.more_to_come


def test_an_answer_that_never_said_what_it_is_about_is_malformed() -> None:
    chat = Conversation()
    with pytest.raises(Malformed):
        chat.hear(bars(chat.chart, flat(0)), completed(chat.chart))


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        (
            ("symbol_error", "sds_sym_1", "invalid symbol"),
            Rejected,
            "TradingView has no symbol NASDAQ:AAPL for this account: invalid symbol.",
        ),
        (
            ("symbol_error", "sds_sym_1", "permission denied", "group", "nse"),
            Rejected,
            "TradingView has no symbol NASDAQ:AAPL for this account: permission denied group nse.",
        ),
        (
            ("series_error", "sds_1", "s1", "unsupported resolution: NASDAQ:AAPL, 1"),
            Rejected,
            "TradingView has no 1m bars of NASDAQ:AAPL: unsupported resolution: NASDAQ:AAPL, 1.",
        ),
        (
            ("critical_error", "exceed limit of series in the session", "method: create_series"),
            Unavailable,
            "TradingView gave up the 1m bars of NASDAQ:AAPL: exceed limit of series in the session.",
        ),
    ],
)
def test_a_refusal_ends_the_request(said: tuple[str, ...], kind: type[InfrastructureError], sentence: str) -> None:
    chat = Conversation()
    with pytest.raises(kind) as caught:
        chat.hear(say(said[0], chat.chart, *said[1:]))
    assert str(caught.value) == sentence


def test_the_recorded_unknown_symbol_is_rejected(captures: Path) -> None:
    hello_text, answer = json.loads((captures / "10-symbol-error-then-series-error.json").read_text())
    chat = Conversation()
    with pytest.raises(Rejected, match="invalid symbol"):
        chat.hear(hello_text, replayed(answer, "cs_urdpo2", chat.chart))


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 7), st.integers(0, 3), st.data())
def test_pages_put_together_are_the_history_however_they_are_cut(
    minutes: set[int], page_bars: int, overlap: int, data: st.DataObject
) -> None:
    """The server holds `minutes`, answers `page_bars` at a time in any order, and repeats some it gave before."""
    start = 1_600_000_020_000
    held = sorted(start + n * MINUTE_MS for n in minutes)
    chat = Conversation(page_bars=page_bars)
    pages: list[History] = []
    given_upto = len(held)
    while True:
        first = max(given_upto - page_bars, 0)
        answer = held[first : given_upto + overlap]
        given_upto = first
        pages += chat.answer(*[flat(t, 2.0) for t in data.draw(st.permutations(answer))])
        if not chat.request.more_to_come:
            break
        chat.ask()
    assert Bars.concat([page.bars for page in reversed(pages)]).same_as(Bars.from_rows([flat(t, 2.0) for t in held]))
    assert pages[-1].ended == "end"


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(0, 62), st.integers(1, 7), st.data())
def test_a_range_is_whole_whatever_the_server_makes_of_it(
    minutes: set[int], end: int, page_bars: int, data: st.DataObject
) -> None:
    """It cuts the answer to a range where it likes, or ignores the range, and pages back from what it gave."""
    start = NOW - 100 * MINUTE_MS
    held = sorted(start + n * MINUTE_MS for n in minutes)
    end_ms = start + end * MINUTE_MS
    chat = Conversation(page_bars=page_bars, end_ms=end_ms)
    opening, given_upto = chat.sent[-1], len(held)
    pages: list[History] = []
    while True:
        if opening[0] == "create_series":
            given_upto = data.draw(st.integers(0, len(held))) if opening[-1] else len(held)
        first = max(given_upto - page_bars, 0)
        answer, given_upto = held[first:given_upto], first
        pages += chat.answer(*map(flat, answer))
        if not chat.request.more_to_come:
            break
        opening = chat.ask()[-1]
    found = Bars.concat([page.bars for page in reversed(pages)])
    assert found.time_ms.tolist() == [ms for ms in held if ms < end_ms]
