"""Schedules and what became of their runs. Django-Q's own pages, made for an operator: no code path can be typed in."""

from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from infrastructure.errors import InfrastructureError
from infrastructure.scheduling import JobScheduler
from marketdata.admin import marks, queues
from marketdata.admin.buttons import ButtonsAdmin
from marketdata.admin.reading import ReadOnlyAdmin

Schedule = apps.get_model("django_q", "Schedule")
Success = apps.get_model("django_q", "Success")
Failure = apps.get_model("django_q", "Failure")


HELP = {
    "cron": "minute, hour, day, month, weekday and (if given) second, in UTC: */5 * * * * 11 is every five minutes",
    "minutes": "from one run to the next",
}


class ScheduleForm(forms.ModelForm):
    """When, and whether: what it runs is the platform's own."""

    enabled = forms.BooleanField(required=False)

    class Meta:
        model = Schedule
        fields = ("cron", "minutes")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["enabled"].initial = self.instance.repeats != 0
        unused = "minutes" if self.instance.schedule_type == Schedule.CRON else "cron"
        self.fields.pop(unused, None)
        for field, said in HELP.items():
            if field in self.fields:
                self.fields[field].required, self.fields[field].help_text = True, said

    def clean_minutes(self) -> int:
        minutes = self.cleaned_data["minutes"]
        if minutes < 1:
            raise ValidationError("At least one minute.")
        return int(minutes)


class ScheduleChangeList(ChangeList):
    """Asks once for the last results of all schedules."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        known = {one.name: one for one in JobScheduler().schedules()}
        for row in rows:
            row.info = known.get(row.name)
        self.result_list = rows


class ScheduleAdmin(ButtonsAdmin):
    form = ScheduleForm
    list_display = ("name", "enabled", "every", "cluster", "next_run", "last_run", "result")
    search_fields = ("name", "func")
    readonly_fields = ("name", "func", "args", "kwargs", "cluster", "next_run")
    actions = ("run_now",)
    change_list_template = "marketdata/admin/schedules.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ScheduleChangeList

    def get_urls(self) -> list[URLPattern]:
        shown = self.admin_site.admin_view(queues.show)
        return [path("queues/", shown, {"page": self}, "queues"), *super().get_urls()]

    def buttons(self, obj: Any) -> tuple[str, ...]:
        return ("run_now",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        timing = "cron" if obj and obj.schedule_type == Schedule.CRON else "minutes"
        editable = ("enabled", timing) if self.has_change_permission(request, obj) else (timing,)
        return (*self.readonly_fields, *editable)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a schedule names code: `manage.py prepare` makes them

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # disable it instead

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.repeats = -1 if form.cleaned_data["enabled"] else 0
        # Not the whole row: the ticker may have moved `next_run` on since the page was opened.
        obj.save(update_fields=["repeats", *(name for name in form.changed_data if name != "enabled")])

    @admin.display(boolean=True)
    def enabled(self, row: Any) -> bool:
        return bool(row.repeats != 0)

    @admin.display
    def every(self, row: Any) -> str:
        return str(row.cron) if row.schedule_type == Schedule.CRON else f"{row.minutes} min"

    @admin.display
    def last_run(self, row: Any) -> Any:
        return row.info and row.info.last_run_at

    @admin.display
    def result(self, row: Any) -> SafeString | str:
        if row.info is None or row.info.last_success is None:
            return marks.NEVER
        if row.info.last_success:
            return marks.mark("fresh", "success")
        return format_html("{} {}", marks.mark("failed"), str(row.info.last_error)[:200])

    @admin.action(description="Run now", permissions=["change"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        try:
            for row in queryset:
                JobScheduler().run_now(row.name)
                self.log_change(request, row, "Run now.")
        except InfrastructureError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(request, f"Queued {marks.counted(queryset.count(), 'run')}.", messages.SUCCESS)


class ResultAdmin(ReadOnlyAdmin):
    list_display = ("task", "started", "took", "cluster", "outcome")
    list_filter = ("group", "cluster")
    search_fields = ("name", "func")
    fields = ("name", "func", "cluster", "started", "stopped", "attempt_count", "arguments", "outcome")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(success=self.model is Success)

    @admin.display(ordering="group")
    def task(self, row: Any) -> str:
        """The schedule, or the function."""
        return str(row.group or row.func)

    @admin.display
    def took(self, row: Any) -> str:
        return f"{(row.stopped - row.started).total_seconds():.1f} s"

    @admin.display
    def arguments(self, row: Any) -> str:
        return f"{row.args!r} {row.kwargs!r}"

    @admin.display(description="result")
    def outcome(self, row: Any) -> str:
        return str(row.result).partition(" : Traceback")[0][:500]


for model, page in ((Schedule, ScheduleAdmin), (Success, ResultAdmin), (Failure, ResultAdmin)):
    if admin.site.is_registered(model):  # by django_q itself
        admin.site.unregister(model)
    admin.site.register(model, page)
