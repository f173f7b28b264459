"""The tick against the real MongoDB: one document per slot, whatever happens between its two steps."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pymongo
import pytest
from django_q.models import Schedule
from django_q.signing import SignedPackage

from infrastructure.errors import Unavailable
from infrastructure.scheduling import jobs, store
from infrastructure.scheduling.scheduler import submit_run
from infrastructure.scheduling.ticker import fire, fire_or_skip, tick

pytestmark = pytest.mark.usefixtures("scheduler")


@pytest.fixture
def now(db: None) -> datetime:
    return store.server_now().replace(microsecond=0)


def queued() -> list[str]:
    return [job["_id"] for job in jobs.queue("pulls").find().sort("_id", 1)]


def make(slot: datetime | None, **changes: object) -> Schedule:
    definition = {"name": "pull", "func": "some.pull", "schedule_type": "I", "minutes": 5, **changes}
    row = Schedule.objects.create(**definition)
    Schedule.objects.filter(pk=row.pk).update(next_run=slot)
    return Schedule.objects.get(pk=row.pk)


def test_a_due_slot_is_queued_with_its_arguments_and_moves_on(now: datetime) -> None:
    slot = now - timedelta(seconds=1)
    row = make(slot, args="1, 'x'", kwargs="a=2", intended_date_kwarg="slot", cluster="backfills")
    tick()
    [job] = jobs.queue("backfills").find()
    package = SignedPackage.loads(job["payload"])
    assert {name: package[name] for name in ("func", "args", "kwargs", "group", "cluster")} == {
        "func": "some.pull",
        "args": (1, "x"),
        "kwargs": {"a": 2, "slot": slot.isoformat()},
        "group": "pull",
        "cluster": "backfills",
    }
    after = Schedule.objects.get()
    assert (job["_id"], after.next_run, after.task) == (
        f"{row.pk}:{slot.isoformat()}",
        slot + timedelta(minutes=5),
        package["id"],
    )


def test_slots_missed_for_hours_become_one_run_in_phase(now: datetime) -> None:
    slot = now - timedelta(minutes=5 * 40 + 2)
    row = make(slot)
    tick()
    tick()
    assert queued() == [f"{row.pk}:{slot.isoformat()}"]
    assert Schedule.objects.get().next_run == slot + timedelta(minutes=5 * 41)


def test_a_schedule_that_is_not_due_or_paused_stays(now: datetime) -> None:
    make(now + timedelta(minutes=1))
    make(now - timedelta(minutes=1), repeats=0)
    make(None)
    tick()
    assert queued() == []


def test_death_between_the_two_steps_leaves_one_run(now: datetime) -> None:
    row = make(now - timedelta(seconds=1))
    submit_run(row, row.next_run, key=f"{row.pk}:{row.next_run.isoformat()}")  # and then the process died
    tick()
    assert queued() == [f"{row.pk}:{row.next_run.isoformat()}"]
    assert Schedule.objects.get().next_run == row.next_run + timedelta(minutes=5)


def test_a_ticker_that_wakes_up_late_changes_nothing(now: datetime) -> None:
    stale = make(now - timedelta(seconds=1))
    tick()
    [key] = queued()
    jobs.close(jobs.queue("pulls"), key)
    after = Schedule.objects.get()
    fire(stale, now)
    assert queued() == [key]
    assert [job["done"] for job in jobs.queue("pulls").find()] == [True]
    assert Schedule.objects.values().get() == {
        field.attname: getattr(after, field.attname) for field in Schedule._meta.fields
    }


@pytest.mark.django_db(transaction=True)
def test_many_tickers_at_once_queue_each_slot_once(now: datetime) -> None:
    slot = now - timedelta(seconds=1)
    rows = [make(slot, name=f"pull {n}") for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(tick) for _ in range(8)]:
            done.result()
    assert queued() == sorted(f"{row.pk}:{slot.isoformat()}" for row in rows)
    assert set(Schedule.objects.values_list("next_run", flat=True)) == {slot + timedelta(minutes=5)}


@pytest.mark.parametrize(
    ("schedule_type", "repeats", "expected"), [("I", 2, [1, 0]), ("I", -1, [-1, -1]), ("O", -1, [0, 0])]
)
def test_repeats_are_counted(schedule_type: str, repeats: int, expected: list[int], now: datetime) -> None:
    row = make(now - timedelta(minutes=20), schedule_type=schedule_type, repeats=repeats)
    seen = []
    for _ in range(2):
        tick()
        seen.append(Schedule.objects.get().repeats)
        Schedule.objects.update(next_run=row.next_run + timedelta(minutes=1))
    assert seen == expected


@pytest.mark.parametrize(
    "wrong",
    [{"args": "not python("}, {"cluster": "fast"}, {"schedule_type": "C", "cron": "rubbish"}],
)
def test_a_poison_row_skips_its_slot_and_stops_no_other(
    wrong: dict[str, str], now: datetime, log: pytest.LogCaptureFixture
) -> None:
    slot = now - timedelta(seconds=2)
    poison = make(slot, name="poison")
    Schedule.objects.update(**wrong)
    healthy = make(slot + timedelta(seconds=1), name="healthy")
    tick()
    tick()
    assert queued() == [f"{healthy.pk}:{healthy.next_run.isoformat()}"]
    pause = Schedule.objects.get(pk=poison.pk).next_run - slot
    assert timedelta(minutes=5) <= pause < timedelta(minutes=6)
    assert [record.message.partition(" skips ")[0] for record in log.records] == ["schedule poison"]


def test_a_full_queue_skips_its_slots_and_stops_no_other_queue(now: datetime) -> None:
    full = jobs.queue("pulls")
    full.insert_many({"_id": str(n), "done": False, "visible_at": now} for n in range(jobs.CAPACITY))
    slot = now - timedelta(seconds=2)
    make(slot, name="pull")
    other = make(slot, name="other", cluster="backfills")
    tick()
    assert full.count_documents({}) == jobs.CAPACITY
    assert [job["_id"] for job in jobs.queue("backfills").find()] == [f"{other.pk}:{slot.isoformat()}"]
    assert set(Schedule.objects.values_list("next_run", flat=True)) == {slot + timedelta(minutes=5)}


def test_an_absent_database_skips_nothing(now: datetime) -> None:
    row = make(now - timedelta(seconds=1))
    with pytest.raises(Unavailable), pymongo.timeout(1e-6):
        fire_or_skip(row, now)
    assert Schedule.objects.get().next_run == row.next_run
    tick()
    assert queued() == [f"{row.pk}:{row.next_run.isoformat()}"]
