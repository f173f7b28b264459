"""Outgoing HTTP."""

from infrastructure.http_client.client import HttpClient, HttpConfig, HttpRejected, Response

__all__ = ["HttpClient", "HttpConfig", "HttpRejected", "Response"]
