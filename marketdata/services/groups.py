"""The two groups of the platform: `viewer` sees, `operator` also runs it. Made after each migrate; a superuser manages
users. They always hold at least what stands here: for other rights, make other groups."""

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission

VIEWED = ("symbol", "quote", "barseries", "barchunk", "backfilljob", "pull", "upstreamswitch", "finding")
VIEWER = frozenset(f"view_{model}" for model in VIEWED)
OPERATOR = VIEWER | {
    "add_symbol",
    "change_symbol",
    "add_backfilljob",
    "change_backfilljob",
    "change_upstreamswitch",
    "delete_finding",
    "view_schedule",
    "change_schedule",
    "view_success",
    "view_failure",
}
GROUPS = {"viewer": VIEWER, "operator": OPERATOR}


def ensure(**_: Any) -> None:
    """Receiver of post_migrate."""
    labels = [config.label for config in apps.get_app_configs() if config.name in ("marketdata", "django_q")]
    known = {
        permission.codename: permission
        for permission in Permission.objects.filter(content_type__app_label__in=labels).select_related("content_type")
    }
    for name, codenames in GROUPS.items():
        group, _made = Group.objects.get_or_create(name=name)
        group.permissions.add(*(known[codename] for codename in codenames if codename in known))
