"""`manage.py runserver` for development: daphne's, which serves websockets too.

Not by listing daphne as an app: every other command would then import Twisted at its start.
"""

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
