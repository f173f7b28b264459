"""The pages that ask before something is done to symbols: more history, retire, delete. Each says first what is there.

Reached by an action of the list (which hands over the chosen rows) and by the buttons of a symbol's page."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from infrastructure.errors import InfrastructureError
from infrastructure.intervals import INTERVALS
from marketdata.admin import marks
from marketdata.admin.buttons import ButtonsAdmin
from marketdata.models import Symbol
from marketdata.services import backfill_jobs, orders, removal
from marketdata.services.series import store

MOST = 500  # chosen at a time: each is a hidden field of the page
BARS, DAYS = "bars", "days"
KEEP, EVERYTHING = "keep", "everything"
LEAVE, CANCEL = "leave", "cancel"


class HistoryForm(forms.Form):
    amount = forms.IntegerField(min_value=1, max_value=backfill_jobs.MAX_BARS, initial=5000, label="The newest")
    unit = forms.ChoiceField(choices=[(BARS, "bars"), (DAYS, "days")], initial=BARS, label="of")
    intervals = forms.MultipleChoiceField(
        choices=[(name, name) for name in INTERVALS], widget=forms.CheckboxSelectMultiple, label="Intervals"
    )


class RetireForm(forms.Form):
    jobs = forms.ChoiceField(
        choices=[(LEAVE, "Let open backfill jobs go on to their end"), (CANCEL, "Cancel open backfill jobs")],
        widget=forms.RadioSelect, initial=LEAVE, label="Backfills",
    )  # fmt: skip


class DeleteForm(forms.Form):
    bars = forms.ChoiceField(
        choices=[
            (KEEP, "Keep the stored bars: they stay readable, and a symbol that is added again goes on with them"),
            (EVERYTHING, "Delete everything, the stored bars too: this cannot be undone"),
        ],
        widget=forms.RadioSelect, label="Stored bars",
    )  # fmt: skip


FORMS: dict[str, type[forms.Form]] = {"history": HistoryForm, "retire": RetireForm, "delete": DeleteForm}
TITLES = {"history": "Backfill", "retire": "Retire", "delete": "Delete"}


class SymbolPages(ButtonsAdmin):
    def get_urls(self) -> list[URLPattern]:
        ask = self.admin_site.admin_view(self.ask)
        own = [path(f"{step}/", ask, {"step": step}, f"marketdata_symbol_ask_{step}") for step in FORMS]
        return [*own, *super().get_urls()]

    def has_step_permission(self, request: HttpRequest, step: str) -> bool:
        if step == "history":
            return request.user.has_perm("marketdata.add_backfilljob")  # type: ignore[union-attr]
        return self.has_change_permission(request) if step == "retire" else self.has_delete_permission(request)

    def has_history_permission(self, request: HttpRequest) -> bool:
        """Of the action."""
        return self.has_step_permission(request, "history")

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        found = self.get_object(request, unquote(object_id))
        return self.ask(request, "delete", [] if found is None else [found])

    def ask(self, request: HttpRequest, step: str, chosen: Sequence[Symbol] | None = None) -> HttpResponse:
        """Shows the page, and does what it asks for once that is answered."""
        if not self.has_step_permission(request, step):
            raise PermissionDenied
        listed = reverse("admin:marketdata_symbol_changelist")
        answered = request.method == "POST" and "answered" in request.POST
        named = (request.POST if answered else request.GET).getlist("key")
        rows = list(chosen if chosen is not None else self.get_queryset(request).filter(pk__in=named[:MOST]))
        if not 0 < len(rows) <= MOST:
            text = f"At most {MOST} at a time." if rows else "None of these symbols exists any more."
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(listed)
        form = FORMS[step](request.POST if answered else None, initial=_initial(step, rows))
        if answered and form.is_valid():
            try:
                return HttpResponseRedirect(self._do(request, step, rows, form.cleaned_data) or listed)
            except InfrastructureError as error:
                self.message_user(request, str(error), messages.ERROR)
        return self._page(request, step, rows, form)

    def _page(self, request: HttpRequest, step: str, rows: Sequence[Symbol], form: forms.Form) -> HttpResponse:
        found = removal.belongings(store(), rows)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": f"{TITLES[step]} {rows[0].key if len(rows) == 1 else marks.counted(len(rows), 'symbol')}",
            "step": step,
            "action": reverse(f"admin:marketdata_symbol_ask_{step}"),
            "form": form,
            "found": [(one, _series(one), _bytes(one)) for one in found],
            "open_jobs": sum(one.jobs for one in found),
            "submit": f"{TITLES[step]} {marks.counted(len(rows), 'symbol')}",
        }
        return TemplateResponse(request, "marketdata/admin/symbols_ask.html", context)

    def _do(self, request: HttpRequest, step: str, rows: Sequence[Symbol], answer: dict[str, Any]) -> str | None:
        """Where to go next, if not to the list."""
        if step == "history":
            return self._order(request, rows, answer)
        if step == "retire":
            self._retire(request, rows, cancel_jobs=answer["jobs"] == CANCEL)
        else:
            self._delete(request, rows, keep_bars=answer["bars"] == KEEP)
        return None

    def _order(self, request: HttpRequest, rows: Sequence[Symbol], answer: dict[str, Any]) -> str | None:
        wish = {answer["unit"]: answer["amount"]}
        ordered = orders.order(rows, answer["intervals"], **wish, by=request.user)
        for row in rows if ordered.jobs else ():
            self.log_change(request, row, f"Ordered {answer['amount']} {answer['unit']} of history.")
        if ordered.refused:
            why = "; ".join(f"{name}: {text}" for name, text in list(ordered.refused.items())[:5])
            left = len(ordered.refused)
            self.message_user(request, f"{marks.counted(left, 'job')} not made. {why}", messages.WARNING)
        if not ordered.jobs:
            return None
        self.message_user(request, f"Queued {marks.counted(len(ordered.jobs), 'backfill')}.", messages.SUCCESS)
        return reverse("admin:marketdata_backfilljob_changelist")

    def _retire(self, request: HttpRequest, rows: Sequence[Symbol], *, cancel_jobs: bool) -> None:
        active = [row for row in rows if row.active]
        cancelled = sum(removal.retire(row, cancel_jobs=cancel_jobs) for row in active)
        for row in active:
            self.log_change(request, row, "Retired.")
        rest = f"; {len(rows) - len(active)} retired before" if len(active) < len(rows) else ""
        jobs = f", {marks.counted(cancelled, 'job')} cancelled" if cancel_jobs else ""
        text = f"Retired {marks.counted(len(active), 'symbol')}{jobs}{rest}. Stored bars stay readable."
        self.message_user(request, text, messages.SUCCESS if active else messages.WARNING)

    def _delete(self, request: HttpRequest, rows: Sequence[Symbol], *, keep_bars: bool) -> None:
        cancelled = 0
        for row in rows:
            self.log_deletions(request, [row])  # type: ignore[arg-type]  # any iterable does
            cancelled += removal.delete(store(), row, keep_bars=keep_bars)
        bars = "stored bars were kept" if keep_bars else "stored bars too"
        jobs = f", {marks.counted(cancelled, 'open job')} cancelled" if cancelled else ""
        self.message_user(request, f"Deleted {marks.counted(len(rows), 'symbol')}: {bars}{jobs}.", messages.SUCCESS)


def _initial(step: str, rows: Sequence[Symbol]) -> dict[str, Any]:
    if step != "history":
        return {}
    return {"intervals": [name for name in INTERVALS if any(name in row.collect_intervals for row in rows)]}


def _series(found: removal.Belongings) -> list[tuple[str, str]]:
    """(interval, what is stored of it)"""
    return [
        (
            series.interval.name,
            ("" if size is None else f"{size.bars:,} bars, {marks.size(size.bytes)}, ")
            + f"{marks.day(series.first_ms)} – {marks.day(series.last_ms)}",
        )
        for series, size in sorted(found.series, key=lambda one: one[0].interval.length_ms)
    ]


def _bytes(found: removal.Belongings) -> str:
    return marks.NEVER if found.bytes is None else marks.size(found.bytes)


def selected(rows: QuerySet[Symbol]) -> list[Symbol]:
    """One more than may be chosen, where more were: `ask` says so then."""
    return list(rows[: MOST + 1])
