"""What becomes of a symbol's belongings; the source is the simulator, whose clock the test moves."""

import pytest

from infrastructure.bars import Bars
from infrastructure.intervals import MINUTE_MS
from infrastructure.persistence import BarStore, Database, FindingStore, Found, QuoteStore
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.base import Quote
from marketdata import tasks
from marketdata.models import BackfillJob, Finding, Pull, Symbol
from marketdata.services import backfill, backfill_jobs, pulls, removal
from marketdata.services import quotes as quote_service
from tests.platform.conftest import COIN, MINUTE, NOW_MS, SHARE, add_symbol

State = BackfillJob.State
BAR_COLLECTIONS = ("bar_series", "bar_chunk", "bar_coverage")


def furnish(provider: IDataProvider, bars: BarStore) -> None:
    """Two symbols with bars, pulls, quotes and findings; the first also with a job in each state."""
    for key in (COIN, SHARE):
        add_symbol(provider, key, "1m")
        FindingStore(Database()).note([Found("rejected", key, "1m", "of no use", NOW_MS, NOW_MS)])
    pulls.pull(provider, bars, MINUTE, NOW_MS)
    quote_service.refresh(provider, NOW_MS)
    BackfillJob.objects.bulk_create(BackfillJob(symbol=COIN, interval="1m", bars=5, state=state) for state in State)
    BackfillJob.objects.create(symbol=SHARE, interval="1m", bars=5)


def later(source: SimulatorServer, minutes: int) -> int:
    assert isinstance(source.clock, StandingClock)
    source.clock.at_ms = NOW_MS + minutes * MINUTE_MS
    return source.clock.at_ms


def documents() -> dict[str, int]:
    """How many the stores hold of the first symbol."""
    database = Database()
    series = [one["_id"] for one in database.collection("bar_series").find({"symbol": COIN})]
    of_series = {"_id": {"$regex": "^(" + "|".join(series or ["-"]) + "):"}}
    return {
        "bar_series": len(series),
        "bar_chunk": database.collection("bar_chunk").count_documents(of_series),
        "bar_coverage": database.collection("bar_coverage").count_documents(of_series),
        "pull": Pull.objects.filter(symbol=COIN).count(),
        "quote": len(QuoteStore(database).load([COIN])),
        "finding": Finding.objects.filter(symbol=COIN).count(),
    }


def states() -> list[str]:
    return sorted(BackfillJob.objects.filter(symbol=COIN).values_list("state", flat=True))


ALL = {"bar_series": 1, "bar_chunk": 1, "bar_coverage": 1, "pull": 1, "quote": 1, "finding": 1}
OTHERS = [State.CANCELLED] * 4 + [State.DONE, State.FAILED]


def test_what_belongs_to_a_symbol_is_counted(provider: IDataProvider, bars: BarStore) -> None:
    furnish(provider, bars)
    coin, share = removal.belongings(bars, list(Symbol.objects.order_by("key")))
    [(series, size)] = coin.series
    assert series == bars.find(COIN, MINUTE)
    assert size is not None and coin.bytes is not None
    assert (size.bars, size.documents, coin.jobs, coin.past_jobs, coin.pulls, coin.quotes, coin.findings) == (
        pulls.FIRST_BARS, 1, 3, 3, 1, 1, 1,
    )  # fmt: skip
    [chunk] = Database().collection("bar_chunk").find({"series": series.id})
    assert len(chunk["data"]) < coin.bytes < len(chunk["data"]) + 300
    assert (share.symbol.key, share.jobs, share.past_jobs) == (SHARE, 1, 0)
    assert removal.belongings(bars, [Symbol(key="NO:ONE")]) == [
        removal.Belongings(Symbol(key="NO:ONE"), [], 0, 0, 0, 0, 0)
    ]


def test_bars_of_a_tail_and_of_older_revisions_are_told_apart(bars: BarStore) -> None:
    series = bars.series(COIN, MINUTE, bars_per_week=10_080)
    rows = [(NOW_MS + n * MINUTE_MS, 1.0, 2.0, 1.0, 2.0, 3.0) for n in range(5)]
    bars.write(series, Bars.from_rows(rows))
    draft = bars.revisions.begin(series)
    bars.write(draft, Bars.from_rows(rows[:3]))
    current = bars.revisions.switch(draft)
    bars.push([(current, bar) for bar in Bars.from_rows(rows[3:4])])
    [(_, size)] = removal.belongings(bars, [Symbol(key=COIN)])[0].series
    assert size is not None
    assert (size.bars, size.documents, bars.count(current)) == (4, 2, 4)


def test_of_many_series_no_documents_are_read(bars: BarStore) -> None:
    keys = [f"TEST:{n}" for n in range(removal.MEASURED + 1)]
    for key in keys:
        bars.series(key, MINUTE, bars_per_week=10_080)
    found = removal.belongings(bars, [Symbol(key=key) for key in keys])
    assert {(len(one.series), one.series[0][1], one.bytes) for one in found} == {(1, None, None)}


def test_a_retired_symbol_keeps_everything_and_is_asked_for_no_more(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    furnish(provider, bars)
    symbol = Symbol.objects.get(pk=COIN)
    assert removal.retire(symbol, cancel_jobs=False) == 0
    assert states() == sorted(State)
    assert removal.retire(symbol, cancel_jobs=True) == 3
    assert (states(), documents()) == (OTHERS, ALL)
    assert pulls.pull(provider, bars, MINUTE, later(source, 1)).asked == 1  # the other one


def test_a_symbol_is_deleted_with_everything(provider: IDataProvider, bars: BarStore) -> None:
    furnish(provider, bars)
    assert removal.delete(bars, Symbol.objects.get(pk=COIN), keep_bars=False) == 3
    assert (states(), documents()) == (OTHERS, dict.fromkeys(ALL, 0))
    assert [Database().collection(name).count_documents({}) for name in BAR_COLLECTIONS] == [1, 1, 1]
    assert list(Symbol.objects.values_list("pk", flat=True)) == [SHARE]
    assert BackfillJob.objects.get(symbol=SHARE).state == State.QUEUED


def test_a_symbol_whose_bars_were_kept_goes_on_with_them_when_it_is_added_again(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    furnish(provider, bars)
    before = bars.find(COIN, MINUTE)
    assert removal.delete(bars, Symbol.objects.get(pk=COIN), keep_bars=True) == 3
    assert documents() == {**ALL, "quote": 0, "finding": 0}
    assert removal.finish(bars, late_s=0) == 1
    assert documents() == {**ALL, "quote": 0, "finding": 0}
    now_ms = later(source, 600)
    add_symbol(provider, COIN, "1m")
    pulls.pull(provider, bars, MINUTE, now_ms, only=frozenset([COIN]))
    series = bars.find(COIN, MINUTE)
    assert series is not None and before is not None and series.id == before.id
    minute_ms = now_ms - now_ms % MINUTE_MS
    assert bars.read(series).same_as(source.market.last(COIN, MINUTE, pulls.FIRST_BARS + 600, minute_ms))


def test_a_worker_at_its_page_notices_that_the_symbol_was_deleted(provider: IDataProvider, bars: BarStore) -> None:
    add_symbol(provider, COIN)
    job = BackfillJob(symbol=COIN, interval="1m", bars=12_000)
    backfill_jobs.enqueue(job)
    assert backfill_jobs.take(job)
    pages: list[int] = []

    def deleted(step: backfill.Step) -> None:
        pages.append(step.bars)
        removal.delete(bars, Symbol.objects.get(pk=COIN), keep_bars=False)

    with pytest.raises(backfill.Interrupted, match="is cancelled"):
        backfill.run(job, provider, bars, on_step=deleted)
    assert (len(pages), BackfillJob.objects.get().state) == (1, State.CANCELLED)
    assert [Database().collection(name).count_documents({}) for name in BAR_COLLECTIONS] == [0, 0, 0]


def test_what_comes_after_a_deletion_is_deleted_too(provider: IDataProvider, bars: BarStore) -> None:
    furnish(provider, bars)
    held = bars.find(COIN, MINUTE)
    assert held is not None
    removal.delete(bars, Symbol.objects.get(pk=COIN), keep_bars=False)
    late = bars.series(COIN, MINUTE, bars_per_week=10_080)
    bars.write(late, Bars.from_rows([(NOW_MS, 1.0, 2.0, 1.0, 2.0, 3.0)]))
    QuoteStore(Database()).save([(Quote(COIN, last=1.0), NOW_MS)])
    Database().collection("bar_chunk").insert_one({"_id": f"{held.id}:1:20260101T0000"})  # of one who was writing
    assert (removal.finish(bars), documents()["bar_series"]) == (0, 1)  # it waits for whoever is late
    assert (removal.finish(bars, late_s=0), documents()) == (1, dict.fromkeys(ALL, 0))
    assert Database().collection("bar_chunk").count_documents({"_id": {"$regex": f"^{held.id}:"}}) == 0
    assert removal.finish(bars, late_s=0) == 0


def test_a_symbol_that_was_added_again_keeps_what_is_new(provider: IDataProvider, bars: BarStore) -> None:
    furnish(provider, bars)
    removal.delete(bars, Symbol.objects.get(pk=COIN), keep_bars=False)
    add_symbol(provider, COIN, "1m")
    pulls.pull(provider, bars, MINUTE, NOW_MS)
    job = BackfillJob.objects.create(symbol=COIN, interval="1m", bars=5)
    assert removal.finish(bars, late_s=0) == 1
    job.refresh_from_db()
    assert (documents(), job.state) == ({**ALL, "quote": 0, "finding": 0}, State.QUEUED)


def test_the_schedule_that_tends_jobs_finishes_deletions(bars: BarStore) -> None:
    removal.delete(bars, Symbol.objects.create(key=COIN), keep_bars=False)
    notes = Database().collection(removal.NOTES)
    tasks.tend_backfills()
    assert notes.count_documents({}) == 1
    notes.update_many({}, [{"$set": {"at": {"$dateSubtract": {"startDate": "$$NOW", "unit": "minute", "amount": 3}}}}])
    tasks.tend_backfills()
    assert notes.count_documents({}) == 0
