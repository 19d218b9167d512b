"""Names as the site's own name servers answer them, not as this machine happens to."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from ipaddress import IPv4Address

import dns.exception
import dns.nameserver
import dns.resolver

from windlass.errors import UnreachableError

DNS_PORT = 53
# A live name server answers within milliseconds; one lost packet is asked again within the limit.
ONE_TRY = timedelta(seconds=1)
LIMIT = timedelta(seconds=5)


def resolve(
    name: str,
    nameservers: Sequence[IPv4Address],
    reach: Callable[[str, int], tuple[str, int]],
) -> tuple[IPv4Address, ...]:
    """Return the addresses of a name, sorted; none: the name servers say there is no such name.

    Raises:
        UnreachableError: no name server answered, or all that did were in trouble.
    """
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [
        dns.nameserver.Do53Nameserver(*reach(str(server), DNS_PORT)) for server in nameservers
    ]
    resolver.timeout = ONE_TRY.total_seconds()
    resolver.lifetime = LIMIT.total_seconds()
    try:
        answer = resolver.resolve(f"{name.rstrip('.')}.", "A", search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ()
    except dns.exception.DNSException as error:
        asked = ", ".join(map(str, nameservers))
        raise UnreachableError(f"no name server ({asked}) answered for {name}: {error}") from error
    return tuple(sorted(IPv4Address(record.to_text()) for record in answer))
