"""Access files: what a process needs to connect to a server, readable by its owner only.

A server writes one when it starts: address, port, its public key, one key pair per role. The file is the
credential: who can read it may connect. So it is made with mode 0600 in a directory of mode 0700 whatever
the umask, and one that others can read is refused.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from rainzmq.common.errors import RainException
from rainzmq.common.limits import DEFAULT_PORT
from rainzmq.transport.keys import KeyPair, is_key
from rainzmq.transport.net import format_address, is_loopback, is_same_host, parse_address, resolve

ROLES = ("client", "worker", "viewer")

HOME_HINT = "set RAINZMQ_HOME to a directory that you can write to"
"""What to do when the home directory is of no use."""

_FORMAT = 1
_MAX_FILE_BYTES = 64 << 10
_START_TOLERANCE_S = 2.0
"""The start time of a process is computed from the clock, which may have been set since."""


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """Where the server's pages and its REST interface are, and the token that opens them."""

    host: str
    port: int
    token: str

    @property
    def url(self) -> str:
        """The address, without the token."""
        return f"http://{format_address(self.host, self.port)}"

    @property
    def link(self) -> str:
        """The address that opens the dashboard in a browser; it is a secret."""
        return f"{self.url}/?token={self.token}"


@dataclass(slots=True)
class Access:
    """How to connect to a server, and as whom.

    Attributes:
        address: host name or IP address that clients and workers connect to.
        port: its control port.
        server_public: CURVE public key of the server.
        keys: key pair of each role this file lets one take: "client", "worker", "viewer".
        cluster_id: random, the same for all processes of the cluster.
        pid: the server's process.
        started: when that process started, as `process_started` says; with `pid` it tells whether it still
        runs. path: the file it was read from or written to, None for neither. hostname: the machine the
        server runs on. http: where its dashboard is, None when it has none.
    """

    address: str
    port: int
    server_public: bytes
    keys: dict[str, KeyPair]
    cluster_id: int
    pid: int
    started: float
    path: Path | None = None
    hostname: str = field(default_factory=socket.gethostname)
    http: HttpAccess | None = None

    @property
    def hint(self) -> str:
        """What may be wrong when nothing answers at its address, for the end of an error; mostly empty."""
        if not is_loopback(self.address) or self.hostname == socket.gethostname():
            return ""
        return (
            f". The access file {self.path} says {self.address}, which is this machine here, but the server "
            f"runs on {self.hostname}: start it with --listen 0.0.0.0:PORT and --advertise HOST, the name or "
            "address by which other machines reach it, and copy the new access file"
        )

    def key(self, role: str) -> KeyPair:
        """The key pair of a role; RainException when the file has none."""
        if role not in self.keys:
            raise RainException(f"the access file {self.path} has no key for the role {role!r}")
        return self.keys[role]


def process_started(pid: int | None = None) -> float | None:
    """When a process (this one by default) started, seconds since the epoch; None when there is no such
    process.
    """
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def make_private(path: Path) -> None:
    """Make a directory and the missing ones above it, all with mode 0700 whatever the umask. One that is
    there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    make_private(path.parent)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)


def _user_home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise RainException(
            f"there is no home directory: HOME is not set, and the user with uid {os.getuid()} is unknown to "
            f"this machine; {HOME_HINT}"
        ) from None


def home() -> Path:
    """The directory of this user's rainzmq files, `$RAINZMQ_HOME` or `~/.rainzmq`; made with mode 0700 when
    missing.

    Raises:
        RainException: there is no home directory, it cannot be made, is not this user's, others can write
        to it, or RAINZMQ_HOME is not an absolute path.
    """
    text = os.environ.get("RAINZMQ_HOME")
    path = Path(text) if text else _user_home() / ".rainzmq"
    if not path.is_absolute():
        # Each program would look for servers in another directory, depending on where it is started.
        variable = "RAINZMQ_HOME" if text else "HOME"
        raise RainException(
            f"{variable} is {os.environ[variable]!r}, which is not an absolute path; set RAINZMQ_HOME to "
            f"one, such as {os.path.abspath(os.path.expanduser(path))}"
        )
    try:
        make_private(path)
        status = path.stat()
    except OSError as error:
        raise RainException(f"the directory {path} cannot be made: {error.strerror}; {HOME_HINT}") from None
    if status.st_uid != os.geteuid():
        raise RainException(
            f"{path} belongs to another user (uid {status.st_uid}); set RAINZMQ_HOME to one of yours"
        )
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise RainException(f"others can write to {path}; run `chmod 700 {path}`")
    return path


def write_access(access: Access, path: Path | None = None) -> Path:
    """Write an access file, atomically and readable by the owner only; sets `access.path`.

    `path` None means `home()/servers/HOST-PORT.json`.

    Raises:
        RainException: the file cannot be written.
    """
    is_given = path is not None
    if path is None:
        host = re.sub(r"[^A-Za-z0-9.-]", "_", access.address)
        path = home() / "servers" / f"{host}-{access.port}.json"
    content = json.dumps(_to_json(access), indent=1).encode()
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        make_private(path.parent)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            # The umask may have taken bits away; it cannot have added any.
            os.fchmod(descriptor, 0o600)
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        hint = "" if is_given else f"; {HOME_HINT}"
        raise RainException(f"the access file {path} cannot be written: {error.strerror}{hint}") from None
    access.path = path
    return path


def remove_access(access: Access) -> None:
    """Remove the file of a server that ends, unless another server has replaced it since. No error when it
    is gone.
    """
    if access.path is None:
        return
    with suppress(RainException):
        found = read_access(access.path)
        if (found.pid, found.cluster_id) == (access.pid, access.cluster_id):
            _unlink(access.path)


def read_access(path: Path | str) -> Access:
    """The content of an access file.

    Raises:
        RainException: it is missing, may not be read, can be read by others, or is not an access file.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        raise RainException(f"there is no access file {path}; is the server running?") from None
    except OSError as error:
        raise RainException(f"the access file {path} cannot be read: {error.strerror}") from None
    try:
        access = _from_json(json.loads(content), path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RainException(f"{path} is not an access file of rainzmq: {error!s:.100}") from None
    # Only now: nobody shall be told to change the mode of a file that is none of ours.
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise RainException(
            f"the access file {path} can be read by others (mode {stat.S_IMODE(status.st_mode):03o}), so "
            f"its keys are not secret; run `chmod 600 {path}` and restart the server if others may have "
            f"read it"
        )
    return access


def find_access(
    address: str | os.PathLike[str] | None = None,
    port: int | None = None,
    access_file: str | os.PathLike[str] | None = None,
) -> Access:
    """The access to the server that is meant.

    `access_file` is taken as it is; `address` may be "host", "host:port" or the path of an access file, as a
    str with a "/" or ".json", or as a path object.
    Without both, the environment variables RAINZMQ_SERVER (like `address`) and RAINZMQ_ACCESS (a path)
    decide, and without those the newest server that this user runs on this machine. With an access file, a
    given host and port replace the file's.

    Raises:
        RainException: saying what was looked for, and why nothing was found.
    """
    if address is None and port is None and access_file is None:
        address = os.environ.get("RAINZMQ_SERVER") or None
    if isinstance(address, os.PathLike) or (isinstance(address, str) and _is_path(address)):
        access_file, address = access_file or address, None
    target = _target(address, port)
    if access_file is not None:
        return _directed(read_access(os.fspath(access_file)), target)
    named = os.environ.get("RAINZMQ_ACCESS")
    if named:
        return _from_environment(read_access(named), target)
    return _newest() if target is None else _by_address(*target)


def _from_environment(access: Access, target: tuple[str, int] | None) -> Access:
    """RAINZMQ_ACCESS names a file, but an explicit address of another server that is known by itself comes
    first.
    """
    if target is None or _matches(access, *target):
        return access
    try:
        return _by_address(*target)
    except RainException:
        return _directed(access, target)


def _target(address: str | None, port: int | None) -> tuple[str, int] | None:
    if address is not None and not isinstance(address, str):
        raise RainException(f"the address {address!r} is neither a str nor a path")
    if address is None:
        return None if port is None else ("127.0.0.1", _checked_port(port))
    if port is None:
        return parse_address(address, DEFAULT_PORT)
    host, found = parse_address(address, _checked_port(port))
    if found != port:
        raise RainException(
            f"the address {address!r} and port={port} contradict each other; give the port once"
        )
    return host, found


def _checked_port(port: int) -> int:
    if type(port) is not int or not 0 < port < 65536:
        raise RainException(f"port={port!r} is not a port (1 to 65535)")
    return port


def _is_path(address: str) -> bool:
    return (os.sep in address and "://" not in address) or address.endswith(".json")


def _directed(access: Access, target: tuple[str, int] | None) -> Access:
    if target is None or _matches(access, *target):
        return access
    return replace(access, address=target[0], port=target[1])


def _matches(access: Access, host: str, port: int) -> bool:
    if access.port != port:
        return False
    if is_loopback(access.address) and access.hostname != socket.gethostname():
        return False
    return is_same_host(access.address, host)


def _by_address(host: str, port: int) -> Access:
    problems: list[str] = []
    known = list(_known(problems))
    for access in known:
        if _matches(access, host, port):
            return access
    resolve(host)  # A misspelled host is the likeliest reason, and has its own error.
    where = format_address(host, port)
    others = ", ".join(sorted(format_address(access.address, access.port) for access in known))
    raise RainException(
        f"no access file for a server at {where} in {home() / 'servers'}: no server of this user is known "
        f"there ({f'known: {others}' if others else 'none is known elsewhere either'}). Start it (`rainzmq "
        f"server`), or, when it runs on a machine with another home directory, copy its access file and name "
        f"it with access_file= or RAINZMQ_ACCESS" + _listed(problems)
    )


def running_servers() -> list[Access]:
    """The servers that this user runs on this machine, the newest last."""
    return sorted(_running([]), key=lambda access: access.started)


def _running(problems: list[str]) -> list[Access]:
    return [access for access in _known(problems) if access.hostname == socket.gethostname()]


def _newest() -> Access:
    problems: list[str] = []
    local = _running(problems)
    if local:
        return max(local, key=lambda access: access.started)
    raise RainException(
        f"no running server of this user found on this machine (looked in {home() / 'servers'}); start "
        f"one with `rainzmq local` or `rainzmq server`, or say where it is: an address, or RAINZMQ_SERVER"
        + _listed(problems)
    )


def _listed(problems: list[str]) -> str:
    return f". Skipped: {'; '.join(problems[:3])}" if problems else ""


def _known(problems: list[str]) -> Iterator[Access]:
    """The servers of this user's access files. Those of this machine that do not run any more are removed.

    What is wrong with other files is added to `problems`.
    """
    for path in sorted((home() / "servers").glob("*.json")):
        try:
            access = read_access(path)
        except RainException as error:
            problems.append(str(error))
            continue
        if access.hostname != socket.gethostname() or runs(access):
            yield access
        else:
            _unlink(path)


def runs(access: Access) -> bool:
    """Whether the server's process is one of this machine, which is to be known before."""
    started = process_started(access.pid)
    return started is not None and abs(started - access.started) < _START_TOLERANCE_S


def _unlink(path: Path) -> None:
    # Someone else may have removed it, or may not allow it; neither harms.
    with suppress(OSError):
        path.unlink()


def _to_json(access: Access) -> dict[str, Any]:
    return {
        "rainzmq": _FORMAT,
        "address": access.address,
        "port": access.port,
        "server_public": access.server_public.decode(),
        "keys": {
            role: {"public": pair.public.decode(), "secret": pair.secret.decode()}
            for role, pair in access.keys.items()
        },
        "cluster_id": access.cluster_id,
        "pid": access.pid,
        "started": access.started,
        "hostname": access.hostname,
        "http": None if access.http is None else asdict(access.http),
    }


def _from_json(value: Any, path: Path) -> Access:
    if value["rainzmq"] != _FORMAT:
        raise ValueError(
            f"written by another version of rainzmq (format {value['rainzmq']!r}, not {_FORMAT})"
        )
    keys = {
        role: KeyPair(_key(pair["public"]), _key(pair["secret"]))
        for role, pair in value["keys"].items()
        if role in ROLES
    }
    for name, kind in (("address", str), ("port", int), ("cluster_id", int), ("pid", int), ("hostname", str)):
        if type(value[name]) is not kind:
            raise ValueError(f"{name} is not of type {kind.__name__}")
    address, port = _parsed(value["address"], value["port"])
    return Access(
        address=address,
        port=port,
        server_public=_key(value["server_public"]),
        keys=keys,
        cluster_id=value["cluster_id"],
        pid=value["pid"],
        started=float(value["started"]),
        path=path,
        hostname=value["hostname"],
        http=_http(value.get("http")),
    )


def _http(value: Any) -> HttpAccess | None:
    """Address and token of the pages; ValueError when they are none."""
    if value is None:
        return None
    host, port = _parsed(value["host"], value["port"])
    if not isinstance(value["token"], str) or not value["token"]:
        raise ValueError("the token is not a text")
    return HttpAccess(host, port, value["token"])


def _parsed(host: str, port: int) -> tuple[str, int]:
    """Host and port of an access file; ValueError when they are none."""
    if not host or not 0 < port < 65536:
        raise ValueError(f"{host!r}, {port} is not an address")
    return host, port


def _key(text: str) -> bytes:
    key = text.encode("ascii")
    if not is_key(key):
        raise ValueError("a key is not 40 characters of Z85")
    return key
