from typing import Any

from infrastructure.bars import Bar
from infrastructure.errors import Malformed
from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.base import BarUpdate, SeriesBegun
from infrastructure.tradingview.live_series import GAP_BARS, LiveSeries
from tests.tradingview.talk import MINUTE_MS, bars, completed, flat, hello, loading, new_session, resolved, sent

MINUTE = INTERVALS["1m"]
T = 1_700_000_040_000  # a full minute


class Followed:
    def __init__(self, **facts: Any) -> None:
        self.session = new_session()
        self.series = LiveSeries(self.session, "A:B", MINUTE)
        self.series.open()
        self.sent = sent(self.session)
        self.chart = self.sent[0][1]
        self.facts = {"timezone": "Etc/UTC", "session": "24x7", **facts}

    def hear(self, *texts: str, at: int) -> list[Any]:
        updates: list[Any] = []
        for message in self.session.receive("".join(texts), at):
            assert not isinstance(message, Malformed)
            updates += self.series.receive(message, at) or []
        return updates

    def begin(self, *rows: tuple[float, ...], at: int, mode: str = "streaming") -> list[BarUpdate]:
        """What follows the news that they begin with the first row."""
        begun, *updates = self.hear(
            loading(self.chart),
            resolved(self.chart, **self.facts),
            bars(self.chart, *rows),
            completed(self.chart, mode),
            at=at,
        )
        assert begun == SeriesBegun("A:B", MINUTE, int(rows[0][0]))
        return updates

    def live(self, *rows: tuple[float, ...], at: int) -> list[Any]:
        return self.hear(bars(self.chart, *rows, name="du"), at=at)


def update(time_ms: int, price: float, closed: bool, at: int, volume: float = 1.0) -> BarUpdate:
    bar = Bar(time_ms, price, price, price, price, volume)
    return BarUpdate("A:B", MINUTE, bar, closed, time_ms + MINUTE_MS, at)


def test_it_asks_for_the_last_ten_bars() -> None:
    followed = Followed()
    assert [message[0] for message in followed.sent] == ["chart_create_session", "resolve_symbol", "create_series"]
    assert followed.sent[-1] == ("create_series", followed.chart, "sds_1", "s1", "sds_sym_1", "1", 10, "")


def test_after_connecting_the_closed_bars_come_again_and_the_last_one_forms() -> None:
    assert Followed().begin(flat(T - 2 * MINUTE_MS), flat(T - MINUTE_MS, 2.0), flat(T, 3.0), at=T + 5_000) == [
        update(T - 2 * MINUTE_MS, 1.0, True, T + 5_000),
        update(T - MINUTE_MS, 2.0, True, T + 5_000),
        update(T, 3.0, False, T + 5_000),
    ]


def test_a_bar_that_cannot_have_opened_yet_is_left_out() -> None:
    followed = Followed()
    followed.begin(flat(T), at=T)
    assert followed.live(flat(T + 500 * MINUTE_MS, 9.0), at=T + 1_000) == []
    assert followed.live(flat(T, 2.0), at=T + 2_000) == [update(T, 2.0, False, T + 2_000)]
    assert followed.live(flat(T + MINUTE_MS), at=T + MINUTE_MS + 1_000)[0].closed


def test_an_answer_without_bars_begins_with_the_first_that_comes() -> None:
    followed = Followed()
    assert followed.hear(resolved(followed.chart, **followed.facts), completed(followed.chart), at=T) == []
    assert followed.live(flat(T), at=T + 100) == [SeriesBegun("A:B", MINUTE, T), update(T, 1.0, False, T + 100)]


def test_a_last_bar_whose_time_has_passed_is_closed_at_once() -> None:
    assert Followed().begin(flat(T), at=T + MINUTE_MS + 2_000) == [update(T, 1.0, True, T + MINUTE_MS + 2_000)]


def test_a_bar_moves_in_place() -> None:
    followed = Followed()
    followed.begin(flat(T), at=T)
    assert followed.live(flat(T, 2.0, 7.0), at=T + 100) == [update(T, 2.0, False, T + 100, volume=7.0)]


def test_the_next_bar_closes_the_one_before() -> None:
    followed = Followed()
    followed.begin(flat(T), at=T)
    followed.live(flat(T, 2.0), at=T + 100)
    assert followed.live(flat(T + MINUTE_MS, 3.0), at=T + MINUTE_MS + 50) == [
        update(T, 2.0, True, T + MINUTE_MS + 50),
        update(T + MINUTE_MS, 3.0, False, T + MINUTE_MS + 50),
    ]


def test_the_last_word_on_a_bar_and_its_successor_may_come_together() -> None:
    followed = Followed()
    followed.begin(flat(T), at=T)
    assert followed.live(flat(T, 2.0), flat(T + MINUTE_MS, 3.0), at=T + MINUTE_MS) == [
        update(T, 2.0, True, T + MINUTE_MS),
        update(T + MINUTE_MS, 3.0, False, T + MINUTE_MS),
    ]


def test_a_bar_without_a_successor_is_closed_by_the_clock_once() -> None:
    followed = Followed()
    followed.begin(flat(T), at=T)
    assert followed.series.tick(T + MINUTE_MS + 1_999) == []
    assert followed.series.tick(T + MINUTE_MS + 2_000) == [update(T, 1.0, True, T + MINUTE_MS + 2_000)]
    assert followed.series.tick(T + MINUTE_MS + 9_000) == []
    assert followed.live(flat(T + 5 * MINUTE_MS, 3.0), at=T + 5 * MINUTE_MS) == [
        update(T + 5 * MINUTE_MS, 3.0, False, T + 5 * MINUTE_MS)
    ]


def begun(minute: int) -> SeriesBegun:
    return SeriesBegun("A:B", MINUTE, T + minute * MINUTE_MS)


def test_bars_missing_between_two_make_the_series_begin_again() -> None:
    """The connection lived, its data did not: who listens fetches them."""
    followed = Followed()
    followed.begin(flat(T), at=T)
    at = T + (GAP_BARS + 1) * MINUTE_MS
    assert followed.live(flat(at, 3.0), at=at) == [
        update(T, 1.0, True, at),
        begun(GAP_BARS + 1),
        update(at, 3.0, False, at),
    ]


def test_a_series_begins_again_at_most_once_in_a_while() -> None:
    followed = Followed()
    followed.begin(flat(T), at=T)
    said = []
    for minute in range(6, 40, 6):
        said += followed.live(flat(T + minute * MINUTE_MS), at=T + minute * MINUTE_MS)
    assert [one for one in said if isinstance(one, SeriesBegun)] == [begun(6), begun(24)]


def test_a_night_is_no_gap_and_neither_are_the_bars_of_an_answer() -> None:
    evening, morning = 1699649940000, 1699886400000  # Friday 2023-11-10, 15:59, Monday 09:40 in New York
    followed = Followed(timezone="America/New_York", session="0930-1600")
    followed.begin(flat(evening - 30 * MINUTE_MS), flat(evening), at=evening)
    opening = morning - 10 * MINUTE_MS
    assert [type(one) for one in followed.live(flat(opening), at=opening)] == [BarUpdate, BarUpdate]
    assert SeriesBegun("A:B", MINUTE, morning) in followed.live(flat(morning), at=morning)


def test_without_trading_hours_nobody_knows_of_a_gap() -> None:
    followed = Followed(session="nonsense")
    followed.begin(flat(T), at=T)
    later = T + 1000 * MINUTE_MS
    assert [type(one) for one in followed.live(flat(later), at=later)] == [BarUpdate, BarUpdate]


def test_the_clock_is_the_servers() -> None:
    followed = Followed()
    followed.hear(hello(T), at=0)  # ours is decades late
    followed.begin(flat(T), at=100)
    assert followed.series.tick(MINUTE_MS + 1_999) == []
    assert followed.series.tick(MINUTE_MS + 2_000) == [update(T, 1.0, True, MINUTE_MS + 2_000)]


def test_a_delayed_feed_closes_its_bars_after_the_delay() -> None:
    followed = Followed()
    followed.begin(flat(T), at=T + 910_000, mode="delayed_streaming_900")
    assert followed.series.tick(T + 900_000 + MINUTE_MS + 1_999) == []
    assert followed.series.tick(T + 900_000 + MINUTE_MS + 2_000) == [update(T, 1.0, True, T + 962_000)]


def test_a_correction_of_a_closed_bar_is_given_as_closed() -> None:
    followed = Followed()
    followed.begin(flat(T - MINUTE_MS), flat(T), at=T + MINUTE_MS + 5_000)
    assert followed.live(flat(T, 4.0), at=T + MINUTE_MS + 6_000) == [update(T, 4.0, True, T + MINUTE_MS + 6_000)]
    assert followed.live(flat(T - MINUTE_MS, 5.0), at=T + MINUTE_MS + 7_000) == [
        update(T - MINUTE_MS, 5.0, True, T + MINUTE_MS + 7_000)
    ]


def test_live_bars_before_the_completion_wait_for_it() -> None:
    followed = Followed()
    early = followed.hear(
        resolved(followed.chart, **followed.facts),
        bars(followed.chart, flat(T - MINUTE_MS), flat(T)),
        bars(followed.chart, flat(T, 2.0), name="du"),
        at=T + 100,
    )
    assert early == []
    assert followed.series.tick(T + 100 * MINUTE_MS) == []
    assert followed.hear(completed(followed.chart), at=T + 200) == [
        SeriesBegun("A:B", MINUTE, T - MINUTE_MS),
        update(T - MINUTE_MS, 1.0, True, T + 200),
        update(T, 2.0, False, T + 200),
    ]


def test_a_second_completion_says_nothing_new() -> None:
    followed = Followed()
    followed.begin(flat(T), at=T)
    assert followed.hear(completed(followed.chart), at=T + 1) == []


def test_the_last_bar_of_a_session_closes_with_it() -> None:
    close_ms = T + 30_000  # the hours would say a minute after its open
    followed = Followed()
    followed.hear(resolved(followed.chart, **followed.facts), at=T)
    _, said = followed.hear(
        bars(followed.chart, flat(T), close_ms=close_ms), completed(followed.chart), at=close_ms + 1_999
    )
    assert (said.closed, said.close_ms) == (False, close_ms)
    (closed,) = followed.series.tick(close_ms + 2_000)
    assert (closed.closed, closed.close_ms) == (True, close_ms)


def test_bars_without_volume_are_followed_too() -> None:
    (said,) = Followed().begin((T, 1.0, 2.0, 0.5, 1.5), at=T)
    assert said.bar.time_ms == T
    assert str(said.bar.volume) == "nan"
