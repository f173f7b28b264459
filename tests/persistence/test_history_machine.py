"""The whole store against dictionaries: pages with their coverage, pushes, folds, corrections, trims, drafts and
switches in any order; each may die between two of its writes, or have another come between them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, CoverageStore, Database, Replaced, Series
from infrastructure.persistence.bar_documents import WEEK_MS
from tests.persistence.interposed import Interposed, Killed
from tests.persistence.machines import run

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "150"))
MINUTE_MS = 60_000
EDGE = 1_704_067_200_000  # where one chunk ends and the next begins
SPAN = 12  # minutes around that edge, and around one two chunks later

TIMES = tuple(EDGE + far + step * MINUTE_MS for far in (0, 2 * WEEK_MS) for step in range(-SPAN, SPAN))
moment = st.sampled_from(TIMES)
price = st.sampled_from([1.0, 2.5, 99.99])
rows = st.dictionaries(moment, price, min_size=1, max_size=12)
stretch = st.tuples(moment, moment).map(lambda pair: (min(pair), max(pair)))
step = st.sampled_from((0, 0, 0, 1, 1, 2))  # a work has few
Content = dict[int, float]


@dataclass(frozen=True)
class Work:
    """What one writer does. `rows` is what it writes, `before_ms` from where on it keeps what is there."""

    kind: str
    run: Callable[[BarStore, CoverageStore], object] = field(compare=False, repr=False)
    revision: int
    rows: Content
    before_ms: int | None = None

    def leaves(self, time: int) -> set[float | None]:
        """What may be there after it; nothing where it changes nothing."""
        if time in self.rows:
            return {self.rows[time]}
        return {None} if self.before_ms is not None and time < self.before_ms else set()


class Machine(RuleBasedStateMachine):
    """`contents` holds what each revision should hold. `untold` are works that died: until one is repeated, the series
    may not know its first and last bar."""

    database: Database

    @initialize()
    def begin(self) -> None:
        for name in ("bar_chunk", "bar_series", "bar_coverage"):
            self.database.collection(name).delete_many({})
        self.store, self.coverage = BarStore(self.database), CoverageStore(self.database)
        self.store.series("A:A", INTERVALS["1m"], bars_per_week=10_080)
        self.contents: dict[int, Content] = {1: {}}
        self.present, self.draft, self.marked = 1, None, False
        self.source = {time: 10.0 for number, time in enumerate(TIMES) if number % 3}  # nothing is traded in the others
        self.untold: list[Work] = []
        self.unclear_ms: int | None = None  # the newest bar was written by two at once
        self.excused: dict[int, int] = {}  # by revision: coverage before it was added while a trim went on

    # --- Kinds of work ---

    def work(self, kind: str, given: Content, span: tuple[int, int], held: Series | None = None) -> Work | None:
        series = held or self.found()
        low, high = span
        match kind:
            case "write":
                return Work(kind, lambda store, _: store.write(series, as_bars(given)), series.revision, given)
            case "push":
                pushed = [(series, Bar(time, *[value] * 4, 1.0)) for time, value in given.items()]
                return Work(kind, lambda store, _: store.push(pushed), series.revision, given)
            case "fold":
                return Work(kind, lambda store, _: store.fold(series), series.revision, {})
            case "trim":
                return Work(kind, lambda *stores: trim(*stores, self.found(), low), series.revision, {}, low)
            case "load" if self.draft is None:
                return None
        target = self.draft if kind == "load" and self.draft else series
        page = {time: value for time, value in self.source.items() if low <= time < high}
        return Work(kind, lambda *stores: fill(*stores, target, page, span), target.revision, page)

    kinds = st.sampled_from(["write", "push", "page", "fold", "trim", "load"])
    writers = st.sampled_from(["write", "push", "page", "fold", "push", "trim"])

    @rule(kind=kinds, given=rows, span=stretch)
    def alone(self, kind: str, given: Content, span: tuple[int, int]) -> None:
        if work := self.work(kind, given, span):
            if self.marked and kind in ("write", "page"):
                with pytest.raises(Replaced):
                    work.run(self.store, self.coverage)
            else:
                work.run(self.store, self.coverage)
                if not (self.marked and kind == "push"):
                    self.settle(work.revision, work)

    @rule(kind=kinds, given=rows, span=stretch, writes=step, share=st.sampled_from([0.0, 0.5, 1.0]))
    def dies(self, kind: str, given: Content, span: tuple[int, int], writes: int, share: float) -> None:
        work = self.work(kind, given, span)
        if work is None or (self.marked and kind in ("write", "page", "push")):
            return

        def kill(number: int) -> None:
            if number == writes:
                raise Killed

        database = Interposed(kill, share)
        try:
            work.run(BarStore(database), CoverageStore(database))
        except Killed:
            self.untold.append(work)
            self.settle(work.revision, work, done=False)
        else:
            self.settle(work.revision, work)

    @rule()
    def repeat(self) -> None:
        """As whoever was given the work does, when it finds it undone."""
        for work in self.untold:
            try:
                work.run(self.store, self.coverage)
            except Replaced:
                continue
            if work.kind != "push" or (work.revision == self.present and not self.marked):
                self.settle(self.present if work.kind in ("push", "trim") else work.revision, work)
            elif not self.marked:
                self.settle(self.present, work)
        if not self.marked:
            self.untold.clear()

    @rule(kind=writers, other=writers, given=rows, also=rows, span=stretch, elsewhere=stretch, writes=step)
    def meet(
        self, kind: str, other: str, given: Content, also: Content,
        span: tuple[int, int], elsewhere: tuple[int, int], writes: int,
    ) -> None:  # fmt: skip
        """The other one works in full before that write of the first, or after it."""
        one, two = self.work(kind, given, span), self.work(other, also, elsewhere)
        if self.marked or one is None or two is None:
            return
        self.interposed(one, writes, lambda: two.run(BarStore(Database()), CoverageStore(Database())))
        for revision in {one.revision, two.revision}:
            self.settle(revision, *(work for work in (one, two) if work.revision == revision))
        trims = [work for work in (one, two) if work.kind == "trim"]
        self.untold += trims
        for work in trims:
            before_ms = TIMES[0] if work.before_ms is None else work.before_ms
            self.excused[work.revision] = max(before_ms, self.excused.get(work.revision, before_ms))
        both = one.rows.keys() & two.rows.keys()
        self.unclear_ms = max(both) if both else self.unclear_ms

    @rule(kind=st.sampled_from(["write", "push", "page", "fold"]), given=rows, span=stretch, writes=step)
    def meets_a_switch(self, kind: str, given: Content, span: tuple[int, int], writes: int) -> None:
        """What it wrote is in the old revision, or in the new one; or it was told to look the series up again."""
        work = self.work(kind, given, span)
        if self.marked or self.draft is None or work is None:
            return
        before = self.present
        try:
            self.interposed(work, writes, self.switch)
            refused = False
        except Replaced:
            refused = True
        for revision in (before, self.present):
            self.settle(revision, work, done=False)
        if not refused:
            for time, value in work.rows.items():
                assert value in (self.contents[before].get(time), self.contents[self.present].get(time))
            if kind != "push":
                self.untold = [one for one in self.untold if one.revision != before]

    def interposed(self, work: Work, writes: int, other: Callable[[], object]) -> None:
        came = False

        def come(number: int) -> None:
            nonlocal came
            if number == writes:
                came = True
                other()

        database = Interposed(come)
        try:
            work.run(BarStore(database), CoverageStore(database))
        finally:
            if not came:
                other()

    # --- Revisions ---

    @rule(given=rows)
    def source_corrects(self, given: Content) -> None:
        self.source.update({time: value for time, value in given.items() if time in self.source})

    @rule()
    def source_splits(self) -> None:
        """Noticed at once by a pull, which marks the series."""
        if self.draft is None:  # not too often: little can be done to a marked series
            return
        self.source = {time: value / 2 for time, value in self.source.items()}
        assert self.store.revisions.mark(self.found(), 0.5) is not self.marked
        self.marked = True

    @rule()
    def begin_a_draft(self) -> None:
        self.draft = self.store.revisions.begin(self.found())
        self.contents[self.draft.revision] = {}

    @rule()
    def reload(self) -> None:
        """Loads everything and switches, as a job does."""
        self.begin_a_draft()
        self.alone("load", {}, (TIMES[0], TIMES[-1] + MINUTE_MS))
        self.switch()
        assert self.contents[self.present] == self.source

    @rule()
    def switch(self) -> None:
        if self.draft:
            series = self.store.revisions.switch(self.draft)
            assert series == self.found()
            self.present, self.draft, self.marked = series.revision, None, False
            self.untold, self.unclear_ms = [], None

    @rule()
    def sweep(self) -> None:
        self.store.revisions.sweep(grace_s=0.0)
        kept = {self.present, self.draft.revision if self.draft else self.present}
        self.contents = {number: content for number, content in self.contents.items() if number in kept}
        assert {document["revision"] for document in self.database.collection("bar_chunk").find()} <= kept

    # --- What holds at any time ---

    @invariant()
    def every_revision_is_whole(self) -> None:
        for revision, content in getattr(self, "contents", {}).items():
            series = replace(self.found(), revision=revision)
            stored = self.store.read(series)
            assert list(zip(stored.time_ms.tolist(), stored.close.tolist(), strict=True)) == sorted(content.items())
            assert self.store.count(series) == len(content)
            assert list(self.store.last(series, 5)) == list(stored[-5:])

    @invariant()
    def nothing_is_covered_that_is_not_there(self) -> None:
        for revision, content in getattr(self, "contents", {}).items():
            for low, high in self.coverage.of(replace(self.found(), revision=revision)).ranges:
                low = max(low, self.excused.get(revision, low))
                claimed = {time for time in self.source if low <= time < high}
                assert claimed <= content.keys()

    @invariant()
    def the_series_knows_its_first_and_last_bar(self) -> None:
        if getattr(self, "untold", True):
            return
        series, content = self.found(), self.contents[self.present]
        assert (series.revision, series.rebased is not None) == (self.present, self.marked)
        assert (series.first_ms, series.last_ms) == (min(content, default=None), max(content, default=None))
        latest = self.store.latest([series])
        if content and self.unclear_ms != max(content):
            assert {key: bar.close for key, bar in latest.items()} == {series.id: content[max(content)]}

    def settle(self, revision: int, *works: Work, done: bool = True) -> None:
        """Of several works on one bar any may be the last; one that died may have done it or not."""
        old = self.contents[revision]
        stored = self.store.read(replace(self.found(), revision=revision))
        found = dict(zip(stored.time_ms.tolist(), stored.close.tolist(), strict=True))
        for time in TIMES:
            allowed = set[float | None]().union(*(work.leaves(time) for work in works))
            if not done or not allowed:
                allowed.add(old.get(time))
            assert found.get(time) in allowed, (time, found.get(time), allowed)
        self.contents[revision] = found

    def found(self) -> Series:
        series = self.store.find("A:A", INTERVALS["1m"])
        assert series is not None
        return series


def fill(store: BarStore, coverage: CoverageStore, series: Series, page: Content, span: tuple[int, int]) -> None:
    """As a backfill does: bars first."""
    store.write(series, as_bars(page))
    coverage.add(series, [span])


def trim(store: BarStore, coverage: CoverageStore, series: Series, before_ms: int) -> None:
    """As retention does: coverage first."""
    coverage.cut(series, before_ms)
    store.drop_before(series, before_ms)


def as_bars(content: Content) -> Bars:
    return Bars.from_rows([(time, value, value, value, value, 1.0) for time, value in content.items()])


def test_a_history_holds_what_dictionaries_would(database: Database) -> None:
    run(Machine, database, examples=15, steps=20)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_history_holds_what_dictionaries_would_in_many_runs(database: Database) -> None:
    """MACHINE_EXAMPLES makes it longer."""
    run(Machine, database, EXAMPLES, steps=40)
