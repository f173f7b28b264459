"""Which IP addresses a webhook may be sent to: turns a host into the vetted addresses to connect to, or raises.

A receiver's URL is typed in by a user, and must not become a way into our own network (SSRF). `HttpClient` connects to
exactly the addresses returned here, so a name cannot point elsewhere between check and connection.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from infrastructure.errors import Rejected
from infrastructure.http_client import resolved

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that is given out of IPv6; `is_global` also holds for fec0::/10
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation, or single addresses; Rejected, naming the one that is neither."""
    networks = []
    for text in texts:
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise Rejected(f"{text!r} is no network of IP addresses: {error}.") from None
    return tuple(networks)


def embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that packets to an IPv6 address may end up at: v4-mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, IPv6Address):
        yield from (inner for inner in (address.ipv4_mapped, address.sixtofour) if inner is not None)
        yield from address.teredo or ()
        if any(address in network for network in _NAT64):
            yield IPv4Address(int(address) & 0xFFFFFFFF)


def is_public(address: Address) -> bool:
    inner = tuple(embedded(address))
    if inner:
        return all(is_public(part) for part in inner)
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class WebhookAddresses:
    """Called by the connections of an `HttpClient`. `allowed` networks are permitted although they are not public."""

    def __init__(
        self, allowed: Sequence[Network] = (), resolve: Callable[[str, int], Sequence[str]] = resolved
    ) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve

    def __call__(self, host: str, port: int) -> list[str]:
        """Every address of the host. Rejected where one of them is not permitted: a choice would be a gamble."""
        addresses = self._resolve(host, port)
        for text in addresses:
            if not self.permits(ip_address(text)):
                raise Rejected(
                    f"{host} leads to {text}, which is not a public address; WEBHOOK_ALLOWED_NETWORKS can permit it."
                )
        return list(addresses)

    def permits(self, address: Address) -> bool:
        parts = tuple(embedded(address)) or (address,)
        return is_public(address) or all(any(part in network for network in self._allowed) for part in parts)
