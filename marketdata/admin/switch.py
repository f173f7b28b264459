"""The switch over all traffic to the source: one page, on or off, who and why."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from marketdata.admin.reading import PlatformAdmin
from marketdata.models import UpstreamSwitch
from marketdata.services import upstream

SAID = (
    "Off, nothing more is sent to the source: within a second the feed disconnects, pulls are refused, backfill "
    "jobs are paused. What is stored stays readable. On again, pulls fetch what was missed; jobs are let go on by hand."
)


class UpstreamSwitchForm(forms.ModelForm):
    class Meta:
        model = UpstreamSwitch
        fields = ("on", "reason")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.cleaned_data.get("on") and not self.cleaned_data.get("reason"):
            raise ValidationError("Say why it is switched off: whoever finds it off will want to know.")
        return cleaned


@admin.register(UpstreamSwitch)
class UpstreamSwitchAdmin(PlatformAdmin):
    form = UpstreamSwitchForm
    fieldsets = ((None, {"fields": ("on", "reason", "changed_by", "changed_at"), "description": SAID}),)
    readonly_fields = ("changed_by", "changed_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UpstreamSwitch | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:marketdata_upstreamswitch_change", args=[upstream.KEY]))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> UpstreamSwitch | None:
        """On until somebody has switched it."""
        if object_id != upstream.KEY:
            return None
        return super().get_object(request, object_id, from_field) or UpstreamSwitch(key=upstream.KEY)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not settings.UPSTREAM:
            text = "UPSTREAM=off in the environment: nothing is sent to the source, whatever stands here."
            self.message_user(request, text, messages.WARNING)
        return super().change_view(request, object_id, form_url, {"title": "Upstream traffic", **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: UpstreamSwitch, form: Any, change: bool) -> None:
        upstream.turn(obj.on, request.user.get_username(), "" if obj.on else obj.reason)

    def response_change(self, request: HttpRequest, obj: UpstreamSwitch) -> HttpResponse:
        self.message_user(request, f"Upstream traffic is {obj}; every process follows within a second.")
        return HttpResponseRedirect(reverse("admin:index"))
