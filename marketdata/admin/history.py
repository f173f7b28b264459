"""What the stores hold: quotes, series with their newest bars, chunks of one series, the state of pulls. Read only."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from infrastructure.errors import InfrastructureError
from infrastructure.intervals import parse_interval
from infrastructure.persistence import Series
from infrastructure.times import to_ms
from marketdata.admin import marks
from marketdata.admin.reading import ReadOnlyAdmin
from marketdata.models import BarChunk, BarSeries, Pull, Quote
from marketdata.services import coverage, overview
from marketdata.services.series import store

NEWEST_BARS = 20
STRETCHES = 20  # of covered time, shown on a page


@admin.register(Quote)
class QuoteAdmin(ReadOnlyAdmin):
    list_display = ("symbol", "last", "age", "change_percent", "bid", "ask", "volume", "session", "venue")
    search_fields = ("symbol", "description")
    list_filter = ("session", "update_mode")

    @admin.display
    def age(self, row: Quote) -> str:
        return marks.age(to_ms(row.updated_at), to_ms(timezone.now()))


@admin.register(Pull)
class PullAdmin(ReadOnlyAdmin):
    list_display = ("symbol", "interval", "reached", "tried_at", "bars", "corrected", "error")
    list_filter = ("interval", ("error", admin.EmptyFieldListFilter))
    search_fields = ("symbol", "error")
    fields = ("symbol", "interval", "reached", "tried_at", "bars", "corrected", "error")

    @admin.display(description="newest bar pulled", ordering="reached_ms")
    def reached(self, row: Pull) -> str:
        return marks.moment(row.reached_ms)


class SeriesChangeList(ChangeList):
    """Asks once which of the series on the page wait to be loaded anew."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        factors = overview.rebased([row.pk for row in rows])
        for row in rows:
            row.factor = factors.get(row.pk)
        self.result_list = rows


@admin.register(BarSeries)
class BarSeriesAdmin(ReadOnlyAdmin):
    list_display = (
        "symbol",
        "interval",
        "adjustment",
        "session",
        "first_bar",
        "last_bar",
        "age",
        "state",
        "updated_at",
    )
    list_filter = ("interval", "adjustment", "session")
    search_fields = ("symbol",)
    fields = (
        "symbol", "interval", "adjustment", "session", "id", "revision", "span", "first_bar", "last_bar", "updated_at",
        "count", "state", "covered", "source_end", "chunks", "newest",
    )  # fmt: skip

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SeriesChangeList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> BarSeries | None:
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            found.factor = overview.rebased([found.pk]).get(found.pk)
        return found

    @admin.display
    def state(self, row: BarSeries) -> SafeString | str:
        if row.factor is None:  # type: ignore[attr-defined]
            return marks.NEVER
        why = f"Its source multiplied all prices by {row.factor:g}; a job loads it anew."  # type: ignore[attr-defined]
        return marks.mark("stale", "rebased", why)

    @admin.display(description="asked for and received")
    def covered(self, row: BarSeries) -> SafeString | str:
        ranges = coverage.store().of(_series(row)).ranges
        shown = ((marks.moment(low), marks.moment(high)) for low, high in ranges[-STRETCHES:][::-1])
        more = "" if len(ranges) <= STRETCHES else f", and {len(ranges) - STRETCHES:,} earlier stretches"
        return format_html("{}{}", format_html_join(SafeString("<br>"), "{} – {}", shown), more) or marks.NEVER

    @admin.display(description="source ends")
    def source_end(self, row: BarSeries) -> str:
        known = coverage.store().of(_series(row))
        why = {"end": "it has nothing before", "limit": "its plan gives nothing before"}.get(known.ended)
        return f"{why} {marks.moment(known.ended_ms)}, as of {known.ended_at:%Y-%m-%d}" if why else "not reached yet"

    @admin.display(ordering="first_ms")
    def first_bar(self, row: BarSeries) -> str:
        return marks.moment(row.first_ms)

    @admin.display(ordering="last_ms")
    def last_bar(self, row: BarSeries) -> str:
        return marks.moment(row.last_ms)

    @admin.display
    def age(self, row: BarSeries) -> str:
        return marks.age(row.last_ms, to_ms(timezone.now()))

    @admin.display(description="time in one document")
    def span(self, row: BarSeries) -> str:
        return marks.counted(row.span_ms // (7 * 86_400_000), "week")

    @admin.display(description="bars")
    def count(self, row: BarSeries) -> str:
        return f"{store().count(_series(row)):,}"

    @admin.display(description="documents")
    def chunks(self, row: BarSeries) -> SafeString:
        return format_html('<a href="{}?series={}">show</a>', reverse("admin:marketdata_barchunk_changelist"), row.pk)

    @admin.display(description="newest bars")
    def newest(self, row: BarSeries) -> SafeString | str:
        """Decoded as every reader gets them; a damaged document is named."""
        try:
            bars = list(store().last(_series(row), NEWEST_BARS))
        except InfrastructureError as error:
            return str(error)
        rows = (
            (marks.moment(bar.time_ms), *map(repr, (bar.open, bar.high, bar.low, bar.close, bar.volume)))
            for bar in reversed(bars)
        )
        cells = format_html_join("", f"<tr>{'<td>{}</td>' * 6}</tr>", rows)
        heads = format_html_join("", "<th>{}</th>", ((text,) for text in ("open at (UTC)", *"OHLCV")))
        return format_html('<table class="newest"><tr>{}</tr>{}</table>', heads, cells)


def _series(row: BarSeries) -> Series:
    return Series(
        row.id, row.symbol, parse_interval(row.interval), row.adjustment, row.session, row.revision, row.span_ms
    )


@admin.register(BarChunk)
class BarChunkAdmin(ReadOnlyAdmin):
    """The largest collection: listed for one series at a time, found by the range of its ids."""

    list_display = ("id", "starts", "ends", "n", "rev")
    list_filter = ()
    fields = ("id", "series", "revision", "starts", "ends", "n", "rev")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if "series" not in request.GET:
            listed = reverse("admin:marketdata_barseries_changelist")
            text = format_html('Documents are listed for one series at a time: open <a href="{}">one</a>.', listed)
            self.message_user(request, text, messages.INFO)
        return super().changelist_view(request, extra_context)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BarChunk]:
        rows: QuerySet[BarChunk] = super().get_queryset(request)
        match = request.resolver_match
        if match is None or not (match.url_name or "").endswith("_changelist"):
            return rows
        series = request.GET.get("series", "")
        return rows.filter(pk__gte=f"{series}:", pk__lt=f"{series};") if series else rows.none()

    @admin.display(ordering="start_ms")
    def starts(self, row: BarChunk) -> str:
        return marks.moment(row.start_ms)

    @admin.display(ordering="end_ms")
    def ends(self, row: BarChunk) -> str:
        return marks.moment(row.end_ms)
