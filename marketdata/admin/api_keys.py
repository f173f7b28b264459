"""API keys: made here, shown once, revoked here. Nothing of one can be changed."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from marketdata.admin import marks
from marketdata.admin.reading import PlatformAdmin
from marketdata.models import ApiKey
from marketdata.services import api_keys


@admin.register(ApiKey)
class ApiKeyAdmin(PlatformAdmin):
    list_display = ("begins_with", "name", "user", "state", "created_at", "used_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("name",)
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return ("begins_with", "name", "user", "created_at", "used_at", "revoked_at") if obj else ("name", "user")

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return self.get_fields(request, obj) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # it would leave no trace: revoke it instead

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            return
        made, text = api_keys.create(obj.user, obj.name)
        obj.pk, obj.created_at = made.pk, made.created_at
        request.new_key = text  # type: ignore[attr-defined]  # for the answer to this request alone

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """The page with the key, instead of a way to somewhere else: a message would keep it in a cookie."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"API key {obj.name}",
            "key": request.new_key,  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "marketdata/admin/api_key.html", context)

    @admin.display(description="begins with", ordering="pk")
    def begins_with(self, row: ApiKey) -> str:
        return f"md_{row.pk}_…"

    @admin.display
    def state(self, row: ApiKey) -> SafeString:
        return marks.mark("failed", "revoked") if row.revoked_at else marks.mark("fresh", "valid")

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        valid = list(queryset.filter(revoked_at=None))
        queryset.filter(revoked_at=None).update(revoked_at=timezone.now())
        for key in valid:
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"{marks.counted(len(valid), 'key')} revoked; live connections end within a minute.")
