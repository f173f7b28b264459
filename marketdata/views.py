"""The live page; everything on it comes over the API and the live websocket."""

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.http import require_safe


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    if not (settings.ANONYMOUS_VIEWING or request.user.is_authenticated):
        return redirect_to_login(request.get_full_path(), reverse("login"))
    return render(request, "marketdata/live.html", {"simulated": settings.MARKETDATA_SOURCE == "simulator"})


@require_safe
def icon(request: HttpRequest) -> HttpResponse:
    """Browsers ask for it on every page that names none, as those of the admin."""
    return redirect(static("marketdata/icon.svg"))
