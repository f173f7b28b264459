from typing import Any

from django.core.management.base import BaseCommand

from marketdata.management.failures import one_sentence
from marketdata.services import setup


class Command(BaseCommand):
    help = "Migrates, makes indexes, groups, an admin account, schedules and (simulated) sample symbols; repeatable."
    requires_system_checks: list[str] = []  # nothing is there to be checked yet

    def handle(self, *args: Any, **options: Any) -> None:
        with one_sentence():
            setup.prepare(self._say)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
