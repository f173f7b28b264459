"""The admin's front page: what runs, what is late, what waits for somebody. Named in `config.apps`."""

from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from infrastructure.times import to_ms
from marketdata.services.overview import overview


class PlatformAdminSite(AdminSite):
    site_header = site_title = "Market data platform"
    index_title = "Operation"
    enable_nav_sidebar = False  # the lists need the width; the front page holds the same links
    index_template = "marketdata/admin/index.html"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The platform's own pages before those of the packages it is made of."""
        return sorted(super().get_app_list(request, app_label), key=lambda app: app["app_label"] != "marketdata")

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {
            "overview": overview(to_ms(timezone.now())),
            "source": settings.MARKETDATA_SOURCE,
            **(extra_context or {}),
        }
        return super().index(request, context)
