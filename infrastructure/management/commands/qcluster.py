"""`manage.py qcluster`: works off the queue that Q_CLUSTER_NAME names. Overrides Django-Q's command of that name."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from infrastructure.errors import Rejected
from infrastructure.scheduling import cluster


class Command(BaseCommand):
    help = "Runs queued jobs and fires schedules. Q_CLUSTER_NAME chooses the queue: pulls (default) or backfills."
    requires_system_checks = []  # they import every view; a worker needs none and starts in half the time without

    def handle(self, **options: Any) -> None:
        try:
            code = cluster.run()
        except Rejected as error:
            raise CommandError(f"Q_CLUSTER_NAME: {error}", returncode=2) from error
        if code:
            sys.exit(code)
