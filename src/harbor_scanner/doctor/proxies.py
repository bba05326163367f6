"""Which proxy leads where, as programs written in Go see it and as this service does.

Scanners are written in Go, or taken to be. Go's rule is that of golang.org/x/net/http/httpproxy; the service's own
downloads go by that of the library that makes them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from harbor_scanner.doctor.check import Area, Verdict
from harbor_scanner.settings import mask_user

PROXIES = Area("proxies")

_PORTS = {"http": "80", "https": "443"}
_SCHEMES = {"http", "https", "socks5", "socks5h"}
_INTERNAL = re.compile(r"[^.:]+|.+\.(?:svc|local|internal|intranet|lan|corp|home\.arpa)(?:\..*)?", re.IGNORECASE)
"""Names that only an own network knows: those without a dot, and what is reserved or usual for it."""


class Contact(NamedTuple):
    """A server that this machine must reach."""

    whom: str
    url: str
    """Without user and password."""
    proxy: str
    """By which it is reached; empty if directly."""
    otherwise: str | None = None
    """What the service's own connections would take, where scanners and the service both ask this server."""


def go_proxy(url: str, environment: Mapping[str, str]) -> str:
    """Return the proxy by which a program written in Go reaches `url`; empty if it goes there directly."""
    parts = urlsplit(url)
    host, port = (parts.hostname or "").lower(), str(parts.port or _PORTS.get(parts.scheme, ""))
    variable = {"http": "HTTP_PROXY", "https": "HTTPS_PROXY"}.get(parts.scheme, "")
    proxy = _either(environment, variable)
    if not proxy or host == "localhost":
        return ""
    address = _address(host)
    if address is not None and address.is_loopback:
        return ""
    entries = [entry.strip().lower() for entry in _either(environment, "NO_PROXY").split(",")]
    if "*" in entries or any(entry and _excepted(entry, host, port, address) for entry in entries):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def own_proxy(url: str) -> str:
    """Return the proxy by which the service itself reaches `url`, by the environment; empty if directly."""
    import httpx2  # noqa: PLC0415
    from httpx2._utils import URLPattern, get_environment_proxies  # noqa: PLC0415 - the rule itself is not public

    rules = {URLPattern(pattern): proxy for pattern, proxy in get_environment_proxies().items()}
    wanted = httpx2.URL(url)
    return next((rules[pattern] or "" for pattern in sorted(rules) if pattern.matches(wanted)), "")


async def look(environment: Mapping[str, str], contacts: list[Contact]) -> AsyncIterator[Verdict]:
    """Yield what is to be said of the variables, and of the way to each server that was asked."""
    variables = {
        name: value
        for name, value in environment.items()
        if re.fullmatch("(https?|all|no)_proxy", name, re.IGNORECASE) and value
    }
    if not any(name.lower() != "no_proxy" for name in variables):
        yield PROXIES.ok("variables", "No proxy is set: every server is reached directly.")
        return
    troubles = [*_odd_variables(variables), *_odd_exceptions(_either(environment, "NO_PROXY"))]
    for trouble in troubles:
        yield trouble
    if not troubles:
        yield PROXIES.ok("variables", f"{', '.join(sorted(variables))} can be read.")
    for contact in dict.fromkeys(contacts):
        yield _way(contact)


def _way(contact: Contact) -> Verdict:
    host = urlsplit(contact.url).hostname or ""
    way = f"by the proxy {mask_user(contact.proxy)}" if contact.proxy else "directly"
    what = f"{contact.whom} ({contact.url}) is reached {way}"
    if contact.otherwise is not None and bool(contact.otherwise) != bool(contact.proxy):
        other = f"by the proxy {mask_user(contact.otherwise)}" if contact.otherwise else "directly"
        return PROXIES.warning(
            "way", f"{what} by scanners, but {other} by the service itself.",
            f"Write {host} into NO_PROXY as it is, without port or stars, if it is to be reached directly; set "
            "HTTP_PROXY and HTTPS_PROXY instead of ALL_PROXY, which scanners do not know.",
        )  # fmt: skip
    if contact.proxy and _is_internal(host):
        return PROXIES.warning(
            "way", f"{what}, though it looks like one of your own network.",
            f"Add {host} to NO_PROXY of the service if no proxy should be asked for it.",
        )  # fmt: skip
    return PROXIES.ok("way", f"{what}.")


def _odd_variables(variables: Mapping[str, str]) -> Iterator[Verdict]:
    for name, value in sorted(variables.items()):
        if name.lower() == "no_proxy":
            continue
        try:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            good = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            good = False
        if not good:
            yield PROXIES.failure(
                "variables", f"{name} is no address of a proxy: {mask_user(value)!r}.",
                f"Let {name} be a URL such as http://proxy.example:3128.",
            )  # fmt: skip
    for name in sorted({name.upper() for name in variables}):
        if len({value for other, value in variables.items() if other.upper() == name}) > 1:
            yield PROXIES.warning(
                "variables", f"{name} and {name.lower()} differ: scanners take the first, the service the second.",
                "Give both the same value, or set only one.",
            )  # fmt: skip
    upper = {name.upper() for name in variables}
    if "ALL_PROXY" in upper and not {"HTTP_PROXY", "HTTPS_PROXY"} <= upper:
        yield PROXIES.warning(
            "variables", "ALL_PROXY is set, which programs written in Go do not know: scanners go without a proxy.",
            "Set HTTP_PROXY and HTTPS_PROXY too.",
        )  # fmt: skip


def _odd_exceptions(no_proxy: str) -> Iterator[Verdict]:
    for entry in filter(None, (entry.strip() for entry in no_proxy.split(","))):
        bare = entry.removeprefix("*.")
        problem = ""
        if re.search(r"[\s;]", entry):
            problem = "entries are separated by commas only"
        elif "://" in entry:
            problem = "scanners ignore entries that are URLs"
        elif "*" in bare and entry != "*":
            problem = "a star is known only alone, or at the beginning before a dot"
        elif "/" in entry and not _is_network(entry):
            problem = "it is no network"
        elif not _is_network(entry) and re.fullmatch(r"[^:\[\]]+:\d+|\[.*\]:\d+", entry):
            problem = "with a port it is read in different ways by scanners and by the service"
        if problem:
            yield PROXIES.warning(
                "variables", f"NO_PROXY has {entry!r}: {problem}.",
                "Write names, addresses, networks (10.0.0.0/8) or .domains, with commas between.",
            )  # fmt: skip


def _either(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower()) or ""


def _excepted(entry: str, host: str, port: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """Whether an entry of NO_PROXY is about a host, by Go's rule."""
    if "/" in entry and _is_network(entry):
        return address is not None and address in ipaddress.ip_network(entry, strict=False)
    name, at_port = entry, ""
    if found := re.fullmatch(r"\[(.*)\]:([^:]*)|([^:\[\]]*):([^:]*)", entry):
        name, at_port = found[1] or found[3] or "", found[2] or found[4] or ""
    if not name or (at_port and at_port != port):
        return False
    if (known := _address(name)) is not None or address is not None:
        return known is not None and known == address
    dotted = name.removeprefix("*") if name.startswith("*.") else name
    if dotted.startswith("."):
        return host.endswith(dotted)
    return host == dotted or host.endswith(f".{dotted}")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_internal(host: str) -> bool:
    address = _address(host)
    return address.is_private if address is not None else _INTERNAL.fullmatch(host) is not None
