"""Signed events to the outside."""

from infrastructure.webhooks.dispatcher import Delivery, Event, WebhookDispatcher

__all__ = ["Delivery", "Event", "WebhookDispatcher"]
