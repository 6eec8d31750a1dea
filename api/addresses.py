"""Where a request comes from: the peer, or what proxies that are trusted say of it."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from litestar.types import Scope

NETWORK_BITS = 64
"""Of an IPv6 address: whoever has one address has all that begin so."""
UNKNOWN = "unknown"


class Proxies:
    """The proxies whose `X-Forwarded-For` is believed; nobody else's is."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        """`trusted`: addresses and networks, such as 10.0.0.0/8."""
        self._trusted = [ip_network(each, strict=False) for each in trusted]

    def __contains__(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self._trusted)

    def client_of(self, scope: Scope) -> str:
        """The address that a request comes from, as those are told apart that share limits."""
        client = scope.get("client")
        host = client[0] if client else UNKNOWN
        return network_of(self._behind(host, scope) if host in self else host)

    def _behind(self, proxy: str, scope: Scope) -> str:
        """Each proxy adds at the right whom it has seen; what a stranger says stands left of them."""
        told = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        host = proxy
        for part in reversed(",".join(told).split(",")):
            seen = _address(part.strip())
            if seen is None:
                break
            host = str(seen)
            if host not in self:
                break
        return host


@lru_cache(10_000)
def network_of(host: str) -> str:
    """A host as limits count it: an IPv4 address by itself, IPv6 by its network."""
    address = _address(host)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, NETWORK_BITS), strict=False))
    return host if address is None else str(address)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """None for what is no address; an IPv4 address that came by IPv6 is itself."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
