"""Keys by which programs get in: `md_<id>_<secret>`. Only a digest of the secret is stored; the id is shown.

The secret has 256 random bits, so a plain digest guards it: there is nothing to guess.
"""

import hashlib
import re
import secrets
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.crypto import constant_time_compare

from infrastructure.persistence import mongodb_errors
from marketdata.models import ApiKey

ID_BYTES, SECRET_BYTES = 6, 32
NOTED_EVERY = timedelta(hours=1)  # the time of its last use is kept this roughly: reading must not mean writing
_KEY = re.compile(r"md_([0-9a-f]{12})_([\w-]{43})", re.ASCII)


@mongodb_errors()
def create(user: Any, name: str) -> tuple[ApiKey, str]:
    """The stored key, and its text, which nobody can ever see again."""
    identity, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey.objects.create(id=identity, name=name, user=user, secret_digest=_digest(secret))
    return key, f"md_{identity}_{secret}"


@mongodb_errors()
def find(text: str) -> ApiKey | None:
    """The key that may be used now, and whose account may; else None, whatever the reason."""
    match = _KEY.fullmatch(text)
    key = ApiKey.objects.select_related("user").filter(pk=match[1]).first() if match else None
    digest = key.secret_digest if key else ""
    if match is None or not constant_time_compare(digest, _digest(match[2])):
        return None
    if key is None or key.revoked_at is not None or not key.user.is_active:
        return None
    _note_use(key)
    return key


def valid_ids(ids: list[str]) -> set[str]:
    """Those that are not revoked. Not translated: for callers that ask the database for more."""
    return set(ApiKey.objects.filter(pk__in=ids, revoked_at=None).values_list("pk", flat=True))


def _note_use(key: ApiKey) -> None:
    now = timezone.now()
    if key.used_at is None or now - key.used_at > NOTED_EVERY:
        ApiKey.objects.filter(pk=key.pk).update(used_at=now)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
