"""What is wrong with somebody's data: bars set aside with their reason, differences between series. Read and delete."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from marketdata.admin import marks
from marketdata.admin.reading import ReadOnlyAdmin
from marketdata.models import Finding


@admin.register(Finding)
class FindingAdmin(ReadOnlyAdmin):
    list_display = ("symbol", "interval", "kind", "bar", "reason", "shown_values", "seen", "seen_at")
    list_filter = ("kind", "interval", "symbol")
    search_fields = ("symbol", "reason")
    fields = (
        "symbol",
        "interval",
        "kind",
        "bar",
        "until",
        "reason",
        "shown_values",
        "seen",
        "first_seen_at",
        "seen_at",
    )
    actions = ("delete_selected",)  # type: ignore[assignment]  # the base has none

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whoever has looked into one may put it away."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    @admin.display(description="bar", ordering="first_ms")
    def bar(self, row: Finding) -> str:
        return marks.moment(row.first_ms)

    @admin.display(ordering="last_ms")
    def until(self, row: Finding) -> str:
        return marks.moment(row.last_ms)

    @admin.display(description="values")
    def shown_values(self, row: Finding) -> str:
        return "  ".join(f"{name} {value!r}" for name, value in zip("OHLCV", row.values, strict=False)) or marks.NEVER
