"""The BarStore against a dictionary, over its operations in any order."""

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, Written
from infrastructure.persistence.bar_documents import TAIL, WEEK_MS
from tests.persistence.bits import same_bits
from tests.persistence.machines import run

MINUTE = 60_000
EDGE = 1_704_067_200_000  # where one chunk ends and the next begins
SPAN = 60  # minutes around that edge, and around one a chunk later, with an empty one between

minute = st.integers(-SPAN, SPAN).flatmap(
    lambda m: st.sampled_from([0, 2 * WEEK_MS]).map(lambda far: EDGE + far + m * MINUTE)
)
odd_time = st.integers(-1, 1).map(lambda ms: EDGE + ms)
price = st.sampled_from([1.0, 1.01, 99.99, 0.1 + 0.2, -0.0, 0.0, float("nan"), float("inf"), 1e300])
values = st.tuples(price, price, price, price, price)
moment = minute | odd_time


class Machine(RuleBasedStateMachine):
    """`self.model` is what the store should hold: time → its five values."""

    database: Database

    @initialize(n=st.integers(0, 2**20))
    def begin(self, n: int) -> None:
        for name in ("bar_chunk", "bar_series"):
            self.database.collection(name).delete_many({})
        self.store = BarStore(self.database, random=np.random.default_rng(n).random)
        self.series = self.store.series("A:A", INTERVALS["1m"], bars_per_week=10_080)
        self.other = self.store.series("A:B", INTERVALS["1m"], bars_per_week=10_080)
        self.store.write(self.other, Bars.from_rows([(EDGE, 5, 5, 5, 5, 5)]))
        self.model: dict[int, tuple[float, ...]] = {}

    @rule(rows=st.lists(st.tuples(moment, values), max_size=30))
    def write(self, rows: list[tuple[int, tuple[float, ...]]]) -> None:
        before = dict(self.model)
        self.model.update(rows)
        written = self.store.write(self.series, as_bars(rows))
        new = self.model.keys() - before.keys()
        corrected = [time for time in before if bits(before[time]) != bits(self.model[time])]
        assert (written.new, written.corrected) == (len(new), len(corrected))
        assert (written.documents > 0) >= bool(new or corrected)

    @rule(start=moment, n=st.integers(1, 3 * SPAN), base=st.integers(1, 1000))
    def write_a_page(self, start: int, n: int, base: int) -> None:
        self.write([(start + i * MINUTE, ((base + i) / 100,) * 5) for i in range(n)])

    @rule()
    def write_all_again(self) -> None:
        tails = [len(chunk["tail"]) for chunk in self.database.collection("bar_chunk").find({"series": self.series.id})]
        written = self.store.write(self.series, as_bars(list(self.model.items())))
        assert written == Written(documents=sum(length >= TAIL for length in tails))

    @rule(rows=st.lists(st.tuples(moment, values), max_size=80))
    def push(self, rows: list[tuple[int, tuple[float, ...]]]) -> None:
        self.store.push([(self.series, Bar(time, *row)) for time, row in rows])
        self.model.update(rows)

    @rule()
    def fold(self) -> None:
        self.store.fold(self.series)
        assert self.database.collection("bar_chunk").count_documents({"tail.0": {"$exists": True}}) == 0

    @rule(start=st.none() | moment, end=st.none() | moment)
    def read(self, start: int | None, end: int | None) -> None:
        expected = self.expected(start, end)
        assert same_bits(self.store.read(self.series, start, end), expected)
        assert same_bits(Bars.concat(list(self.store.iterate(self.series, start, end))), expected)
        assert self.store.count(self.series, start, end) == len(expected)

    @rule(n=st.integers(0, 200), before=st.none() | moment)
    def last(self, n: int, before: int | None) -> None:
        expected = self.expected(None, before)
        assert same_bits(self.store.last(self.series, n, before), expected[max(0, len(expected) - n) :])

    @rule()
    def restart(self) -> None:
        self.store = BarStore(Database(), random=np.random.default_rng(1).random)
        found = self.store.find("A:A", INTERVALS["1m"])
        assert found is not None
        self.series = found

    @invariant()
    def count_range_and_last_bar_are_right(self) -> None:
        if not hasattr(self, "model"):
            return
        series = self.store.find("A:A", INTERVALS["1m"])
        assert series is not None
        assert self.store.count(series) == len(self.model)
        assert (series.first_ms, series.last_ms) == (min(self.model, default=None), max(self.model, default=None))
        latest = self.store.latest([series, self.other])
        assert latest.pop(self.other.id) == Bar(EDGE, 5, 5, 5, 5, 5)
        assert [bits(row_of(bar)) for bar in latest.values()] == [
            bits(row_of(bar)) for bar in list(self.expected())[-1:]
        ]

    def expected(self, start: int | None = None, end: int | None = None) -> Bars:
        return as_bars(sorted(self.model.items())).between(start, end)


def as_bars(rows: list[tuple[int, tuple[float, ...]]]) -> Bars:
    return Bars.from_rows([(time, *row) for time, row in rows])


def row_of(bar: Bar) -> tuple[float, ...]:
    return (bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume)


def bits(row: tuple[float, ...]) -> bytes:
    return np.array(row, np.float64).tobytes()


def test_the_store_holds_what_a_dictionary_would(database: Database) -> None:
    run(Machine, database, examples=25, steps=15)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_store_holds_what_a_dictionary_would_in_many_runs(database: Database) -> None:
    run(Machine, database, examples=150, steps=40)
