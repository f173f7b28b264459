"""Backfill jobs: ask for history, watch it come, stop it, let it go on."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from infrastructure.errors import InfrastructureError
from infrastructure.intervals import INTERVALS
from marketdata.admin import marks
from marketdata.admin.reading import PlatformAdmin
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill_jobs
from marketdata.services.backfill_jobs import STALLED, State

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
class BackfillJobAdmin(PlatformAdmin):
    form = BackfillJobForm
    list_display = ("__str__", "status", "progress", "back_to", "new", "corrected", "created_by", "created_at", "error")
    list_filter = ("state", "interval")
    search_fields = ("symbol", "error")
    actions = ("let_go_on", "pause", "cancel")

    def get_fields(self, request: HttpRequest, obj: BackfillJob | None = None) -> Any:
        if obj is None:
            return WISH
        return (
            *WISH, "status", "progress", "error", "ended", "received", "new", "corrected", "documents", "requests",
            "reached_at", "run", "failures", "created_by", "created_at", "started_at", "beat_at", "finished_at",
        )  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: BackfillJob | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    # --- columns ---

    @admin.display(ordering="state")
    def status(self, job: BackfillJob) -> SafeString:
        stalled = job.state == State.RUNNING and job.beat_at and job.beat_at < timezone.now() - STALLED
        return marks.mark("stalled" if stalled else job.state)

    @admin.display
    def progress(self, job: BackfillJob) -> SafeString:
        share = backfill_jobs.progress(job, timezone.now()).share
        total = "" if job.bars is None else f" of {job.bars:,}"
        return format_html(
            '<progress max="100" value="{}"></progress> {}{}', round(share * 100), f"{job.received:,}", total
        )

    @admin.display(description="back to", ordering="reached_at")
    def back_to(self, job: BackfillJob) -> str:
        return marks.NEVER if job.reached_at is None else f"{job.reached_at:%Y-%m-%d}"

    # --- changes ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Actions of the list change a job; on its page there is nothing to save."""
        nothing = dict.fromkeys(("show_save", "show_save_and_add_another", "show_save_and_continue"), False)
        return super().change_view(request, object_id, form_url, nothing | (extra_context or {}))

    def has_delete_permission(self, request: HttpRequest, obj: BackfillJob | None = None) -> bool:
        return False  # cancelled instead; a schedule deletes old ones

    def save_model(self, request: HttpRequest, obj: BackfillJob, form: Any, change: bool) -> None:
        if change:
            return
        obj.created_by = request.user  # type: ignore[assignment]  # staff only
        backfill_jobs.enqueue(obj)

    @admin.action(description="Let go on (paused, failed, cancelled)", permissions=["change"])
    def let_go_on(self, request: HttpRequest, queryset: QuerySet[BackfillJob]) -> None:
        self._each(request, queryset, backfill_jobs.requeue, "queued again")

    @admin.action(description="Pause", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[BackfillJob]) -> None:
        self._each(request, queryset, backfill_jobs.pause, "paused")

    @admin.action(description="Cancel", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[BackfillJob]) -> None:
        self._each(request, queryset, backfill_jobs.cancel, "cancelled")

    def _each(
        self, request: HttpRequest, queryset: QuerySet[BackfillJob], change: Callable[[BackfillJob], bool], done: str
    ) -> None:
        jobs = list(queryset)
        try:
            changed = [job for job in jobs if change(job)]
        except InfrastructureError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        for job in changed:
            self.log_change(request, job, f"{done.capitalize()}.")
        untouched = len(jobs) - len(changed)
        rest = f"; {untouched} in another state were left alone" if untouched else ""
        level = messages.WARNING if untouched else messages.SUCCESS
        self.message_user(request, f"{marks.counted(len(changed), 'job')} {done}{rest}.", level)
