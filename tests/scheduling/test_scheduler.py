"""JobScheduler: schedules by name, and when they fire."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django_q.models import Schedule, Task
from django_q.signing import SignedPackage

from infrastructure.errors import Rejected
from infrastructure.scheduling import JobScheduler, jobs, slots, store
from infrastructure.scheduling.scheduler import ScheduleInfo, arguments

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-02T{clock}+00:00")


@pytest.mark.parametrize(
    ("timing", "slot", "now", "expected"),
    [
        ({"schedule_type": "I", "minutes": 5}, "12:00", "12:00:01", "12:05"),
        ({"schedule_type": "I", "minutes": 5}, "12:00", "12:17", "12:20"),
        ({"schedule_type": "I", "minutes": 5}, "12:00", "12:15", "12:20"),
        ({"schedule_type": "H"}, "12:00", "15:30", "16:00"),
        ({"schedule_type": "C", "cron": "*/5 * * * *"}, "12:00", "12:17", "12:20"),
        ({"schedule_type": "C", "cron": "* * * * * */3"}, "12:00", "12:00:01", "12:00:03"),
        ({"schedule_type": "C", "cron": "*/5 * * * *"}, "12:00", "11:59", "12:05"),
    ],
)
def test_missed_slots_are_coalesced_in_phase(timing: dict[str, Any], slot: str, now: str, expected: str) -> None:
    assert slots.following(Schedule(**timing), at(slot), at(now)) == at(expected)


def test_a_day_long_schedule_of_the_admin_catches_up_in_phase() -> None:
    schedule = Schedule(schedule_type="D")
    assert slots.following(schedule, NOON, NOON + timedelta(days=3, hours=1)) == NOON + timedelta(days=4)


@pytest.mark.parametrize(
    ("cron", "minutes", "pending", "expected"),
    [
        (None, 5, None, "12:00"),
        ("30 * * * *", None, None, "12:30"),
        (None, 5, "12:58", "12:03"),
        (None, 5, "12:55", "12:05"),
        (None, 60, "12:03", "12:03"),
        (None, 5, "11:59", "11:59"),
        ("30 * * * *", None, "12:03", "12:30"),
        ("30 * * * *", None, "11:59", "11:59"),
    ],
)
def test_a_new_timing_keeps_phase_and_due_slot(
    cron: str | None, minutes: int | None, pending: str | None, expected: str
) -> None:
    assert slots.first(cron, minutes, NOON, at(pending) if pending else None) == at(expected)


def test_a_schedule_is_created_once_and_changed_in_place(scheduler: JobScheduler) -> None:
    scheduler.schedule("pull", "some.pull", cron="*/5 * * * *", args=(1,), kwargs={"a": "x"}, slot_kwarg="slot")
    before = Schedule.objects.get()
    scheduler.schedule("pull", "other.pull", cron="*/5 * * * *", queue="backfills")
    after = Schedule.objects.get()
    assert (before.pk, before.next_run) == (after.pk, after.next_run)
    assert scheduler.schedules() == [
        ScheduleInfo(
            name="pull",
            func="other.pull",
            queue="backfills",
            cron="*/5 * * * *",
            minutes=None,
            enabled=True,
            next_run_at=before.next_run,
            last_run_at=None,
            last_success=None,
            last_error=None,
        )
    ]
    assert arguments(before) == ((1,), {"a": "x"})
    assert arguments(after) == ((), {})


def test_a_new_timing_starts_from_the_present(scheduler: JobScheduler) -> None:
    scheduler.schedule("pull", "some.pull", minutes=600)
    Schedule.objects.update(next_run=store.server_now() + timedelta(minutes=599))
    scheduler.schedule("pull", "some.pull", minutes=60)
    row = Schedule.objects.get()
    assert (row.minutes, row.cron) == (60, None)
    assert timedelta(minutes=58) < row.next_run - store.server_now() <= timedelta(minutes=59)


def test_a_schedule_paused_by_a_person_stays_paused(scheduler: JobScheduler) -> None:
    scheduler.schedule("pull", "some.pull", minutes=5)
    Schedule.objects.update(repeats=0)
    scheduler.schedule("pull", "some.pull", minutes=10)
    assert [info.enabled for info in scheduler.schedules()] == [False]


def test_a_recreated_schedule_knows_its_old_slots(scheduler: JobScheduler) -> None:
    scheduler.schedule("pull", "some.pull", minutes=5)
    key = Schedule.objects.get().pk
    scheduler.unschedule("pull")
    scheduler.unschedule("pull")
    assert scheduler.schedules() == []
    scheduler.schedule("pull", "some.pull", minutes=5)
    assert Schedule.objects.get().pk == key


def test_a_schedule_that_a_person_recreated_is_adopted(scheduler: JobScheduler) -> None:
    made = Schedule.objects.create(name="pull", func="old.pull", schedule_type="H")
    scheduler.schedule("pull", "some.pull", minutes=5)
    assert [(row.pk, row.func, row.minutes) for row in Schedule.objects.all()] == [(made.pk, "some.pull", 5)]


@pytest.mark.django_db(transaction=True)
def test_processes_that_define_a_schedule_at_once_make_one(scheduler: JobScheduler) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: scheduler.schedule("pull", "some.pull", minutes=n), range(1, 17)))
    assert Schedule.objects.count() == 1


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({}, "needs either a cron expression or a number of minutes"),
        ({"cron": "* * * * *", "minutes": 1}, "needs either a cron expression or a number of minutes"),
        ({"minutes": 0}, "must run every 1 to 32767 minutes, not every 0"),
        ({"cron": "61 * * * *"}, "has an unreadable cron expression"),
        ({"minutes": 1, "args": (object(),)}, "must be Python literals"),
        ({"minutes": 1, "queue": "fast"}, "There is no queue 'fast'"),
    ],
)
def test_a_wrong_definition_is_refused(scheduler: JobScheduler, definition: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        scheduler.schedule("pull", "some.pull", **definition)
    assert scheduler.schedules() == []


def test_run_now_queues_one_run_beside_the_schedule(scheduler: JobScheduler) -> None:
    scheduler.schedule("pull", "some.pull", cron="0 0 * * *", args=(1,), slot_kwarg="slot", queue="backfills")
    before = Schedule.objects.get().next_run
    key = scheduler.run_now("pull")
    [job] = jobs.queue("backfills").find()
    package = SignedPackage.loads(job["payload"])
    slot = datetime.fromisoformat(package["kwargs"].pop("slot"))
    assert (job["_id"], package["func"], package["args"], package["kwargs"]) == (key, "some.pull", (1,), {})
    assert abs(slot - store.server_now()) < timedelta(minutes=1)
    assert Schedule.objects.get().next_run == before


def test_run_now_of_an_unknown_schedule_is_refused(scheduler: JobScheduler) -> None:
    with pytest.raises(Rejected, match="There is no schedule 'pull'"):
        scheduler.run_now("pull")


def result(n: int, group: str, success: bool, text: str, stopped: datetime) -> None:
    Task.objects.create(
        id=str(n), name="n", func="f", group=group, success=success, result=text, started=NOON, stopped=stopped
    )


def test_the_last_result_of_each_schedule_is_shown(scheduler: JobScheduler) -> None:
    for name in ("good", "bad", "new"):
        scheduler.schedule(name, "some.pull", minutes=5)
    result(1, "good", False, "away : Traceback (most recent call last):\n…", at("10:00"))
    result(2, "good", True, "fine", at("11:00"))
    result(3, "bad", True, "fine", at("10:00"))
    result(4, "bad", False, "MongoDB did not answer: a : b : Traceback (most recent call last):\n…", at("11:00"))
    assert [(info.name, info.last_run_at, info.last_success, info.last_error) for info in scheduler.schedules()] == [
        ("bad", at("11:00"), False, "MongoDB did not answer: a : b"),
        ("good", at("11:00"), True, None),
        ("new", None, None, None),
    ]


def test_results_expire_and_the_last_ones_are_found_by_index(scheduler: JobScheduler) -> None:
    indexes = connections["default"].database["django_q_task"].index_information()
    assert indexes["stopped_1"]["expireAfterSeconds"] == 30 * 24 * 3600
    assert {"id_1", "group_1_stopped_-1"} < set(indexes)


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (None, None, ((), {})),
        ("1, 'x'", "a=1, b=[2]", ((1, "x"), {"a": 1, "b": [2]})),
        ("5", "{'a': 1}", ((5,), {"a": 1})),
    ],
)
def test_arguments_are_read_as_the_admin_asks_for_them(
    args: str | None, kwargs: str | None, expected: tuple[Any, Any]
) -> None:
    assert arguments(Schedule(args=args, kwargs=kwargs)) == expected


@pytest.mark.parametrize("text", ["open('x')", "1, a=2", "a=open('x')"])
def test_arguments_that_are_no_literals_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"malformed|not keyword"):
        arguments(Schedule(kwargs=text))
