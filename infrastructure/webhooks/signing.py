"""Standard Webhooks 1.0: turns the body of an event into the three headers that prove who sent it, and when."""

import base64
import binascii
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from infrastructure.errors import Rejected

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signed_headers(secrets_: Sequence[str], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """`at` is the time of this try, `message_id` stays the same over all tries; one signature per secret, for rotation.

    Rejected where a secret is none.
    """
    # The library writes UTC over whatever zone it is given, and would sign another moment than the header says.
    moment = at.astimezone(UTC)
    signatures = (_webhook(secret).sign(message_id, moment, body.decode()) for secret in secrets_)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _webhook(secret: str) -> Webhook:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise Rejected(f"A webhook secret is {PREFIX} and 24 to 64 bytes in base64.")
    return Webhook(secret)
