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
    index_template = "marketdata/admin/index.html"

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {
            "overview": overview(to_ms(timezone.now())),
            "source": settings.MARKETDATA_SOURCE,
            **(extra_context or {}),
        }
        return super().index(request, context)
