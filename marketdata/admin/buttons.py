"""Actions of a list that the page of one object offers as buttons too, with the same permissions and messages."""

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from marketdata.admin.reading import PlatformAdmin


class ButtonsAdmin(PlatformAdmin):
    change_form_template = "marketdata/admin/change_form.html"

    def buttons(self, obj: Any) -> Iterable[str]:
        """The names of the actions that make sense for this object as it is."""
        return ()

    def get_urls(self) -> list[URLPattern]:
        act = self.admin_site.admin_view(self.act)
        return [path("<path:object_id>/do/<str:action>/", act, name=f"{self._name}_do"), *super().get_urls()]

    @property
    def _name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def act(self, request: HttpRequest, object_id: str, action: str) -> HttpResponse:
        """One action on one object; back to its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        found: Any = self.get_actions(request).get(action)
        if found is None:
            raise PermissionDenied
        chosen = self.get_queryset(request).filter(pk=unquote(object_id))
        if not chosen.exists():
            raise Http404
        answer = found[0](self, request, chosen)
        return answer or HttpResponseRedirect(reverse(f"admin:{self._name}_change", args=[object_id]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj: Any = self.get_object(request, unquote(object_id)) if self.has_view_permission(request) else None
        allowed: dict[str, Any] = self.get_actions(request)
        shown = [
            (reverse(f"admin:{self._name}_do", args=[quote(obj.pk), name]), allowed[name][2])
            for name in (self.buttons(obj) if obj is not None else ())
            if name in allowed
        ]
        return super().change_view(request, object_id, form_url, {"buttons": shown, **(extra_context or {})})
