"""How often the admin's lists ask the database: not more often for more rows. MongoDB's own profiler counts."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from infrastructure.bars import Bars
from infrastructure.persistence import BarStore, Database, FindingStore, Found, QuoteStore
from infrastructure.scheduling import JobScheduler
from infrastructure.times import to_ms
from infrastructure.tradingview.base import Quote
from marketdata.models import BackfillJob, Pull, Symbol
from tests.platform.conftest import MINUTE

ClientOf = Callable[[str], Client]
FEW, MANY = 5, 50  # fifty are on one page
LISTS = (
    "marketdata_symbol", "marketdata_quote", "marketdata_pull", "marketdata_barseries", "marketdata_backfilljob",
    "marketdata_finding", "django_q_schedule", "django_q_success", "django_q_failure", "auth_user", "auth_group",
)  # fmt: skip


def add_rows(bars: BarStore, start: int, end: int) -> None:
    """Of each model that is listed, those numbered start to end."""
    now_ms = to_ms(timezone.now())
    now_ms -= now_ms % 60_000
    for n in range(start, end):
        key = f"TEST:{n}"
        user = User.objects.create_user(f"user-{n}", password=None, is_staff=True)
        user.groups.add(Group.objects.create(name=f"group-{n}"))
        wanted = {"collect_intervals": ["1m", "1d"], "stream_intervals": ["1m"], "note": "renamed"}
        Symbol.objects.create(key=key, session="24x7", timezone="Etc/UTC", refreshed_at=timezone.now(), **wanted)
        QuoteStore(Database()).save([(Quote(key, last=1.0), now_ms)])
        series = bars.series(key, MINUTE, bars_per_week=10_080)
        bars.write(series, Bars.from_rows([(now_ms - 60_000, 1.0, 2.0, 1.0, 2.0, 3.0)]))
        FindingStore(Database()).note([Found("rejected", key, "1m", "of no use", now_ms, now_ms)])
        Pull.objects.create(key=f"{key}@1m", symbol=key, interval="1m", error="slow")
        BackfillJob.objects.create(symbol=key, interval="1m", bars=5, state="running", created_by=user)
        JobScheduler().schedule(f"schedule {n}", "marketdata.tasks.refresh_quotes", cron="0 0 * * *")
        ran = {"func": "x", "group": f"schedule {n}", "started": timezone.now(), "stopped": timezone.now()}
        for success in (True, False):
            apps.get_model("django_q", "Task").objects.create(
                id=f"{success:d}{n:031}", name=f"run {n}", success=success, result="", **ran
            )


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """What the database was asked to do, by kind and collection; filled when the block ends."""
    asked: Counter[str] = Counter()
    database = Database().collection("system.profile").database
    database.command("profile", 2)
    try:
        yield asked
    finally:
        database.command("profile", 0)
        for one in database["system.profile"].find({"ns": {"$not": {"$regex": r"\.system\.profile$"}}}):
            asked[f"{one['op']} {one['ns'].partition('.')[2]}"] += 1
        database["system.profile"].drop()


@pytest.fixture
def paths() -> dict[str, str]:
    lists = {name: reverse(f"admin:{name}_changelist") for name in LISTS}
    keys = "&".join(f"key=TEST:{n}" for n in range(MANY))
    asks = {
        step: reverse(f"admin:marketdata_symbol_ask_{step}") + f"?{keys}" for step in ("history", "retire", "delete")
    }
    return {**lists, **asks, "index": reverse("admin:index"), "queues": reverse("admin:queues")}


def test_fifty_rows_cost_as_many_questions_as_five(bars: BarStore, client_of: ClientOf, paths: dict[str, str]) -> None:
    JobScheduler().ensure()
    client = client_of("superuser")
    counts: list[dict[str, Counter[str]]] = []
    for start, end in ((0, FEW), (FEW, MANY)):
        add_rows(bars, start, end)
        counts.append({})
        for name, path in paths.items():
            with counted() as asked:
                answer = client.get(path)
            rows = answer.context["cl"].result_list if name in LISTS else ()
            assert (name, answer.status_code, len(rows) >= end or name not in LISTS) == (name, 200, True)
            counts[-1][name] = asked
    few, many = counts
    assert many == few
    assert {name: asked.total() for name, asked in few.items() if not 3 <= asked.total() <= 25} == {}
