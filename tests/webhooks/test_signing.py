import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks import Webhook

from infrastructure.errors import Rejected
from infrastructure.webhooks.signing import new_secret, signed_headers

# The example of the specification.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_example_of_the_specification_is_signed_as_it_says() -> None:
    assert signed_headers([SECRET], ID, AT, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


@pytest.mark.parametrize("hours", [-11, 5.5, 14])
def test_the_zone_of_the_time_does_not_matter(hours: float) -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=hours)))
    assert signed_headers([SECRET], ID, elsewhere, BODY) == signed_headers([SECRET], ID, AT, BODY)


def test_parts_of_a_second_are_cut_off() -> None:
    assert signed_headers([SECRET], ID, AT + timedelta(milliseconds=999), BODY) == signed_headers(
        [SECRET], ID, AT, BODY
    )


def test_two_secrets_give_two_signatures() -> None:
    second = new_secret()
    assert signed_headers([SECRET, second], ID, AT, BODY)["webhook-signature"] == (
        f"{SIGNATURE} {signed_headers([second], ID, AT, BODY)['webhook-signature']}"
    )


def test_the_signature_is_that_of_a_plain_hmac_over_any_text() -> None:
    body = '{"name":"삼성전자 😀"}'.encode()
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(key, b"a.1614265330." + body, hashlib.sha256).digest()
    headers = signed_headers([SECRET], "a", AT, body)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_a_new_secret_is_long_and_never_the_same() -> None:
    one, other = new_secret(), new_secret()
    assert one != other
    assert [len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in (one, other)] == [32, 32]
    now = datetime.now(UTC)
    assert Webhook(one).verify(b"{}", signed_headers([one], "a", now, b"{}")) == {}


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "secret",
        SECRET.removeprefix("whsec_"),
        "whsec_c2hvcnQ=",
        "whsec_" + "A" * 200,
        "whsec_not base64!!!",
    ],
)
def test_what_is_no_secret_is_rejected_and_not_repeated(secret: str) -> None:
    with pytest.raises(Rejected) as caught:
        signed_headers([secret], ID, AT, BODY)
    assert str(caught.value) == "A webhook secret is whsec_ and 24 to 64 bytes in base64."
