"""Sends one signed event to one receiver, once: turns it into a `Delivery` that says what came of it.

The caller keeps the queue, the schedule of tries and the list of receivers; nothing is raised for a failed delivery.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from django.conf import settings

from infrastructure.errors import InfrastructureError, Rejected, Unavailable
from infrastructure.http_client import HttpClient, HttpConfig, retry_after_s
from infrastructure.webhooks.addresses import WebhookAddresses, parse_networks
from infrastructure.webhooks.signing import signed_headers

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")  # a dot would move the border between the signed parts
_TYPE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True, slots=True)
class Event:
    """`id` and `at` belong to the event and stay the same over all tries: receivers drop what they have by its id."""

    id: str
    type: str
    at: datetime
    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id) or not _TYPE.fullmatch(self.type) or self.at.tzinfo is None:
            raise ValueError(f"no event: {self.id!r} {self.type!r} {self.at!r}")

    def body(self) -> bytes:
        content = {"type": self.type, "timestamp": self.at.astimezone(UTC).isoformat(), "data": self.data}
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one try. `gone`: the receiver wants no more events at all."""

    status: int | None  # None: there was no answer
    error: Literal["", "unavailable", "rejected", "malformed", "gone"]
    message: str  # one sentence for a person; empty where the event was delivered
    seconds: float
    retry_after_s: float | None = None

    @property
    def delivered(self) -> bool:
        return not self.error


class WebhookDispatcher:
    def __init__(self, http: HttpClient, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._http = http
        self._now = now

    @classmethod
    def from_settings(cls) -> Self:
        config = HttpConfig(
            deadline_s=15, try_s=15, connect_s=5, tries=1, user_agent="marketdata-platform-webhooks", trust_env=False
        )
        addresses = WebhookAddresses(parse_networks(settings.WEBHOOK_ALLOWED_NETWORKS))
        return cls(HttpClient(config, addresses=addresses))

    def send(self, url: str, secrets: Sequence[str], event: Event) -> Delivery:
        """One try, signed with each secret. Only a 2xx status is success; redirects are not followed."""
        start = time.monotonic()
        try:
            body = event.body()
            headers = signed_headers(secrets, event.id, self._now(), body)
            headers["Content-Type"] = "application/json"
            answer = self._http.send("POST", url, data=body, headers=headers)
        except InfrastructureError as failure:
            return Delivery(None, _kind(failure), str(failure), time.monotonic() - start)
        seconds = time.monotonic() - start
        if 200 <= answer.status < 300:
            return Delivery(answer.status, "", "", seconds)
        wait = retry_after_s(answer.headers.get("Retry-After", ""))
        return Delivery(
            answer.status, _refusal(answer.status), f"{answer.host} answered {answer.status}.", seconds, wait
        )

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _kind(failure: InfrastructureError) -> Literal["unavailable", "rejected", "malformed"]:
    if isinstance(failure, Unavailable):
        return "unavailable"
    return "rejected" if isinstance(failure, Rejected) else "malformed"


def _refusal(status: int) -> Literal["unavailable", "rejected", "gone"]:
    if status == 410:
        return "gone"
    return "unavailable" if status == 429 or status >= 500 else "rejected"
