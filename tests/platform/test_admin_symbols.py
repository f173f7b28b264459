"""The pages that say what belongs to symbols and ask: more history, retire, delete; and the buttons of one symbol."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from infrastructure.persistence import Database, FindingStore, Found
from marketdata.models import BackfillJob, BarChunk, BarSeries, Finding, Pull, Quote, Symbol
from tests.platform.conftest import COIN, SHARE
from tests.platform.test_admin_work import act, queue, text

ClientOf = Callable[[str], Client]
STEPS = ("history", "retire", "delete")


def answer(client: Client, step: str, *keys: str, **fields: Any) -> HttpResponse:
    data = {"answered": "yes", "key": list(keys), **fields}
    return client.post(reverse(f"admin:marketdata_symbol_ask_{step}"), data, follow=True)


def press(client: Client, model: str, key: object, action: str) -> HttpResponse:
    return client.post(reverse(f"admin:marketdata_{model}_do", args=[key, action]), follow=True)


def shown_buttons(client: Client, model: str, key: object) -> list[str]:
    page = text(client.get(reverse(f"admin:marketdata_{model}_change", args=[key])))
    return re.findall(r"<button>([^<]*)</button>", page)


def messages(page: HttpResponse) -> list[str]:
    return [str(message) for message in page.context["messages"]]


# --- more history ---


def test_history_is_ordered_for_several_symbols_and_intervals(furnished: str, client_of: ClientOf) -> None:
    BackfillJob.objects.all().delete()
    client = client_of("operator")
    page = act(client, "symbol", "backfill", COIN, SHARE)
    assert page.context["title"] == "Backfill 2 symbols"
    assert page.context["form"].initial == {"intervals": ["1m", "1d"]}
    assert "31 bars" in text(page)
    done = answer(client, "history", COIN, SHARE, amount="700", unit="bars", intervals=["1m", "1d"])
    assert messages(done) == ["Queued 4 backfills."]
    jobs = BackfillJob.objects.order_by("symbol", "interval")
    assert [(job.symbol, job.interval, job.bars, str(job.created_by)) for job in jobs] == [
        (COIN, "1d", 700, "a-operator"), (COIN, "1m", 700, "a-operator"),
        (SHARE, "1d", 700, "a-operator"), (SHARE, "1m", 700, "a-operator"),
    ]  # fmt: skip
    assert len(queue("backfills")) == 4
    assert {entry.change_message for entry in LogEntry.objects.all()} == {"Ordered 700 bars of history."}


def test_history_may_be_ordered_by_days(furnished: str, client_of: ClientOf) -> None:
    BackfillJob.objects.all().delete()
    answer(client_of("operator"), "history", COIN, amount="30", unit="days", intervals=["5m"])
    (job,) = BackfillJob.objects.all()
    assert (job.bars, job.end_at) == (None, None)
    assert abs(timezone.now() - timedelta(days=30) - job.start_at) < timedelta(minutes=1)


def test_what_cannot_be_had_or_is_ordered_already_is_refused_with_the_reason(
    furnished: str, client_of: ClientOf
) -> None:
    BackfillJob.objects.all().delete()
    Symbol.objects.filter(pk=SHARE).update(has_intraday=False)
    client = client_of("operator")
    for _ in range(2):
        page = answer(client, "history", COIN, SHARE, amount="7", unit="bars", intervals=["1m"])
    assert messages(page) == [
        f"2 jobs not made. {COIN} 1m: A job for as much of {COIN} 1m is queued already.; "
        f"{SHARE} 1m: {SHARE} has no 1m bars: its source offers none below one day."
    ]
    more = answer(client, "history", COIN, amount="8", unit="bars", intervals=["1m"])
    assert messages(more) == ["Queued 1 backfill."]
    assert BackfillJob.objects.count() == 2


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"amount": "", "unit": "bars", "intervals": ["1m"]}, ["amount"]),
        ({"amount": "0", "unit": "bars", "intervals": ["1m"]}, ["amount"]),
        ({"amount": "5", "unit": "years", "intervals": ["7m"]}, ["unit", "intervals"]),
        ({"amount": "5", "unit": "days"}, ["intervals"]),
    ],
)
def test_an_order_that_makes_no_sense_is_shown_again(
    furnished: str, client_of: ClientOf, fields: dict[str, Any], wrong: list[str]
) -> None:
    page = answer(client_of("operator"), "history", COIN, **fields)
    assert (list(page.context["form"].errors), BackfillJob.objects.count()) == (wrong, 1)


def test_more_jobs_than_a_queue_bears_are_not_ordered_at_all(furnished: str, client_of: ClientOf) -> None:
    Symbol.objects.bulk_create(Symbol(key=f"X:{n}") for n in range(400))
    keys = [f"X:{n}" for n in range(400)]
    page = answer(client_of("operator"), "history", *keys, amount="5", unit="bars", intervals=["1m", "5m", "1d"])
    assert messages(page) == ["That would be 1,200 jobs; at most 1,000 are made at once."]
    assert BackfillJob.objects.count() == 1
    Symbol.objects.bulk_create(Symbol(key=f"Y:{n}") for n in range(200))
    assert messages(act(client_of("superuser"), "symbol", "backfill", *keys, *(f"Y:{n}" for n in range(200)))) == [
        "At most 500 at a time."
    ]


# --- retire ---


def test_retiring_says_what_stays_and_asks(furnished: str, client_of: ClientOf) -> None:
    client = client_of("operator")
    page = act(client, "symbol", "retire", COIN)
    assert "remain readable" in text(page) and "31 bars" in text(page)
    assert Symbol.objects.get(pk=COIN).active is True
    done = answer(client, "retire", COIN, SHARE, jobs="leave")
    assert messages(done) == ["Retired 1 symbol; 1 retired before. Stored bars stay readable."]
    assert (Symbol.objects.get(pk=COIN).active, BackfillJob.objects.get().state) == (False, "running")
    assert [(entry.object_id, entry.change_message) for entry in LogEntry.objects.all()] == [(COIN, "Retired.")]


def test_open_jobs_are_cancelled_where_that_was_chosen(furnished: str, client_of: ClientOf) -> None:
    done = answer(client_of("operator"), "retire", COIN, jobs="cancel")
    assert messages(done) == ["Retired 1 symbol, 1 job cancelled. Stored bars stay readable."]
    assert (BackfillJob.objects.get().state, BarSeries.objects.count()) == ("cancelled", 1)


def test_a_symbol_is_activated_again_with_an_entry_in_the_log(furnished: str, client_of: ClientOf) -> None:
    page = act(client_of("operator"), "symbol", "activate", COIN, SHARE)
    assert messages(page) == ["Activated 1 symbol: schedules and feed take them up within seconds."]
    assert list(Symbol.objects.values_list("active", flat=True)) == [True, True]
    assert [(entry.object_id, entry.change_message) for entry in LogEntry.objects.all()] == [(SHARE, "Activated.")]


def test_saving_a_symbol_cannot_retire_it_unasked(furnished: str, client_of: ClientOf) -> None:
    path = reverse("admin:marketdata_symbol_change", args=[COIN])
    client_of("operator").post(path, {"position": "4", "stream_quotes": "on", "collect_intervals": ["1m"]})
    row = Symbol.objects.get(pk=COIN)
    assert (row.active, row.position) == (True, 4)


# --- delete ---


def test_a_deletion_lists_what_there_is_and_asks(furnished: str, client_of: ClientOf) -> None:
    FindingStore(Database()).note([Found("rejected", COIN, "1m", "bad", 1, 1)])
    client = client_of("superuser")
    page = text(client.get(reverse("admin:marketdata_symbol_delete", args=[COIN])))
    found = page[page.index('<table class="belongings">') : page.index("</tbody>", page.index("belongings"))]
    cells = [
        re.sub(r"<[^>]*>|\s+", " ", cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", found, re.S)
    ]
    assert cells[10:] == [COIN, cells[11], cells[12], "1m, 1d", "quotes", "1", "–", "1", "yes", "1"]
    assert cells[11].startswith("1m  31 bars, ") and cells[12].endswith(("bytes", "kB"))
    assert "Open backfill jobs (1) are cancelled first." in page
    unanswered = answer(client, "delete", COIN)
    assert list(unanswered.context["form"].errors) == ["bars"]
    assert (Symbol.objects.count(), BarSeries.objects.count()) == (2, 1)


@pytest.mark.parametrize(
    ("choice", "said", "left"),
    [
        ("keep", "Deleted 1 symbol: stored bars were kept, 1 open job cancelled.", (1, 1, 1, 0, 0)),
        ("everything", "Deleted 1 symbol: stored bars too, 1 open job cancelled.", (0, 0, 0, 0, 0)),
    ],
)
def test_a_symbol_is_deleted_as_was_chosen(
    furnished: str, client_of: ClientOf, choice: str, said: str, left: tuple[int, ...]
) -> None:
    FindingStore(Database()).note([Found("rejected", COIN, "1m", "bad", 1, 1)])
    assert messages(answer(client_of("superuser"), "delete", COIN, bars=choice)) == [said]
    models = (BarSeries, BarChunk, Pull, Quote, Finding)
    assert tuple(model.objects.count() for model in models) == left
    assert list(Symbol.objects.values_list("pk", flat=True)) == [SHARE]
    assert BackfillJob.objects.get().state == "cancelled"
    assert [(entry.object_id, entry.action_flag) for entry in LogEntry.objects.all()] == [(COIN, 3)]


def test_who_adds_a_symbol_again_is_told_that_its_bars_go_on(furnished: str, client_of: ClientOf) -> None:
    client = client_of("superuser")
    answer(client, "delete", COIN, bars="keep")
    form = {"key": COIN, "active": "on", "position": "1", "collect_intervals": ["1m"]}
    page = client.post(reverse("admin:marketdata_symbol_add"), form, follow=True)
    assert messages(page)[0] == "Its stored bars (1m) were kept and go on."
    assert BarSeries.objects.get().pk == furnished


def test_who_chooses_a_symbol_that_is_gone_is_told_so(furnished: str, client_of: ClientOf) -> None:
    client = client_of("superuser")
    for page in (
        client.get(reverse("admin:marketdata_symbol_delete", args=["NO:ONE"]), follow=True),
        client.get(reverse("admin:marketdata_symbol_ask_retire"), follow=True),
        answer(client, "delete", "NO:ONE", bars="everything"),
    ):
        assert messages(page) == ["None of these symbols exists any more."]


# --- who may ---


def test_viewers_may_do_none_of_it_and_operators_delete_nothing(furnished: str, client_of: ClientOf) -> None:
    viewer, operator, before = client_of("viewer"), client_of("operator"), list(Symbol.objects.values())
    everything = {"amount": "5", "unit": "bars", "intervals": ["1m"], "jobs": "cancel", "bars": "everything"}
    for step in STEPS:
        path = reverse(f"admin:marketdata_symbol_ask_{step}") + f"?key={COIN}"
        assert viewer.get(path).status_code == 403
        assert answer(viewer, step, COIN, **everything).status_code == 403
        assert operator.get(path).status_code == (403 if step == "delete" else 200)
    assert operator.get(reverse("admin:marketdata_symbol_delete", args=[COIN])).status_code == 403
    assert answer(operator, "delete", COIN, **everything).status_code == 403
    assert list(Symbol.objects.values()) == before
    assert (BackfillJob.objects.get().state, BarSeries.objects.count()) == ("running", 1)


def test_a_page_has_the_buttons_that_its_reader_may_press(furnished: str, client_of: ClientOf) -> None:
    operator = client_of("operator")
    common = ["Refresh information now", "Pull new bars now", "Backfill…"]
    assert shown_buttons(operator, "symbol", COIN) == [*common, "Retire…"]
    assert shown_buttons(operator, "symbol", SHARE) == [*common, "Activate"]
    assert shown_buttons(client_of("viewer"), "symbol", COIN) == []


def test_a_button_does_what_the_action_of_the_list_does(furnished: str, client_of: ClientOf) -> None:
    client = client_of("operator")
    page = press(client, "symbol", COIN, "pull_now")
    assert page.request["PATH_INFO"] == reverse("admin:marketdata_symbol_change", args=[COIN])
    assert len(queue()) == 2
    assert press(client, "symbol", COIN, "backfill").context["title"] == f"Backfill {COIN}"
    assert press(client, "symbol", COIN, "delete_selected").status_code == 403
    assert press(client, "symbol", COIN, "no_such_thing").status_code == 403
    assert press(client, "symbol", "NO:ONE", "pull_now").status_code == 404
    assert client.get(reverse("admin:marketdata_symbol_do", args=[COIN, "pull_now"])).status_code == 405
    assert press(client_of("viewer"), "symbol", COIN, "pull_now").status_code == 403
    assert len(queue()) == 2


# --- what was noticed ---


def test_names_findings_and_rebased_series_are_marked(furnished: str, client_of: ClientOf) -> None:
    Symbol.objects.filter(pk=COIN).update(note="2026-11-20: it is an old name of BINANCE:XBTUSDT")
    FindingStore(Database()).note([Found("rejected", COIN, "1m", "bad", n, n) for n in (1, 2)])
    Database().collection("bar_series").update_many({}, {"$set": {"rebase": {"factor": 0.5}}})
    client = client_of("viewer")
    listed = reverse("admin:marketdata_symbol_changelist")
    page = text(client.get(listed))
    assert 'title="2026-11-20: it is an old name of BINANCE:XBTUSDT">names</span>' in page
    assert 'title="1m: loaded anew">rebased</span>' in page
    link = reverse("admin:marketdata_finding_changelist") + "?symbol=BINANCE%3ABTCUSDT"
    assert f'href="{link}">2 findings</a>' in page
    assert len(client.get(link).context["cl"].result_list) == 2
    assert len(client.get(link.replace("BTC", "ETH")).context["cl"].result_list) == 0
    for noticed, keys in (("findings", [COIN]), ("names", [COIN]), ("error", [SHARE])):
        rows = client.get(f"{listed}?noticed={noticed}").context["cl"].result_list
        assert [row.key for row in rows] == keys
    one = text(client.get(reverse("admin:marketdata_symbol_change", args=[COIN])))
    assert "old name of BINANCE:XBTUSDT" in one and ">2 findings</a>" in one and ">rebased</span>" in one


def test_findings_are_counted_on_the_front_page_and_filtered_by_kind(furnished: str, client_of: ClientOf) -> None:
    FindingStore(Database()).note(
        [Found("rejected", COIN, "1m", "a price", 1, 1), Found("rebased", COIN, "1m", "x", 2, 3)]
    )
    client = client_of("viewer")
    page = text(client.get(reverse("admin:index")))
    link = reverse("admin:marketdata_finding_changelist") + "?kind=rejected"
    assert f'href="{link}">1 rejected</a>' in page and ">1 rebased</a>" in page
    (row,) = client.get(link).context["cl"].result_list
    assert row.reason == "a price"
