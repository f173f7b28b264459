"""Backfill jobs: ask for history, watch it come, stop it, let it go on."""

import math
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from infrastructure.errors import InfrastructureError
from infrastructure.intervals import INTERVALS
from marketdata.admin import marks
from marketdata.admin.buttons import ButtonsAdmin
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill_jobs
from marketdata.services.backfill_jobs import STALLED, State

REFRESH_S = 5
WISH = ("symbol", "interval", "bars", "start_at", "end_at")


class BackfillJobForm(forms.ModelForm):
    """A wish: the newest bars by number, or a range of time."""

    interval = forms.ChoiceField(choices=[(name, name) for name in INTERVALS], initial="1m")

    class Meta:
        model = BackfillJob
        fields = WISH

    def clean_symbol(self) -> str:
        key = self.cleaned_data["symbol"].strip().upper()
        if not Symbol.objects.filter(pk=key).exists():
            raise ValidationError(f"{key} is not a symbol of this platform: add it first.")
        return str(key)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        values = self.cleaned_data
        try:
            backfill_jobs.check_wish(values.get("bars"), values.get("start_at"), values.get("end_at"))
        except InfrastructureError as error:
            raise ValidationError(str(error)) from error
        return cleaned


@admin.register(BackfillJob)
class BackfillJobAdmin(ButtonsAdmin):
    form = BackfillJobForm
    list_display = ("__str__", "status", "progress", "back_to", "rate", "left", "error", "asked")
    list_filter = ("state", "interval")
    list_select_related = ("created_by",)
    search_fields = ("symbol", "error")
    actions = ("let_go_on", "pause", "cancel")

    def get_fields(self, request: HttpRequest, obj: BackfillJob | None = None) -> Any:
        if obj is None:
            return WISH
        return (
            "symbol", "interval", "wish", "status", "progress", "back_to", "rate", "left", "error", "ended", "received",
            "held", "new", "corrected", "documents", "requests", "force", "revision", "run", "failures", "created_by",
            "created_at", "started_at", "worked_s", "beat_at", "finished_at",
        )  # fmt: skip

    def get_fieldsets(self, request: HttpRequest, obj: BackfillJob | None = None) -> Any:
        said = "Either a number of bars, counted back from now, or a time to begin from. What is there costs nothing."
        return [(None, {"fields": self.get_fields(request, obj), "description": "" if obj else said})]

    def get_readonly_fields(self, request: HttpRequest, obj: BackfillJob | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    # --- columns ---

    @admin.display(ordering="state")
    def status(self, job: BackfillJob) -> SafeString:
        stalled = job.state == State.RUNNING and job.beat_at and job.beat_at < timezone.now() - STALLED
        return marks.mark("stalled", title="Nobody has worked on it for minutes.") if stalled else marks.mark(job.state)

    @admin.display
    def progress(self, job: BackfillJob) -> SafeString:
        """By bars or by time, whichever was wished for."""
        share = backfill_jobs.progress(job, timezone.now()).share
        done = f"{job.received:,} bars of {self.wish(job)}"
        if job.start_at is None and job.revision is None:
            done = f"{job.held + job.received:,} of {self.wish(job)}"
        bar = '<progress max="100" value="{}"></progress> {} %<div class="quiet">{}</div>'
        return format_html(bar, round(share * 100), math.floor(share * 100), done)

    @admin.display(description="wanted")
    def wish(self, job: BackfillJob) -> str:
        if job.revision is not None:
            return "the whole series, loaded anew"
        if job.start_at is None:
            return f"{job.bars or 0:,} bars"
        return f"{job.start_at:%Y-%m-%d} – {f'{job.end_at:%Y-%m-%d}' if job.end_at else 'now'}"

    @admin.display(description="back to", ordering="reached_at")
    def back_to(self, job: BackfillJob) -> str:
        return marks.NEVER if job.reached_at is None else f"{job.reached_at:%Y-%m-%d %H:%M}"

    @admin.display(description="bars/s")
    def rate(self, job: BackfillJob) -> str:
        rate = backfill_jobs.progress(job, timezone.now()).rate
        return marks.NEVER if rate is None else f"{rate:,.0f}"

    @admin.display(description="time left")
    def left(self, job: BackfillJob) -> str:
        """Of work: what a paused or queued one will take."""
        eta_s = backfill_jobs.progress(job, timezone.now()).eta_s
        return marks.NEVER if eta_s is None else marks.duration(eta_s)

    @admin.display(ordering="created_at", description="asked for")
    def asked(self, job: BackfillJob) -> SafeString:
        by = f"by {job.created_by}" if job.created_by else ""
        return format_html('{}<div class="quiet">{}</div>', f"{job.created_at:%Y-%m-%d %H:%M}", by)

    # --- changes ---

    def buttons(self, obj: BackfillJob) -> tuple[str, ...]:
        if obj.state in backfill_jobs.RESUMABLE:
            return ("let_go_on", "cancel") if obj.state == State.PAUSED else ("let_go_on",)
        return ("pause", "cancel") if obj.state in backfill_jobs.WAITING else ()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Buttons change a job, there is nothing to save; while it is worked on, the page loads itself anew."""
        job = self.get_object(request, unquote(object_id))
        shown: dict[str, Any] = dict.fromkeys(
            ("show_save", "show_save_and_add_another", "show_save_and_continue"), False
        )
        if job is not None and job.state in backfill_jobs.WAITING:
            shown["refresh_s"] = REFRESH_S
        return super().change_view(request, object_id, form_url, shown | (extra_context or {}))

    def has_delete_permission(self, request: HttpRequest, obj: BackfillJob | None = None) -> bool:
        return False  # cancelled instead; a schedule deletes old ones

    def save_model(self, request: HttpRequest, obj: BackfillJob, form: Any, change: bool) -> None:
        if change:
            return
        obj.created_by = request.user  # type: ignore[assignment]  # staff only
        backfill_jobs.enqueue(obj)

    @admin.action(description="Let go on", permissions=["change"])
    def let_go_on(self, request: HttpRequest, queryset: QuerySet[BackfillJob]) -> None:
        known = set(Symbol.objects.filter(pk__in=[job.symbol for job in queryset]).values_list("pk", flat=True))
        self._each(request, queryset, backfill_jobs.requeue, "queued again", known)

    @admin.action(description="Pause", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[BackfillJob]) -> None:
        self._each(request, queryset, backfill_jobs.pause, "paused")

    @admin.action(description="Cancel", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[BackfillJob]) -> None:
        self._each(request, queryset, backfill_jobs.cancel, "cancelled")

    def _each(
        self,
        request: HttpRequest,
        queryset: QuerySet[BackfillJob],
        change: Callable[[BackfillJob], bool],
        done: str,
        known: Collection[str] | None = None,
    ) -> None:
        """Says how many were changed, and of the others why not."""
        changed: list[BackfillJob] = []
        refused: Counter[str] = Counter()
        try:
            for job in queryset:
                if known is not None and job.symbol not in known:
                    refused["of a symbol that was deleted"] += 1
                elif change(job):
                    changed.append(job)
                else:
                    refused[str(job.state)] += 1
        except InfrastructureError as error:
            self.message_user(request, str(error), messages.ERROR)
        for job in changed:
            self.log_change(request, job, f"{done.capitalize()}.")
        why = ", ".join(f"{count} {reason}" for reason, count in refused.items())
        rest = f"; left alone: {why}" if refused else ""
        level = messages.WARNING if refused or not changed else messages.SUCCESS
        self.message_user(request, f"{marks.counted(len(changed), 'job')} {done}{rest}.", level)
