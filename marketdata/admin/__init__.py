"""The operator's pages."""

from marketdata.admin import api_keys, findings, history, jobs, schedules, switch, symbols

__all__ = ["api_keys", "findings", "history", "jobs", "schedules", "switch", "symbols"]
