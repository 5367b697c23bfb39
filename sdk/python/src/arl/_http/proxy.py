"""Which proxy a request takes: the one that kubectl and Go programs would take.

The proxy-url of a kubeconfig comes first and has no exceptions. Otherwise it is
HTTPS_PROXY or HTTP_PROXY, by the scheme of the server's address, unless NO_PROXY
names the server or the server is on this machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from arl.errors import ConfigError

DEFAULT_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str, explicit: str | None = None, environ: Mapping[str, str] | None = None) -> str | None:
    """Returns the URL of the proxy for a server's URL, or None to connect directly.

    Raises ConfigError for a proxy that is neither http nor https.
    """
    if explicit:
        return _checked(explicit, "proxy-url of the kubeconfig")
    environ = os.environ if environ is None else environ
    parts = urlsplit(url)
    variable = f"{parts.scheme.upper()}_PROXY"
    proxy = _either(environ, variable)
    host = (parts.hostname or "").lower()
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    if not proxy or is_local(host) or is_exempt(host, port, _either(environ, "NO_PROXY")):
        return None
    return _checked(proxy, variable)


def is_local(host: str) -> bool:
    """Returns whether a host is this machine, which no proxy can reach for it."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Returns whether NO_PROXY names a host.

    Its entries, separated by commas, are addresses, blocks of addresses in CIDR
    notation, `example.com` (with its subdomains), `.example.com` and
    `*.example.com` (subdomains alone), each but the blocks with an optional port,
    and `*` for everything.
    """
    return any(_matches(entry.strip().lower(), host, port) for entry in no_proxy.split(","))


def _matches(entry: str, host: str, port: int) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    if "/" in entry:
        return _in_block(entry, host)
    name, wanted_port = _split_port(entry)
    if wanted_port not in ("", str(port)):
        return False
    address, named = _address(host), _address(name)
    if named is not None or address is not None:
        return named == address
    name = name.removeprefix("*")
    return host.endswith(name) if name.startswith(".") else bool(name) and f".{host}".endswith(f".{name}")


def _in_block(block: str, host: str) -> bool:
    address = _address(host)
    try:
        return address is not None and address in ip_network(block, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, str]:
    """Splits host:port and [IPv6]:port; an IPv6 address alone has no port."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _either(environ: Mapping[str, str], name: str) -> str:
    """Returns a variable in upper case or, if that is not set, in lower case."""
    return environ.get(name) or environ.get(name.lower()) or ""


def _checked(proxy: str, where: str) -> str:
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    parts = urlsplit(proxy)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        raise ConfigError(
            f"{where}: the proxy {shown} cannot be used: only http and https proxies can. Name one of those, or name "
            "the server in NO_PROXY"
        )
    return proxy
