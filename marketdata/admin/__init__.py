"""The operator's pages."""

from marketdata.admin import history, jobs, schedules, switch, symbols

__all__ = ["history", "jobs", "schedules", "switch", "symbols"]
