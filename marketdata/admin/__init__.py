"""The operator's pages."""

from marketdata.admin import findings, history, jobs, schedules, switch, symbols

__all__ = ["findings", "history", "jobs", "schedules", "switch", "symbols"]
