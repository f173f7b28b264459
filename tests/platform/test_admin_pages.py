"""The pages of the admin: who may open them, what they show."""

import re
import time
from collections.abc import Callable
from datetime import timedelta

from django.apps import apps
from django.conf import LazySettings
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.contrib.staticfiles import finders
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from infrastructure.persistence import BarStore, Cache, Database, keys
from marketdata.models import BackfillJob, BarChunk, BarSeries
from marketdata.services import coverage, upstream
from tests.platform.conftest import COIN, MINUTE
from tests.servers import free_port

ClientOf = Callable[[str], Client]


def text(answer: HttpResponse) -> str:
    return answer.content.decode()


def pages(series: str) -> dict[str, str]:
    def changelist(name: str) -> str:
        return reverse(f"admin:{name}_changelist")

    def change(name: str, key: object) -> str:
        return reverse(f"admin:{name}_change", args=[key])

    job = BackfillJob.objects.get()
    return {
        "index": reverse("admin:index"),
        "queues": reverse("admin:queues"),
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
        "more bars": reverse("admin:marketdata_symbol_ask_history") + f"?key={COIN}",
        "retire": reverse("admin:marketdata_symbol_ask_retire") + f"?key={COIN}",
        "delete": reverse("admin:marketdata_symbol_delete", args=[COIN]),
    }


OPERATOR_ONLY = {"new symbol", "new job", "more bars", "retire"}
SUPERUSER_ONLY = {"delete", "users", "user", "new user", "groups", "group"}
RESULTS = {"queues", "schedules", "schedule", "successes", "success", "failures", "failure"}


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
    """Those without permissions of their own are nobody's to look at."""
    registered = {model._meta.label for model in admin.site._registry}
    models = apps.get_app_config("marketdata").get_models()
    assert registered == {
        *(model._meta.label for model in models if model._meta.default_permissions),
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


# --- front page ---


def test_the_front_page_says_what_runs_and_what_is_late(furnished: str, client_of: ClientOf) -> None:
    say_of_feed("market_closed", reason="No streamed market is open.", since_ms=1_700_000_000_000)
    upstream.turn(False, "ann", "a test")
    page = text(client_of("viewer").get(reverse("admin:index")))
    assert "Market data platform" in page
    assert re.findall(r'<div class="app-([a-z_]+) module', page) == ["marketdata"]
    assert "<strong>Feed: market closed</strong>" in page
    assert 'datetime="2023-11-14T22:13:20+00:00">2023-11-14 22:13:20 UTC</time>' in page
    assert re.search(r'class="feed feed-good" role="status">[^§]*No streamed market is open\.', page)
    assert "12 symbols streamed from simulator, 3 closed bars wait to be stored" in page
    assert "Upstream traffic is off: ann switched it off (a test)." in page
    assert "1 missing</a>" in page  # the daily bars of the only active symbol
    assert "1 running</a>" in page


def say_of_feed(state: str, **more: object) -> None:
    said = {"state": state, "at_ms": time.time_ns() // 1_000_000, "source": "simulator", "symbols": 12, **more}
    Cache.from_settings().set_json(keys.FEED, {"waiting_bars": 3, **said}, 60)


def test_the_front_page_shows_how_bad_the_feed_is(furnished: str, client_of: ClientOf) -> None:
    client = client_of("viewer")
    for state, colour in (("live", "good"), ("stale", "warning"), ("refused", "critical")):
        say_of_feed(state)
        assert f'class="feed feed-{colour}"' in text(client.get(reverse("admin:index")))
    Cache.from_settings().delete(keys.FEED)
    page = text(client.get(reverse("admin:index")))
    assert 'class="feed feed-critical"' in page
    assert "No feed is running." in page


def test_the_front_page_names_schedules_that_fail(furnished: str, client_of: ClientOf) -> None:
    client = client_of("viewer")
    assert "none failed" in text(client.get(reverse("admin:index")))
    tasks = apps.get_model("django_q", "Task").objects
    tasks.filter(success=True).update(stopped=timezone.now() - timedelta(minutes=1))
    assert '<span class="mark mark-failed">pull 1m failed</span>' in text(client.get(reverse("admin:index")))


def test_who_may_see_nothing_is_told_nothing_of_the_state(furnished: str, client_of: ClientOf) -> None:
    assert '<section class="overview"' not in text(client_of("").get(reverse("admin:index")))
    assert '<section class="overview"' in text(client_of("viewer").get(reverse("admin:index")))


def test_the_front_page_opens_without_redis(furnished: str, client_of: ClientOf, settings: LazySettings) -> None:
    client = client_of("viewer")
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}"
    assert "Redis does not answer." in text(client.get(reverse("admin:index")))


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


def test_a_series_shows_its_newest_bars_as_they_are_stored(furnished: str, client_of: ClientOf, bars: BarStore) -> None:
    client = client_of("viewer")
    path = reverse("admin:marketdata_barseries_change", args=[furnished])
    page = text(client.get(path))
    assert page.count("<td>1.5</td><td>2.5</td><td>0.5</td><td>1.25</td><td>0.1</td>") == 20
    assert BarSeries.objects.get().last_ms is not None
    Database().collection("bar_chunk").update_many({}, {"$set": {"data": b"damaged"}})
    assert "is damaged" in text(client.get(path))


def test_a_series_shows_what_was_asked_for_and_that_it_waits_to_be_loaded_anew(
    furnished: str, client_of: ClientOf, bars: BarStore
) -> None:
    client = client_of("viewer")
    path = reverse("admin:marketdata_barseries_change", args=[furnished])
    assert "not reached yet" in text(client.get(path))
    series = bars.find(COIN, MINUTE)
    assert series is not None
    coverage.store().add(series, [(0, 60_000), (180_000, 240_000)], "end", 0)
    bars.revisions.mark(series, 0.5)
    page = text(client.get(path))
    assert "1970-01-01 00:03:00 – 1970-01-01 00:04:00<br>1970-01-01 00:00:00 – 1970-01-01 00:01:00" in page
    assert "it has nothing before 1970-01-01 00:00:00" in page
    for shown in (page, text(client.get(reverse("admin:marketdata_barseries_changelist")))):
        assert 'title="Its source multiplied all prices by 0.5; a job loads it anew.">rebased</span>' in shown


def test_an_icon_is_found_on_every_page(furnished: str, client_of: ClientOf) -> None:
    answer = Client().get("/favicon.ico")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/static/marketdata/icon.svg")
    assert finders.find("marketdata/icon.svg") is not None


def test_documents_are_listed_for_one_series_only(furnished: str, client_of: ClientOf) -> None:
    client = client_of("viewer")
    listed = reverse("admin:marketdata_barchunk_changelist")
    assert list(client.get(listed).context["cl"].result_list) == []
    assert len(client.get(f"{listed}?series={furnished}").context["cl"].result_list) == 1
    assert list(client.get(f"{listed}?series={furnished[:3]}").context["cl"].result_list) == []


def test_listing_documents_walks_the_index_of_their_ids(furnished: str) -> None:
    rows = BarChunk.objects.filter(pk__gte=f"{furnished}:", pk__lt=f"{furnished};", series=furnished).order_by("-id")
    assert '"stage": "IXSCAN"' in re.sub(r"'", '"', rows.explain()) and "COLLSCAN" not in rows.explain()


def test_lists_count_by_the_collection_s_metadata(furnished: str, client_of: ClientOf) -> None:
    answer = client_of("viewer").get(reverse("admin:marketdata_symbol_changelist"))
    changelist = answer.context["cl"]
    assert (changelist.result_count, changelist.show_full_result_count) == (2, False)
