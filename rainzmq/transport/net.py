"""Host names and TCP addresses: parsing, resolving within a time, telling whether two names mean one host."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
import time
from contextlib import suppress

import psutil

from rainzmq.common.errors import RainException

RESOLVE_TIMEOUT_S = 5.0

_LEAST_TRY_S = 0.2
"""Each address of a host gets so long to answer, however long those before it took."""


_NOWHERE = "192.0.2.1"
"""Kept for documentation: the way there is the way to the outer network."""

_FOR_CONTAINERS = ("docker", "br-", "virbr", "veth", "cni", "lxc", "podman")
"""Interfaces whose addresses only containers and machines within this one reach."""


def parse_address(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Host and port of "host", "host:port", "[ipv6]:port" or an IPv6 address.

    Raises:
        RainException: no host, no port where there is no default, or a port that is none.
    """
    host, port_text = text, ""
    scheme, is_url, rest = text.partition("://")
    if is_url:
        raise RainException(f"{text!r} is not an address: write it without {scheme}://, as {rest!r}")
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise RainException(f"{text!r} is not an address: expected [ipv6]:port")
        port_text = rest[1:]
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    if not host or any(char.isspace() or char == "/" for char in host):
        raise RainException(f"{text!r} is not an address: expected host, host:port or [ipv6]:port")
    if not port_text:
        if default_port is None or text.endswith(":"):
            raise RainException(f"{text!r} is not an address: the port is missing")
        return host, default_port
    if not (port_text.isascii() and port_text.isdigit() and int(port_text) < 65536):
        raise RainException(f"{text!r} is not an address: {port_text!r} is not a port (0 to 65535)")
    return host, int(port_text)


def format_address(host: str, port: int) -> str:
    """ "host:port", with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(host: str, timeout_s: float = RESOLVE_TIMEOUT_S) -> list[str]:
    """The numeric addresses of a host, IPv4 first; at least one.

    Raises:
        RainException: the name does not resolve, or not within `timeout_s` seconds.
    """
    if is_numeric(host):
        return [host]
    result: list[str] = []
    problem: list[str] = []

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = {str(item[4][0]): item[0] for item in found}
            result.extend(sorted(addresses, key=lambda address: addresses[address] != socket.AF_INET))
        except (OSError, UnicodeError) as error:
            problem.append(str(error.args[-1]) if error.args else str(error))

    # getaddrinfo has no time limit of its own, and a dead name server may cost half a minute.
    thread = threading.Thread(target=look_up, name="resolve", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if result:
        return result
    why = problem[0] if problem else f"no answer within {timeout_s:g} s"
    raise RainException(
        f"the host name {host!r} does not resolve ({why}); check its spelling and the network"
    )


def is_numeric(host: str) -> bool:
    """It is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """It is `localhost` or a numeric loopback address."""
    if is_numeric(host):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def is_this_host(host: str) -> bool:
    """The name or address belongs to this machine. False as well when it does not resolve."""
    if is_loopback(host) or host.lower() in (socket.gethostname().lower(), socket.getfqdn().lower()):
        return True
    if is_every_interface(host):
        return True
    try:
        addresses = resolve(host)
    except RainException:
        return False
    own = {item.address.partition("%")[0] for items in psutil.net_if_addrs().values() for item in items}
    return any(is_loopback(address) or address in own for address in addresses)


def is_same_host(one: str, other: str) -> bool:
    """Both names or addresses mean the same machine. False as well when one does not resolve."""
    if one.lower() == other.lower():
        return True
    if is_this_host(one):
        return is_this_host(other)
    try:
        return not set(resolve(one)).isdisjoint(resolve(other))
    except RainException:
        return False


def takes_connections(address: str, port: int, timeout_s: float) -> bool | None:
    """Whether the host of a numeric address takes a TCP connection or refuses it; None when it does
    neither.
    """
    try:
        socket.create_connection((address, port), timeout=timeout_s).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    except OSError:
        return None
    return True


def probe(host: str, port: int, timeout_s: float, hint: str = "") -> str:
    """The numeric address under which something takes TCP connections at host and port; errors end with
    `hint`.

    Raises:
        RainException: the name does not resolve, nothing listens there, or there is no answer in
        `timeout_s` seconds, all addresses of the name together.
    """
    where = format_address(host, port)
    problem: OSError | None = None
    deadline = time.monotonic() + timeout_s
    for address in resolve(host, timeout_s):
        left_s = max(deadline - time.monotonic(), _LEAST_TRY_S)
        try:
            socket.create_connection((address, port), timeout=left_s).close()
            return address
        except OSError as error:
            # A refusal says more than what another address of the same name may answer.
            if problem is None or not isinstance(problem, ConnectionRefusedError):
                problem = error
    if isinstance(problem, ConnectionRefusedError):
        raise RainException(
            f"no server at {where}: nothing listens there (connection refused). Is the server running? "
            f"`rainzmq server` starts one; check host and port{hint}"
        )
    if isinstance(problem, TimeoutError):
        raise RainException(
            f"no answer from {where} within {timeout_s:g} s: the host is down or a firewall drops the "
            f"connection{hint}"
        )
    raise RainException(f"{where} cannot be reached: {problem.strerror if problem else 'no address'}{hint}")


def bind_error(host: str, port: int, code: int, reason: str) -> RainException:
    """The error for a port that cannot be listened on; `code` is the errno."""
    where = format_address(host, port)
    if code == errno.EADDRINUSE:
        return RainException(
            f"port {port} of {host} is in use{_user_of(port)}; stop that process or choose another port "
            f"(0 takes any free one)"
        )
    if code in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return RainException(
            f"cannot listen on {where}: {host} is not an address of this machine; use 127.0.0.1 for this "
            f"machine "
            f"only, or the address of one of its network interfaces"
        )
    if code in (errno.EACCES, errno.EPERM):
        return RainException(
            f"cannot listen on {where}: permission denied; ports under 1024 are for root, choose a higher one"
        )
    return RainException(f"cannot listen on {where}: {reason}")


def _user_of(port: int) -> str:
    """ " by NAME (pid N)" of the process that listens on a port, as far as this user may know; else empty."""
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.laddr
                and connection.status == psutil.CONN_LISTEN
                and connection.laddr[1] == port
                and connection.pid
            ):
                command = " ".join(psutil.Process(connection.pid).cmdline())[:80]
                return f" by pid {connection.pid} ({command})"
    except psutil.Error:
        return ""
    return ""


def advertised_host(host: str) -> str:
    """The name under which other processes reach what listens on `host`: itself, or for an address that means
    all interfaces this machine's name, if that resolves, else the address that it uses towards the network,
    or that of any interface. A loopback address when there is no other.
    """
    if not is_every_interface(host):
        return host
    name = socket.gethostname()
    with suppress(RainException):
        if not any(is_loopback(address) for address in resolve(name)):
            return name
    towards = local_address_towards(_NOWHERE, 9)
    return towards if not is_loopback(towards) else next(iter(_own_addresses()), towards)


def is_every_interface(host: str) -> bool:
    """It stands for all addresses of this machine."""
    return host in ("0.0.0.0", "::", "*")


def _own_addresses() -> list[str]:
    """Addresses of this machine that others may reach it by, the likeliest first."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        (name.startswith(_FOR_CONTAINERS), item.family != socket.AF_INET, item.address)
        for name, items in psutil.net_if_addrs().items()
        for item in items
        if name in up and item.family in (socket.AF_INET, socket.AF_INET6)
    ]
    return [
        address
        for _, _, address in sorted(found)
        if "%" not in address and not ipaddress.ip_address(address).is_link_local and not is_loopback(address)
    ]


def local_address_towards(host: str, port: int) -> str:
    """The address of this machine that it uses towards another host, 127.0.0.1 when there is no way there.

    Raises:
        RainException: the name does not resolve.
    """
    address = resolve(host)[0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probing:
        try:
            # Connecting a datagram socket sends nothing; it only chooses the way.
            probing.connect((address, port))
        except OSError:
            return "127.0.0.1"
        return str(probing.getsockname()[0])
