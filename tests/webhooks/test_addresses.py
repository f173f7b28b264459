from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.errors import Rejected
from infrastructure.webhooks.addresses import WebhookAddresses, is_public, parse_networks

REFUSED = [
    "127.0.0.1", "127.255.255.254", "0.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "100.127.255.254", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1", "5f00::1",
    "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::80ff:fffe",
    "2001:0:808:808::80ff:fffe",  # Teredo: the server is public, the client 127.0.0.1
]  # fmt: skip
PERMITTED = ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
             "2002:808:808::1"]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PERMITTED)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4, network="0.0.0.0/0"))
def test_no_embedding_makes_an_address_more_public(address: IPv4Address) -> None:
    number = int(address)
    wrapped = [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        IPv6Address(0x2002 << 112 | number << 80),
        IPv6Address(int(IPv6Address("2001:0:808:808::")) | (number ^ 0xFFFFFFFF)),
    ]
    assert [is_public(outer) for outer in wrapped] == [is_public(address)] * 4


def guard(*addresses: str, allowed: tuple[str, ...] = ()) -> WebhookAddresses:
    return WebhookAddresses(parse_networks(allowed), lambda host, port: addresses)


def test_every_address_of_a_public_name_is_returned() -> None:
    assert guard("1.1.1.1", "2606:4700::1111")("one.example", 443) == ["1.1.1.1", "2606:4700::1111"]


@pytest.mark.parametrize("addresses", [("1.1.1.1", "10.0.0.1"), ("10.0.0.1", "1.1.1.1"), ("::1",)])
def test_one_address_inside_refuses_the_name(addresses: tuple[str, ...]) -> None:
    with pytest.raises(Rejected, match="which is not a public address; WEBHOOK_ALLOWED_NETWORKS can permit it"):
        guard(*addresses)("mixed.example", 443)


def test_an_allowed_network_permits_its_addresses_in_every_spelling_and_no_other() -> None:
    inside = guard("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", allowed=("10.0.0.0/8",))
    assert inside("receiver", 80) == ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"]
    for other in ("127.0.0.1", "192.168.0.1", "2001:0:a00:1::80ff:fffe"):
        with pytest.raises(Rejected):
            guard(other, allowed=("10.0.0.0/8",))("receiver", 80)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "0", "localhost", "[::1]", "::1",
     "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"],
)  # fmt: skip
def test_every_spelling_of_loopback_is_refused_by_the_real_resolver(host: str) -> None:
    with pytest.raises(Rejected, match="not a public address"):
        WebhookAddresses()(host, 80)


def test_networks_are_read() -> None:
    assert parse_networks(["10.0.0.0/8", "127.0.0.1", "fd00::/8"]) == (
        IPv4Network("10.0.0.0/8"),
        IPv4Network("127.0.0.1/32"),
        IPv6Network("fd00::/8"),
    )


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.*"])
def test_what_is_no_network_is_rejected(text: str) -> None:
    with pytest.raises(Rejected, match="is no network of IP addresses"):
        parse_networks(["127.0.0.1", text])
