from dataclasses import replace

import pytest

from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.base import BarUpdate
from marketdata.live import in_order
from marketdata.live.in_order import InOrder
from tests.live.source import MINUTE_MS, bar_update

MINUTE = INTERVALS["1m"]
TICK = ("TEST:TICK", MINUTE)


class Said:
    def __init__(self, *, until: dict[tuple[str, object], int] | None = None) -> None:
        self.updates: list[BarUpdate] = []
        self.in_order = InOrder(self.updates.append, until or {})  # type: ignore[arg-type]

    def hear(self, *minutes: int, close: float = 1.0, symbol: str = "TEST:TICK") -> list[int]:
        """Which of these were said."""
        before = len(self.updates)
        for minute in minutes:
            self.in_order(bar_update(symbol, "1m", minute, close, closed=True))
        return [update.bar.time_ms // MINUTE_MS for update in self.updates[before:]]


def test_what_a_source_repeats_is_said_once() -> None:
    said = Said()
    assert said.hear(1, 2, 3) == [1, 2, 3]
    assert said.hear(1, 2, 3, 4) == [4]


def test_series_do_not_concern_each_other() -> None:
    said = Said()
    assert said.hear(5) == [5]
    assert said.hear(3, 4, symbol="NASDAQ:AAPL") == [3, 4]


def test_a_correction_of_the_newest_is_said_and_one_of_an_older_bar_is_not() -> None:
    said = Said()
    said.hear(1, 2)
    assert said.hear(2, close=9.0) == [2]
    assert said.hear(1, close=9.0) == []
    assert said.hear(3) == [3]


def test_a_bar_without_volume_is_the_same_as_itself() -> None:
    said = Said()
    update = bar_update("TVC:RUT", "1m", 1, 2.0, closed=True)
    for _ in range(2):
        said.in_order(replace(update, bar=replace(update.bar, volume=float("nan"))))
    assert len(said.updates) == 1


def test_it_goes_on_where_another_leader_ended() -> None:
    said = Said(until={TICK: 7 * MINUTE_MS})
    assert said.in_order.until_ms(TICK) == 7 * MINUTE_MS
    assert said.hear(5, 6, 8) == [8]


def test_where_only_the_time_of_the_newest_is_known_it_is_said_again_as_it_may_be_another() -> None:
    said = Said(until={TICK: 7 * MINUTE_MS})
    assert said.hear(6, 7, 7, 8) == [7, 8]


def test_of_what_is_no_longer_streamed_it_is_remembered_how_far_it_was_said() -> None:
    said = Said()
    said.hear(1, 2)
    said.in_order.keep(())
    assert said.in_order.until_ms(TICK) == 2 * MINUTE_MS
    assert said.hear(1, 3) == [3]


def test_of_too_many_that_are_no_longer_streamed_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "REMEMBERED", 2)
    said = Said()
    for symbol in ("A:A", "A:B", "A:C", "A:D"):
        said.hear(1, symbol=symbol)
    said.in_order.keep({("A:A", MINUTE)})
    known = [said.in_order.until_ms((symbol, MINUTE)) is not None for symbol in ("A:A", "A:B", "A:C", "A:D")]
    assert known == [True, False, True, True]
