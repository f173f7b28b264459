"""The pages of a history: where they are cut, when there are no more, and that together they are whole."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.bars import Bars
from infrastructure.errors import Unavailable
from infrastructure.times import to_ms
from infrastructure.tradingview.base import History
from tests.tradingview.conversation import NOW, Conversation, times
from tests.tradingview.talk import MINUTE_MS, bars, completed, flat, resolved


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
