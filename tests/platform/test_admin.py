import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import apps
from django.conf import LazySettings
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Cache, Database, QuoteStore, keys
from infrastructure.scheduling import JobScheduler
from infrastructure.times import to_ms
from infrastructure.tradingview.base import Quote
from marketdata.models import BackfillJob, BarChunk, BarSeries, Pull, Symbol, UpstreamSwitch
from marketdata.services import schedules, upstream
from tests.servers import free_port

NO_CHOICE = "Select a valid choice. 7m is not one of the available choices."
COIN, SHARE = "BINANCE:BTCUSDT", "NASDAQ:AAPL"
MINUTE = INTERVALS["1m"]
ClientOf = Callable[[str], Client]
QueueNames = tuple[str, ...]


@pytest.fixture
def furnished(bars: BarStore) -> str:
    """One of everything that a page can show; gives the id of the series."""
    JobScheduler().ensure()
    schedules.install(set())
    now_ms = to_ms(timezone.now())
    Symbol.objects.create(key=COIN, description="Bitcoin", full_name=COIN, session="24x7", timezone="Etc/UTC",
                          collect_intervals=["1m", "1d"], refreshed_at=timezone.now(), has_intraday=True)  # fmt: skip
    Symbol.objects.create(key=SHARE, active=False, error="The source <b>says</b> no.")
    QuoteStore(Database()).save([(Quote(COIN, last=5.0, session="market"), now_ms)])
    series = bars.series(COIN, MINUTE, bars_per_week=10_080)
    last = now_ms - now_ms % 60_000 - 120_000
    bars.write(series, Bars.from_rows([(last - i * 60_000, 1.5, 2.5, 0.5, 1.25, 0.1) for i in range(30, -1, -1)]))
    Pull.objects.create(key=f"{COIN}@1m", symbol=COIN, interval="1m", reached_ms=last, error="Too <i>slow</i>.")
    BackfillJob.objects.create(symbol=COIN, interval="1m", bars=100, received=40, state="running")
    task = {"func": "marketdata.tasks.pull_bars", "started": timezone.now(), "stopped": timezone.now(), "args": ("1m",)}
    tasks = apps.get_model("django_q", "Task").objects
    tasks.create(id="a" * 32, name="good", group="pull 1m", success=True, result="Pulled(asked=1)", **task)
    tasks.create(id="b" * 32, name="bad", group="pull 1m", success=False, result="no : Traceback (…", **task)
    return series.id


def pages(series: str) -> dict[str, str]:
    def changelist(name: str) -> str:
        return reverse(f"admin:{name}_changelist")

    def change(name: str, key: object) -> str:
        return reverse(f"admin:{name}_change", args=[key])

    job = BackfillJob.objects.get()
    return {
        "index": reverse("admin:index"),
        "symbols": changelist("marketdata_symbol"),
        "searched symbols": changelist("marketdata_symbol") + "?q=bit&active__exact=1&freshness=missing",
        "symbol": change("marketdata_symbol", COIN),
        "new symbol": reverse("admin:marketdata_symbol_add"),
        "quotes": changelist("marketdata_quote") + "?q=bin&session__exact=market",
        "quote": change("marketdata_quote", COIN),
        "series": changelist("marketdata_barseries") + "?interval__exact=1m&q=BTC",
        "one series": change("marketdata_barseries", series),
        "no chunks": changelist("marketdata_barchunk"),
        "chunks": changelist("marketdata_barchunk") + f"?series={series}",
        "chunk": change("marketdata_barchunk", BarChunk.objects.get().pk),
        "pulls": changelist("marketdata_pull") + "?error__isempty=0",
        "pull": change("marketdata_pull", f"{COIN}@1m"),
        "jobs": changelist("marketdata_backfilljob") + "?state__exact=running&q=BTC",
        "job": change("marketdata_backfilljob", job.pk),
        "new job": reverse("admin:marketdata_backfilljob_add"),
        "switch": change("marketdata_upstreamswitch", "upstream"),
        "schedules": changelist("django_q_schedule") + "?q=pull",
        "schedule": change("django_q_schedule", apps.get_model("django_q", "Schedule").objects.get(name="pull 1m").pk),
        "successes": changelist("django_q_success") + "?q=good",
        "success": change("django_q_success", "a" * 32),
        "failures": changelist("django_q_failure"),
        "failure": change("django_q_failure", "b" * 32),
        "users": changelist("auth_user") + "?q=a-&is_staff__exact=1",
        "user": change("auth_user", User.objects.get(username="a-superuser").pk),
        "new user": reverse("admin:auth_user_add"),
        "groups": changelist("auth_group"),
        "group": change("auth_group", Group.objects.get(name="viewer").pk),
        "history": reverse("admin:marketdata_symbol_history", args=[COIN]),
    }


OPERATOR_ONLY = {"new symbol", "new job"}
SUPERUSER_ONLY = {"users", "user", "new user", "groups", "group"}
RESULTS = {"schedules", "schedule", "successes", "success", "failures", "failure"}


def codes(client: Client, wanted: dict[str, str]) -> dict[str, int]:
    return {name: client.get(path).status_code for name, path in wanted.items()}


def test_every_page_opens_for_those_who_may_and_for_nobody_else(furnished: str, client_of: ClientOf) -> None:
    superuser = client_of("superuser")
    wanted = pages(furnished)
    assert codes(superuser, wanted) == dict.fromkeys(wanted, 200)
    assert codes(Client(), wanted) == dict.fromkeys(wanted, 302)
    hidden = dict.fromkeys(SUPERUSER_ONLY, 403)
    assert codes(client_of("operator"), wanted) == {**dict.fromkeys(wanted, 200), **hidden}
    for_viewers = {**hidden, **dict.fromkeys(OPERATOR_ONLY | RESULTS, 403)}
    assert codes(client_of("viewer"), wanted) == {**dict.fromkeys(wanted, 200), **for_viewers}
    assert codes(client_of(""), wanted) == {**dict.fromkeys(wanted, 403), "index": 200}


def test_every_model_has_its_page() -> None:
    registered = {model._meta.label for model in admin.site._registry}
    assert registered == {
        *(model._meta.label for model in apps.get_app_config("marketdata").get_models()),
        "django_q.Schedule", "django_q.Success", "django_q.Failure", "auth.User", "auth.Group",
    }  # fmt: skip


def test_no_page_breaks_the_content_security_policy(furnished: str, client_of: ClientOf) -> None:
    client = client_of("superuser")
    for name, path in pages(furnished).items():
        answer = client.get(path)
        page = answer.content.decode()
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        inline = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", page)
        styles = re.findall(r"<style|\sstyle=|\son[a-z]+=", page)
        foreign = re.findall(r'(?:src|href)="(?:https?:)?//[^"]+', page)
        assert (name, inline, styles, foreign) == (name, [], [], [])


def test_texts_of_the_source_are_shown_as_texts(furnished: str, client_of: ClientOf) -> None:
    client = client_of("superuser")
    wanted = pages(furnished)
    assert "The source &lt;b&gt;says&lt;/b&gt; no." in text(client.get(wanted["symbols"]))
    assert "Too &lt;i&gt;slow&lt;/i&gt;." in text(client.get(wanted["pulls"]))


def text(answer: HttpResponse) -> str:
    return answer.content.decode()


# --- front page ---


def test_the_front_page_says_what_runs_and_what_is_late(furnished: str, client_of: ClientOf) -> None:
    Cache.from_settings().set_json(keys.FEED, {"state": "live", "reason": "All is well."}, 60)
    upstream.turn(False, "ann", "a test")
    page = text(client_of("viewer").get(reverse("admin:index")))
    assert "Market data platform" in page
    assert re.findall(r'<div class="app-([a-z_]+) module', page) == ["marketdata"]
    assert '<span class="mark mark-live">live</span> All is well.' in page
    assert "Upstream traffic is off: ann switched it off (a test)." in page
    assert "1 missing</a>" in page  # the daily bars of the only active symbol
    assert "1 running</a>" in page


def test_the_front_page_opens_without_redis(furnished: str, client_of: ClientOf, settings: LazySettings) -> None:
    client = client_of("viewer")
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}"
    assert "Redis does not answer." in text(client.get(reverse("admin:index")))


# --- symbols ---


def test_freshness_is_shown_and_filtered(furnished: str, client_of: ClientOf) -> None:
    client = client_of("viewer")
    listed = reverse("admin:marketdata_symbol_changelist")
    page = text(client.get(listed))
    assert re.search(
        r'mark-missing" title="quote fresh \(\d+ s\), 1m fresh \((\d+ s|2 min)\), 1d missing \(never\)"', page
    )
    assert "mark-inactive" in page
    assert [row.key for row in client.get(listed + "?freshness=missing").context["cl"].result_list] == [COIN]
    assert client.get(listed + "?freshness=stale").context["cl"].result_list == []


def symbol_form(**changes: Any) -> dict[str, Any]:
    return {
        "key": "NYSE:KO",
        "active": "on",
        "position": "3",
        "stream_quotes": "on",
        "collect_intervals": ["1m"],
        **changes,
    }


def queue(name: str = "pulls") -> list[str]:
    """The functions that wait, in order."""
    from django_q.signing import SignedPackage

    waiting = Database().collection(f"jobs_{name}").find({"done": False}).sort("enqueued_at", 1)
    return [
        f"{package['func']} {package['args']} {package['kwargs']}"
        for package in (SignedPackage.loads(job["payload"]) for job in waiting)
    ]


def test_a_symbol_is_added_by_its_key_and_the_rest_is_asked_for(furnished: str, client_of: ClientOf) -> None:
    answer = client_of("operator").post(reverse("admin:marketdata_symbol_add"), symbol_form(key=" nyse:ko "))
    assert answer.status_code == 302
    row = Symbol.objects.get(pk="NYSE:KO")
    assert (row.collect_intervals, row.stream_intervals, row.position) == (["1m"], [], 3)
    assert queue() == ["marketdata.tasks.refresh_symbols (['NYSE:KO'],) {}"]


@pytest.mark.parametrize(
    ("changes", "field", "error"),
    [
        ({"key": "KO"}, "key", "'KO' is not of the form EXCHANGE:TICKER, as in NASDAQ:AAPL."),
        ({"key": COIN}, "key", "Symbol with this Symbol already exists."),
        ({"collect_intervals": ["7m"]}, "collect_intervals", NO_CHOICE),
    ],
)
def test_a_wrong_symbol_is_refused(
    furnished: str, client_of: ClientOf, changes: dict[str, Any], field: str, error: str
) -> None:
    answer = client_of("operator").post(reverse("admin:marketdata_symbol_add"), symbol_form(**changes))
    assert answer.context["adminform"].form.errors == {field: [error]}
    assert Symbol.objects.count() == 2


def test_a_change_keeps_what_was_refreshed_meanwhile(furnished: str, client_of: ClientOf) -> None:
    client, path = client_of("operator"), reverse("admin:marketdata_symbol_change", args=[COIN])
    form = symbol_form(position="9", collect_intervals=["5m", "1d"])
    del form["key"]
    Symbol.objects.filter(pk=COIN).update(description="Bitcoin, refreshed")
    assert client.post(path, form).status_code == 302
    row = Symbol.objects.get(pk=COIN)
    assert (row.description, row.position, row.collect_intervals) == ("Bitcoin, refreshed", 9, ["5m", "1d"])
    Symbol.objects.filter(pk=COIN).update(has_intraday=False)
    answer = client.post(path, form)
    assert answer.context["adminform"].form.errors == {"collect_intervals": ["The source offers no bars of 5m for it."]}


def act(client: Client, model: str, action: str, *selected: object) -> HttpResponse:
    data = {"action": action, "_selected_action": [str(key) for key in selected]}
    return client.post(reverse(f"admin:marketdata_{model}_changelist"), data, follow=True)


def test_actions_enqueue_work_and_say_who_did_it(furnished: str, client_of: ClientOf) -> None:
    client = client_of("operator")
    act(client, "symbol", "refresh_information", COIN, SHARE)
    act(client, "symbol", "pull_now", COIN, SHARE)
    assert queue() == [
        f"marketdata.tasks.refresh_symbols (['{COIN}', '{SHARE}'],) {{}}",
        f"marketdata.tasks.pull_bars ('1m',) {{'only': ['{COIN}']}}",
        f"marketdata.tasks.pull_bars ('1d',) {{'only': ['{COIN}']}}",
    ]
    BackfillJob.objects.all().delete()
    page = text(act(client, "symbol", "backfill", COIN))
    assert "2 backfills are queued" in page
    jobs = BackfillJob.objects.order_by("interval")
    assert [(job.symbol, job.interval, job.bars, str(job.created_by)) for job in jobs] == [
        (COIN, "1d", 5000, "a-operator"),
        (COIN, "1m", 5000, "a-operator"),
    ]
    assert len(queue("backfills")) == 2


def test_symbols_are_activated_and_deactivated_with_an_entry_in_the_log(furnished: str, client_of: ClientOf) -> None:
    client = client_of("operator")
    assert "1 symbols are now active." in text(act(client, "symbol", "activate", COIN, SHARE))
    assert "2 symbols are now inactive." in text(act(client, "symbol", "deactivate", COIN, SHARE))
    assert {row.key: row.active for row in Symbol.objects.all()} == {COIN: False, SHARE: False}
    assert sorted((entry.object_id, entry.change_message) for entry in LogEntry.objects.all()) == [
        (COIN, "Deactivated."), (SHARE, "Activated."), (SHARE, "Deactivated."),
    ]  # fmt: skip


def test_a_viewer_can_start_nothing(furnished: str, client_of: ClientOf) -> None:
    before = list(Symbol.objects.order_by("pk").values())
    client = client_of("viewer")
    for action in ("refresh_information", "pull_now", "backfill", "activate", "deactivate"):
        act(client, "symbol", action, COIN, SHARE)
    assert list(Symbol.objects.order_by("pk").values()) == before
    assert (queue(), queue("backfills"), BackfillJob.objects.count()) == ([], [], 1)


# --- jobs ---


def test_a_job_is_asked_for_queued_and_recorded(furnished: str, client_of: ClientOf) -> None:
    BackfillJob.objects.all().delete()
    form = {"symbol": COIN.lower(), "interval": "5m", "bars": "", "start_at_0": "2026-01-01", "start_at_1": "00:00"}
    answer = client_of("operator").post(
        reverse("admin:marketdata_backfilljob_add"), {**form, "end_at_0": "", "end_at_1": ""}
    )
    assert answer.status_code == 302
    (job,) = BackfillJob.objects.all()
    assert (job.symbol, job.interval, job.bars, job.start_at, job.state, str(job.created_by)) == (
        COIN, "5m", None, datetime(2026, 1, 1, tzinfo=UTC), "queued", "a-operator",
    )  # fmt: skip
    assert queue("backfills") == [f"marketdata.tasks.run_backfill ('{job.pk}', 0) {{}}"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"bars": ""}, "Say how much: a number of bars, or the time to begin from."),
        ({"bars": "0"}, "The number of bars must be between 1 and 10,000,000, not 0."),
        ({"bars": "5", "symbol": "NO:ONE"}, "NO:ONE is not a symbol of this platform: add it first."),
    ],
)
def test_a_wrong_job_is_refused(furnished: str, client_of: ClientOf, changes: dict[str, str], error: str) -> None:
    form = {"symbol": COIN, "interval": "1m", "start_at_0": "", "start_at_1": "", "end_at_0": "", "end_at_1": ""}
    answer = client_of("operator").post(reverse("admin:marketdata_backfilljob_add"), {**form, **changes})
    errors = answer.context["adminform"].form.errors
    assert [message for field in errors.values() for message in field] == [error]
    assert (BackfillJob.objects.count(), queue("backfills")) == (1, [])


def test_jobs_are_stopped_and_let_go_on(furnished: str, client_of: ClientOf) -> None:
    client = client_of("operator")
    (job,) = BackfillJob.objects.all()
    done = BackfillJob.objects.create(symbol=COIN, interval="1d", bars=5, state="done")
    page = text(act(client, "backfilljob", "cancel", job.pk, done.pk))
    assert "1 jobs cancelled; 1 in another state were left alone." in page
    act(client, "backfilljob", "let_go_on", job.pk, done.pk)
    job.refresh_from_db()
    assert (job.state, job.run, queue("backfills")) == (
        "queued", 1, [f"marketdata.tasks.run_backfill ('{job.pk}', 1) {{}}"],
    )  # fmt: skip
    act(client, "backfilljob", "pause", job.pk)
    job.refresh_from_db()
    assert job.state == "paused"
    assert BackfillJob.objects.get(pk=done.pk).state == "done"


def test_a_running_job_shows_how_far_it_is_and_that_nobody_works_on_it(furnished: str, client_of: ClientOf) -> None:
    BackfillJob.objects.update(beat_at=datetime(2026, 1, 1, tzinfo=UTC))
    page = text(client_of("viewer").get(reverse("admin:marketdata_backfilljob_changelist")))
    assert '<progress max="100" value="40"></progress> 40 of 100' in page
    assert "mark-stalled" in page


# --- history ---


def test_a_series_shows_its_newest_bars_as_they_are_stored(furnished: str, client_of: ClientOf, bars: BarStore) -> None:
    client = client_of("viewer")
    path = reverse("admin:marketdata_barseries_change", args=[furnished])
    page = text(client.get(path))
    assert page.count("<td>1.5</td><td>2.5</td><td>0.5</td><td>1.25</td><td>0.1</td>") == 20
    assert BarSeries.objects.get().last_ms is not None
    Database().collection("bar_chunk").update_many({}, {"$set": {"data": b"damaged"}})
    assert "is damaged" in text(client.get(path))


def test_documents_are_listed_for_one_series_only(furnished: str, client_of: ClientOf) -> None:
    client = client_of("viewer")
    listed = reverse("admin:marketdata_barchunk_changelist")
    assert list(client.get(listed).context["cl"].result_list) == []
    assert len(client.get(f"{listed}?series={furnished}").context["cl"].result_list) == 1
    assert list(client.get(f"{listed}?series={furnished[:3]}").context["cl"].result_list) == []


def test_listing_documents_walks_the_index_of_their_ids(furnished: str) -> None:
    rows = BarChunk.objects.filter(pk__gte=f"{furnished}:", pk__lt=f"{furnished};", series=furnished).order_by("-id")
    assert '"stage": "IXSCAN"' in re.sub(r"'", '"', rows.explain()) and "COLLSCAN" not in rows.explain()


# --- switch ---


def test_the_switch_says_who_turned_it_and_why(furnished: str, client_of: ClientOf) -> None:
    client = client_of("operator")
    path = reverse("admin:marketdata_upstreamswitch_change", args=["upstream"])
    assert client.get(reverse("admin:marketdata_upstreamswitch_changelist")).headers["Location"] == path
    refused = client.post(path, {"reason": ""})
    assert refused.context["adminform"].form.non_field_errors() == [
        "Say why it is switched off: whoever finds it off will want to know."
    ]
    client.post(path, {"reason": "too many requests"})
    (switch,) = UpstreamSwitch.objects.all()
    assert (switch.on, switch.reason, switch.changed_by) == (False, "too many requests", "a-operator")
    with pytest.raises(upstream.UpstreamOff):
        upstream.check()
    client.post(path, {"on": "on", "reason": "too many requests"})
    upstream.check()
    assert LogEntry.objects.filter(object_id="upstream").count() == 2


def test_a_viewer_sees_the_switch_and_cannot_turn_it(furnished: str, client_of: ClientOf) -> None:
    path = reverse("admin:marketdata_upstreamswitch_change", args=["upstream"])
    assert client_of("viewer").post(path, {"reason": "mischief"}).status_code == 403
    upstream.check()
    assert UpstreamSwitch.objects.count() == 0


def test_the_page_says_when_the_environment_outranks_it(
    furnished: str, client_of: ClientOf, settings: LazySettings
) -> None:
    settings.UPSTREAM = False
    page = text(client_of("viewer").get(reverse("admin:marketdata_upstreamswitch_change", args=["upstream"])))
    assert "UPSTREAM=off in the environment" in page


# --- schedules ---


def test_a_schedule_can_be_timed_and_disabled_but_runs_nothing_else(furnished: str, client_of: ClientOf) -> None:
    schedule = apps.get_model("django_q", "Schedule").objects.get(name="pull 1m")
    client, path = client_of("operator"), reverse("admin:django_q_schedule_change", args=[schedule.pk])
    assert client.post(path, {"cron": "*/3 * * * *", "enabled": "on", "func": "os.system"}).status_code == 302
    (info,) = (one for one in JobScheduler().schedules() if one.name == "pull 1m")
    assert (info.cron, info.enabled, info.func) == ("*/3 * * * *", True, "marketdata.tasks.pull_bars")
    client.post(path, {"cron": "*/3 * * * *"})
    (info,) = (one for one in JobScheduler().schedules() if one.name == "pull 1m")
    assert (info.cron, info.enabled) == ("*/3 * * * *", False)
    assert "cron" in client.post(path, {"cron": "whenever"}).context["adminform"].form.errors
    assert client.get(reverse("admin:django_q_schedule_add")).status_code == 403


def test_a_schedule_runs_now(furnished: str, client_of: ClientOf) -> None:
    schedule = apps.get_model("django_q", "Schedule").objects.get(name="refresh quotes")
    data = {"action": "run_now", "_selected_action": [str(schedule.pk)]}
    client_of("operator").post(reverse("admin:django_q_schedule_changelist"), data)
    assert queue() == ["marketdata.tasks.refresh_quotes () {}"]


# --- counting ---


def test_lists_count_by_the_collection_s_metadata(furnished: str, client_of: ClientOf) -> None:
    answer = client_of("viewer").get(reverse("admin:marketdata_symbol_changelist"))
    changelist = answer.context["cl"]
    assert (changelist.result_count, changelist.show_full_result_count) == (2, False)
