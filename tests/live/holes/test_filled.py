"""What was missed is fetched from the real simulator's history into the real store, before the bars that wait."""

from infrastructure.errors import Unavailable
from infrastructure.persistence import BarStore, CoverageStore, Database
from infrastructure.simulator import SimulatorServer
from marketdata.live.holes import LONGEST, TRIES
from tests.live.holes.filling import AAPL, MINUTE, MINUTE_MS, NEWEST_MS, RARE, TICK, Path, Source, minutes


def test_a_hole_is_stored_and_said_before_what_came_after_it(path: Path, server: SimulatorServer) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))
    path.streams(TICK, minutes(server, TICK, 9, 8))
    path.goes_on(TICK, minutes(server, TICK, 1, 2))
    expected = list(minutes(server, TICK, 70, 71))
    assert path.until_said(TICK, NEWEST_MS) == expected
    assert path.stored(TICK) == expected
    assert not path.lost.is_set()


def test_what_the_answer_overlaps_is_no_hole(path: Path, server: SimulatorServer, source: Source) -> None:
    path.says(TICK, minutes(server, TICK, 20, 10))
    assert path.says(TICK, minutes(server, TICK, 10, 11)) == list(minutes(server, TICK, 20, 21))
    assert source.opened == 0


def test_a_closed_market_is_no_hole(path: Path, server: SimulatorServer, source: Source) -> None:
    close_ms = NEWEST_MS - NEWEST_MS % 86_400_000 - 3 * 3_600_000  # yesterday, 16:00 in New York
    path.streams(AAPL, server.market.bars(AAPL, MINUTE, close_ms - 3 * MINUTE_MS, close_ms))
    path.until_said(AAPL, close_ms - MINUTE_MS)
    path.says(AAPL, minutes(server, AAPL, 36, 37))
    assert source.opened == 0


def test_minutes_without_a_trade_are_asked_for_once(path: Path, server: SimulatorServer, source: Source) -> None:
    earlier = minutes(server, RARE, 120, 30)
    path.streams(RARE, earlier)
    path.until_said(RARE, int(earlier.time_ms[-1]))
    later = minutes(server, RARE, 30, 31)
    path.streams(RARE, later)
    assert path.until_said(RARE, int(later.time_ms[-1])) == list(minutes(server, RARE, 120, 121))
    assert source.opened == 1


def test_the_hole_counts_as_received(path: Path, server: SimulatorServer, database: Database) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))
    path.says(TICK, minutes(server, TICK, 9, 10))
    series = path.store.find(TICK, MINUTE)
    assert series is not None
    hole = (NEWEST_MS - 66 * MINUTE_MS + 1, NEWEST_MS - 9 * MINUTE_MS)
    assert CoverageStore(database).of(series).ranges == (hole,)


def test_what_a_pull_stored_meanwhile_is_said_too(path: Path, server: SimulatorServer, source: Source) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))
    series = path.store.find(TICK, MINUTE)
    assert series is not None
    path.store.write(series, minutes(server, TICK, 65, 60))
    assert path.says(TICK, minutes(server, TICK, 9, 10)) == list(minutes(server, TICK, 70, 71))
    assert source.opened == 0


def test_a_hole_that_is_too_long_is_left_to_others(path: Path, server: SimulatorServer, source: Source) -> None:
    back = LONGEST + 15
    path.says(TICK, minutes(server, TICK, back, 5))
    path.streams(TICK, minutes(server, TICK, 9, 10))
    expected = [*minutes(server, TICK, back, 5), *minutes(server, TICK, 9, 10)]
    assert path.until_said(TICK, NEWEST_MS) == expected
    assert path.stored(TICK) == expected
    assert source.opened == 0
    assert path.lost.is_set()


def test_a_second_break_while_a_hole_waits_is_filled_too(
    path: Path, server: SimulatorServer, source: Source, impatient: None
) -> None:
    path.says(TICK, minutes(server, TICK, 90, 5))
    source.failures = [Unavailable("The source is away.")] * (TRIES - 1)
    path.streams(TICK, minutes(server, TICK, 50, 5))
    assert path.says(TICK, minutes(server, TICK, 9, 10)) == list(minutes(server, TICK, 90, 91))


def test_the_very_first_bars_are_stored_before_a_hole_behind_them_is_looked_for(
    store: BarStore, server: SimulatorServer, source: Source
) -> None:
    path = Path(store, source)
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.streams(TICK, minutes(server, TICK, 9, 10))
    path.writer.start()
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 70, 71))
    path.close()


def test_without_a_history_bars_flow_all_the_same(store: BarStore, server: SimulatorServer) -> None:
    path = Path(store, None)
    path.writer.start()
    path.says(TICK, minutes(server, TICK, 70, 5))
    path.says(TICK, minutes(server, TICK, 9, 10))
    path.close()


def test_what_waits_at_the_end_is_left_to_the_next_leader(
    path: Path, store: BarStore, server: SimulatorServer, source: Source
) -> None:
    path.says(TICK, minutes(server, TICK, 70, 5))
    server.faults.set("heartbeats_only")
    path.streams(TICK, minutes(server, TICK, 9, 10))
    assert path.holes.waiting == 10
    server.faults.clear()
    path.holes.keep(())
    path.close()
    following = Path(store, source)
    following.writer.start()
    following.streams(TICK, minutes(server, TICK, 9, 10))
    assert following.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 65, 66))
    assert following.stored(TICK) == list(minutes(server, TICK, 70, 71))
    following.close()
