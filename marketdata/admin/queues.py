"""The queues of the workers: what waits, what runs, and the jobs that were given up, to be tried again or dropped.

A page of the schedules, whose permissions it has: whoever may see them sees it, whoever may change them may act."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from infrastructure.errors import InfrastructureError
from infrastructure.scheduling import JobScheduler
from marketdata.admin import marks
from marketdata.admin.reading import PlatformAdmin

AGAIN, DROP = "again", "drop"


def show(request: HttpRequest, page: PlatformAdmin) -> HttpResponse:
    """`page` is that of the schedules."""
    if not page.has_view_permission(request):
        raise PermissionDenied
    if request.method == "POST":
        if not page.has_change_permission(request):
            raise PermissionDenied
        _act(request, page)
        return HttpResponseRedirect(reverse("admin:queues"))
    sizes, dead = _read(request, page)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "opts": page.opts,
        "media": page.media,
        "title": "Queues",
        "sizes": sizes,
        "dead": dead,
        "may_act": page.has_change_permission(request),
    }
    return TemplateResponse(request, "marketdata/admin/queues.html", context)


def _read(request: HttpRequest, page: PlatformAdmin) -> tuple[Any, Any]:
    try:
        return JobScheduler().queue_sizes(), JobScheduler().dead_jobs()
    except InfrastructureError as error:
        page.message_user(request, str(error), messages.ERROR)
        return {}, []


def _act(request: HttpRequest, page: PlatformAdmin) -> None:
    """The chosen ones (each "queue key"), as far as they are still there."""
    again = request.POST.get("action") == AGAIN
    act = JobScheduler().try_again if again else JobScheduler().drop_dead
    chosen = [one.partition(" ") for one in request.POST.getlist("job")]
    if not chosen:
        page.message_user(request, "No job was chosen.", messages.WARNING)
        return
    try:
        done = sum(act(queue, key) for queue, _, key in chosen)
    except InfrastructureError as error:
        page.message_user(request, str(error), messages.ERROR)
        return
    gone = len(chosen) - done
    rest = f"; {gone} no longer among those given up" if gone else ""
    said = "queued again" if again else "dropped"
    level = messages.SUCCESS if done else messages.WARNING
    page.message_user(request, f"{marks.counted(done, 'job')} {said}{rest}.", level)
