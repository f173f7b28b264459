"""One answer to a request for bars: what is asked, what it says, which bar still forms, and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from infrastructure.bars import Bar
from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.base import SymbolInfo, delay_of
from tests.tradingview.conversation import CLOCK, NOW, Conversation, times
from tests.tradingview.talk import MINUTE_MS, bars, completed, flat, hello, replayed, resolved, say, sent

DAY = INTERVALS["1d"]


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
