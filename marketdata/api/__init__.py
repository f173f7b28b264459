"""The HTTP API for programs: read only, JSON, at /api/v1/. Same admission as the live page."""

from marketdata.api.routes import api

__all__ = ["api"]
