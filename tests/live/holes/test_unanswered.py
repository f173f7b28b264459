"""Holes that the source does not fill, or that others filled: what waits goes on, and what was lost is told."""

from dataclasses import replace

import pytest

from infrastructure.errors import Malformed, Rejected, Throttled, Unavailable
from infrastructure.persistence import BarStore
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import IDataProvider
from marketdata.live import holes
from marketdata.live.holes import LONGEST, PATIENCE_S, TRIES
from tests.live.holes.filling import ALL, COIN, MINUTE, NEWEST_MS, TICK, Path, Source, minutes


@pytest.mark.parametrize(
    "failures", [[Unavailable("The source is away.")] * TRIES, [Rejected("No such symbol.")]], ids=["away", "refused"]
)
def test_a_source_without_an_answer_holds_back_nothing_for_ever(
    path: Path, server: SimulatorServer, source: Source, impatient: None, failures: list[Exception]
) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))
    source.failures = list(failures)
    path.streams(TICK, minutes(server, TICK, 9, 10))
    expected = [*minutes(server, TICK, 70, 5), *minutes(server, TICK, 9, 10)]
    assert path.until_said(TICK, NEWEST_MS) == expected
    assert path.lost.is_set()


def test_a_series_without_an_answer_does_not_hold_up_the_others(
    path: Path, server: SimulatorServer, source: Source, impatient: None
) -> None:
    for symbol in (TICK, COIN):
        path.says(symbol, minutes(server, symbol, 70, 5))
    server.faults.set("heartbeats_only", symbol=TICK)
    source.config = replace(source.config, timeout_s=0.3)
    path.streams(TICK, minutes(server, TICK, 9, 10))
    assert path.says(COIN, minutes(server, COIN, 9, 10)) == list(minutes(server, COIN, 70, 71))
    assert path.holes.waiting == 10
    server.faults.clear()
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 70, 71))


def test_what_is_on_its_way_when_a_series_is_let_go_does_not_pass_its_hole(
    path: Path, server: SimulatorServer, source: Source, impatient: None
) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))
    source.failures = [Unavailable("The source is away.")] * (TRIES - 1)
    path.streams(TICK, minutes(server, TICK, 9, 8))
    path.holes.keep(())
    path.goes_on(TICK, minutes(server, TICK, 1, 2))
    source.failures = []
    path.holes.keep(ALL)
    assert path.says(TICK, minutes(server, TICK, 9, 10)) == list(minutes(server, TICK, 70, 71))


def test_a_series_that_was_let_go_and_is_wanted_again_before_the_source_noticed_has_no_hole(
    path: Path, server: SimulatorServer
) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))
    path.holes.keep(())
    path.goes_on(TICK, minutes(server, TICK, 20, 5))
    path.holes.keep(ALL)
    path.goes_on(TICK, minutes(server, TICK, 9, 10))
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 70, 71))


def test_of_more_than_the_longest_stored_by_others_the_newest_are_said_and_that_bars_were_lost(
    path: Path, server: SimulatorServer, source: Source
) -> None:
    back = LONGEST + 30
    path.says(TICK, minutes(server, TICK, back, 5))
    series = path.store.find(TICK, MINUTE)
    assert series is not None
    path.store.write(series, minutes(server, TICK, back - 5, back - 14))
    path.says(TICK, minutes(server, TICK, 9, 10))
    assert path.lost.is_set()
    assert source.opened == 0


def test_an_answer_that_nobody_can_use_is_told_as_a_loss(
    path: Path, server: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))

    def unusable(*_: object) -> int:
        raise Malformed("'x' is no span of time.")

    monkeypatch.setattr(holes.catching_up, "store", unusable)
    path.says(TICK, minutes(server, TICK, 9, 10))
    assert path.lost.is_set()


def test_a_source_that_wants_fewer_requests_is_waited_for(
    path: Path, server: SimulatorServer, source: Source, impatient: None
) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))
    source.failures = [Throttled("Fewer requests, please.")] * (3 * TRIES)
    assert path.says(TICK, minutes(server, TICK, 9, 10)) == list(minutes(server, TICK, 70, 71))
    assert not path.lost.is_set()


def test_who_waited_long_for_others_is_not_given_up_at_the_first_refusal(
    store: BarStore, server: SimulatorServer, source: Source, impatient: None
) -> None:
    def open_late() -> IDataProvider:
        path.now_s += PATIENCE_S
        return source()

    path = Path(store, open_late)
    path.writer.start()
    path.says(TICK, minutes(server, TICK, 70, 5))
    source.failures = [Unavailable("The source is away.")]
    assert path.says(TICK, minutes(server, TICK, 9, 10)) == list(minutes(server, TICK, 70, 71))
    assert not path.lost.is_set()
    path.close()


def test_a_series_that_alone_is_put_off_is_not_waited_for_without_end(
    path: Path, server: SimulatorServer, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))

    def put_off(*_: object) -> None:
        path.now_s += PATIENCE_S / 4
        path.holes._refusals = 0  # as after an answer for another one
        raise Throttled("Fewer requests, please.")

    monkeypatch.setattr(holes.catching_up, "fetch", put_off)
    path.says(TICK, minutes(server, TICK, 9, 10))
    assert path.lost.is_set()


def test_a_source_that_answers_nobody_for_long_is_asked_for_no_other_series(
    path: Path, server: SimulatorServer, source: Source, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in (TICK, COIN):
        path.says(symbol, minutes(server, symbol, 70, 5))
    source.failures = [Unavailable("The source is away.")] * 100
    monkeypatch.setattr(holes, "PATIENCE_S", 0.0)
    for symbol in (TICK, COIN):
        path.says(symbol, minutes(server, symbol, 9, 10))
    assert (source.opened, path.lost.is_set()) == (1, True)
