"""The BarStore against dictionaries, one for each revision, over its operations and switches in any order."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, Replaced, Series
from tests.persistence.machines import run

MINUTE = INTERVALS["1m"]
EDGE = 1_704_067_200_000
moment = st.integers(-40, 40).map(lambda step: EDGE + step * 60_000)
rows = st.lists(st.tuples(moment, st.sampled_from([1.0, 2.5, 99.99])), max_size=20)
Content = dict[int, float]


class Machine(RuleBasedStateMachine):
    """`contents` holds what each revision should hold; `held` are series that were looked up at some time."""

    database: Database

    @initialize()
    def begin(self) -> None:
        for name in ("bar_chunk", "bar_series", "bar_coverage"):
            self.database.collection(name).delete_many({})
        self.store = BarStore(self.database)
        series = self.store.series("A:A", MINUTE, bars_per_week=10_080)
        self.contents: dict[int, Content] = {1: {}}
        self.held = [series]
        self.present, self.newest = 1, 1
        self.draft: Series | None = None
        self.abandoned: list[Series] = []
        self.marked = False

    def found(self) -> Series:
        series = self.store.find("A:A", MINUTE)
        assert series is not None
        return series

    @rule(rows=rows, which=st.integers(0, 100))
    def write(self, rows: list[tuple[int, float]], which: int) -> None:
        series = self.held[which % len(self.held)]
        if series.revision == self.present and not self.marked:
            self.store.write(series, as_bars(rows))
            self.contents[self.present].update(rows)
        else:
            self.refused(series, rows)

    @rule(rows=rows)
    def write_the_draft(self, rows: list[tuple[int, float]]) -> None:
        if self.draft:
            self.store.write(self.draft, as_bars(rows))
            self.contents[self.draft.revision].update(rows)

    @rule(rows=rows, which=st.integers(0, 100))
    def write_an_abandoned_draft(self, rows: list[tuple[int, float]], which: int) -> None:
        if self.abandoned:
            self.refused(self.abandoned[which % len(self.abandoned)], rows)

    @rule(rows=rows, which=st.integers(0, 100))
    def push(self, rows: list[tuple[int, float]], which: int) -> None:
        series = self.held[which % len(self.held)]
        self.store.push([(series, Bar(time, price, price, price, price, 1.0)) for time, price in rows])
        if not self.marked:
            self.contents[self.present].update(rows)

    @rule()
    def mark(self) -> None:
        assert self.store.revisions.mark(self.found(), 0.5) is not self.marked
        self.marked = True

    @rule(which=st.integers(0, 100))
    def begin_a_draft(self, which: int) -> None:
        if self.draft:
            self.abandoned.append(self.draft)
        self.draft = self.store.revisions.begin(self.held[which % len(self.held)])
        self.newest += 1
        assert self.draft.revision == self.newest
        self.contents[self.newest] = {}

    @rule()
    def switch(self) -> None:
        if self.draft:
            series = self.store.revisions.switch(self.draft)
            assert series == self.found()
            self.present, self.draft, self.marked = series.revision, None, False

    @rule()
    def hold(self) -> None:
        self.held = [*self.held[-5:], self.found()]

    @rule()
    def fold(self) -> None:
        self.store.fold(self.found())

    @rule(now=st.booleans())
    def sweep(self, now: bool) -> None:
        self.store.revisions.sweep(**({"grace_s": 0.0} if now else {}))
        if now:
            kept = {self.present, self.draft.revision if self.draft else self.present}
            self.contents = {number: content for number, content in self.contents.items() if number in kept}
            self.held = [series for series in self.held if series.revision in kept] or [self.found()]
            stored = {document["revision"] for document in self.database.collection("bar_chunk").find()}
            assert stored <= kept

    @invariant()
    def every_revision_that_can_be_read_is_whole(self) -> None:
        if not hasattr(self, "contents"):
            return
        present = self.found()
        assert (present.revision, present.rebased is not None) == (self.present, self.marked)
        content = self.contents[self.present]
        assert (present.first_ms, present.last_ms) == (min(content, default=None), max(content, default=None))
        for series in (present, *self.held):
            stored = self.store.read(series)
            expected = sorted(self.contents[series.revision].items())
            assert list(zip(stored.time_ms.tolist(), stored.close.tolist(), strict=True)) == expected

    def refused(self, series: Series, rows: list[tuple[int, float]]) -> None:
        with pytest.raises(Replaced):
            self.store.write(series, as_bars(rows))


def as_bars(rows: list[tuple[int, float]]) -> Bars:
    return Bars.from_rows([(time, price, price, price, price, 1.0) for time, price in dict(rows).items()])


def test_revisions_hold_what_dictionaries_would(database: Database) -> None:
    run(Machine, database, examples=20, steps=20)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_revisions_hold_what_dictionaries_would_in_many_runs(database: Database) -> None:
    run(Machine, database, examples=150, steps=40)
