"""Outgoing HTTP."""

from infrastructure.http_client.client import HttpClient, HttpConfig, HttpRejected, Response, retry_after_s
from infrastructure.http_client.connections import resolved

__all__ = ["HttpClient", "HttpConfig", "HttpRejected", "Response", "resolved", "retry_after_s"]
