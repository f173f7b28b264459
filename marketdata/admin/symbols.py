"""Symbols: what is collected and streamed, how fresh it is, and the work an operator can start."""

from typing import Any
from urllib.parse import quote

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from infrastructure.errors import InfrastructureError
from infrastructure.intervals import INTERVALS
from infrastructure.scheduling import JobScheduler
from infrastructure.times import to_ms
from marketdata.admin import marks
from marketdata.admin.symbol_pages import SymbolPages, selected
from marketdata.models import BackfillJob, BarSeries, Finding, Pull, Symbol
from marketdata.services import overview, retention, symbols
from marketdata.services.freshness import Freshness

CHOICES = [(name, name) for name in INTERVALS]
SHOWN = ("kept", "series", "pulls", "findings", "jobs")
FROM_THE_SOURCE = (
    "description", "type", "currency", "timezone", "session", "price_scale", "min_move", "has_volume", "has_intraday",
    "full_name", "pro_name", "venue", "update_mode", "delay_s", "aliases", "holidays", "corrections", "refreshed_at",
    "note", "error", "created_at",
)  # fmt: skip


def _intervals(label: str, help_text: str) -> forms.MultipleChoiceField:
    widget = forms.CheckboxSelectMultiple
    return forms.MultipleChoiceField(choices=CHOICES, widget=widget, required=False, label=label, help_text=help_text)


class SymbolForm(forms.ModelForm):
    stream_intervals = _intervals("Stream bars of", "the feed keeps these forming and closed bars flowing at all times")
    collect_intervals = _intervals("Collect bars of", "schedules pull these closed bars into the store")

    class Meta:
        model = Symbol
        fields = ("key", "active", "position", "stream_quotes", "stream_intervals", "collect_intervals", "keep_days")

    def clean_keep_days(self) -> str:
        text = str(self.cleaned_data["keep_days"])
        try:
            retention.parse(text)
        except InfrastructureError as error:
            raise ValidationError(str(error)) from error
        return text

    def clean_key(self) -> str:
        try:
            return symbols.key_of(self.cleaned_data["key"])
        except InfrastructureError as error:
            raise ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.instance.pk and not self.instance.has_intraday:
            for field in ("stream_intervals", "collect_intervals"):
                short = [name for name in self.cleaned_data.get(field, ()) if INTERVALS[name].intraday]
                if short:
                    self.add_error(field, f"The source offers no bars of {', '.join(short)} for it.")
        return cleaned


class FreshnessFilter(admin.SimpleListFilter):
    title = parameter_name = "freshness"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.value) for state in Freshness]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Symbol]) -> QuerySet[Symbol]:
        if self.value() is None:
            return queryset
        kept = overview.kept(Symbol.objects.filter(active=True), to_ms(timezone.now()))
        return queryset.filter(pk__in=[key for key, found in kept.items() if overview.worst(found) == self.value()])


class NoticedFilter(admin.SimpleListFilter):
    title = parameter_name = "noticed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("findings", "findings in its bars"), ("names", "a change of names"), ("error", "an error")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Symbol]) -> QuerySet[Symbol]:
        match self.value():
            case "findings":
                return queryset.filter(
                    pk__in=list(Finding.objects.order_by().values_list("symbol", flat=True).distinct())
                )
            case "names":
                return queryset.exclude(note="")
            case "error":
                return queryset.exclude(error="")
        return queryset


class SymbolChangeList(ChangeList):
    """Asks once for what is kept of all the symbols on the page, and once for what was noticed."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        now_ms = to_ms(timezone.now())
        kept, noticed = overview.kept(rows, now_ms), overview.noticed(rows)
        for row in rows:
            row.freshness_mark = marks.freshness(kept[row.key], now_ms)
            row.noticed = noticed[row.key]
        self.result_list = rows


@admin.register(Symbol)
class SymbolAdmin(SymbolPages):
    form = SymbolForm
    list_display = ("key", "description", "freshness", "noticed", "resolved", "delay", "collected", "error")
    list_filter = (FreshnessFilter, NoticedFilter, "active", "type", "currency")
    search_fields = ("key", "description")
    search_help_text = "symbol or description"
    actions = ("refresh_information", "pull_now", "backfill", "activate", "retire", "delete_selected")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SymbolChangeList

    def get_fieldsets(self, request: HttpRequest, obj: Symbol | None = None) -> Any:
        wanted = ("key", "active", "position", "stream_quotes", "stream_intervals", "collect_intervals", "keep_days")
        if obj is None:
            return [(None, {"fields": wanted, "description": "The source is asked for the rest once it is saved."})]
        return [
            (None, {"fields": wanted}),
            ("What is kept", {"fields": SHOWN}),
            ("From the source", {"fields": FROM_THE_SOURCE}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Symbol | None = None) -> tuple[str, ...]:
        """Retiring asks first, so `active` is no box to untick."""
        return () if obj is None else ("key", "active", *SHOWN, *FROM_THE_SOURCE)

    def buttons(self, obj: Symbol) -> tuple[str, ...]:
        return ("refresh_information", "pull_now", "backfill", "retire" if obj.active else "activate")

    # --- columns ---

    @admin.display
    def freshness(self, row: Symbol) -> str:
        return row.freshness_mark if row.active else marks.mark("inactive", "retired")  # type: ignore[attr-defined]

    @admin.display
    def noticed(self, row: Symbol) -> SafeString | str:
        found: overview.Noticed = row.noticed  # type: ignore[attr-defined]
        shown = [marks.mark("stale", "names", row.note)] if row.note else []
        if found.rebased:
            shown.append(marks.mark("stale", "rebased", f"{', '.join(found.rebased)}: loaded anew"))
        if found.findings:
            url = reverse("admin:marketdata_finding_changelist") + f"?symbol={quote(row.key)}"
            shown.append(marks.linked("stale", marks.counted(found.findings, "finding"), url))
        return SafeString(" ".join(shown)) or marks.NEVER

    @admin.display(description="prices from")
    def resolved(self, row: Symbol) -> str:
        """Where they come from another venue than the key says, its name for the symbol too."""
        named = row.full_name if row.full_name != row.key else ""
        return ", ".join(part for part in (row.venue, named) if part) or marks.NEVER

    @admin.display(ordering="delay_s")
    def delay(self, row: Symbol) -> str:
        return f"{row.delay_s // 60} min" if row.delay_s else row.update_mode.replace("_", " ") or marks.NEVER

    @admin.display(description="collects")
    def collected(self, row: Symbol) -> str:
        return ", ".join(name for name in INTERVALS if name in row.collect_intervals) or marks.NEVER

    @admin.display(description="freshness")
    def kept(self, row: Symbol) -> SafeString:
        now_ms = to_ms(timezone.now())
        return marks.kept_table(overview.kept([row], now_ms)[row.key], now_ms)

    @admin.display(description="series")
    def series(self, row: Symbol) -> SafeString | str:
        rebased = overview.noticed([row])[row.key].rebased
        links = (
            (
                reverse("admin:marketdata_barseries_change", args=[one.pk]),
                one.interval,
                marks.mark("stale", "rebased", "loaded anew") if one.interval in rebased else "",
            )
            for one in sorted(
                BarSeries.objects.filter(symbol=row.key), key=lambda one: INTERVALS[one.interval].length_ms
            )
        )
        return format_html_join(SafeString(" &nbsp; "), '<a href="{}">{}</a> {}', links) or "no bars yet"

    @admin.display(description="failed pulls")
    def pulls(self, row: Symbol) -> SafeString | str:
        failed = [one for one in Pull.objects.filter(symbol=row.key) if one.error]
        return format_html_join(SafeString("<br>"), "{}: {}", ((one.interval, one.error) for one in failed)) or "none"

    @admin.display
    def findings(self, row: Symbol) -> SafeString | str:
        count = Finding.objects.filter(symbol=row.key).count()
        url = reverse("admin:marketdata_finding_changelist") + f"?symbol={quote(row.key)}"
        return marks.linked("stale", marks.counted(count, "finding"), url) if count else "none"

    @admin.display(description="backfill jobs")
    def jobs(self, row: Symbol) -> SafeString:
        url = reverse("admin:marketdata_backfilljob_changelist") + f"?symbol={quote(row.key)}"
        count = BackfillJob.objects.filter(symbol=row.key).count()
        return format_html('<a href="{}">{}</a>', url, marks.counted(count, "job"))

    # --- changes ---

    def save_model(self, request: HttpRequest, obj: Symbol, form: Any, change: bool) -> None:
        if change:  # the source's fields may have been refreshed since the page was opened
            obj.save(update_fields=form.changed_data)
            return
        obj.save(force_insert=True)
        if kept := sorted({one.interval for one in BarSeries.objects.filter(symbol=obj.key)}):
            self.message_user(request, f"Its stored bars ({', '.join(kept)}) were kept and go on.")
        self._enqueue(request, "refresh_symbols", [obj.key])

    def _enqueue(self, request: HttpRequest, task: str, *args: Any, **kwargs: Any) -> bool:
        """The work itself is a worker's; a lost store is said instead of shown as a failed page."""
        try:
            JobScheduler().enqueue(f"marketdata.tasks.{task}", *args, **kwargs)
        except InfrastructureError as error:
            self.message_user(request, str(error), messages.ERROR)
            return False
        return True

    @admin.action(description="Refresh information now", permissions=["change"])
    def refresh_information(self, request: HttpRequest, queryset: QuerySet[Symbol]) -> None:
        keys = [row.key for row in queryset]
        if self._enqueue(request, "refresh_symbols", keys):
            self.message_user(request, f"Information of {marks.counted(len(keys), 'symbol')} is being refreshed.")

    @admin.action(description="Pull new bars now", permissions=["change"])
    def pull_now(self, request: HttpRequest, queryset: QuerySet[Symbol]) -> None:
        rows = list(queryset)
        for name in INTERVALS:
            keys = [row.key for row in rows if name in row.collect_intervals]
            if keys and not self._enqueue(request, "pull_bars", name, only=keys):
                return
        self.message_user(request, f"New bars of {marks.counted(len(rows), 'symbol')} are being pulled.")

    @admin.action(description="Backfill…", permissions=["history"])
    def backfill(self, request: HttpRequest, queryset: QuerySet[Symbol]) -> HttpResponse:
        return self.ask(request, "history", selected(queryset))

    @admin.action(description="Activate", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Symbol]) -> None:
        retired = list(queryset.filter(active=False))
        for row in retired:
            self.log_change(request, row, "Activated.")
        count = queryset.filter(active=False).update(active=True)
        text = f"Activated {marks.counted(count, 'symbol')}: schedules and feed take them up within seconds."
        self.message_user(request, text if count else "Active already.")

    @admin.action(description="Retire…", permissions=["change"])
    def retire(self, request: HttpRequest, queryset: QuerySet[Symbol]) -> HttpResponse:
        return self.ask(request, "retire", selected(queryset))

    @admin.action(description="Delete…", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Symbol]) -> HttpResponse:
        """In the place of Django's own, which knows nothing of what belongs to a symbol."""
        return self.ask(request, "delete", selected(queryset))
