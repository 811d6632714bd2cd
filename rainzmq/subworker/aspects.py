"""What a task may change of its process, one *aspect* at a time: how it is read, and written back."""

from __future__ import annotations

import _locale
import builtins
import faulthandler
import gc
import os
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import context as multiprocessing_context
from typing import Any

from rainzmq.subworker import task_variable
from rainzmq.subworker.tripwires import WatchedList

_LIMITS = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = [int(each) for each in signal.valid_signals() if each not in (signal.SIGKILL, signal.SIGSTOP)]
_OWN_VARIABLES = frozenset({task_variable.NAME, b"RAINZMQ_ATTEMPT", b"RAINZMQ_SESSION_ID", b"RAINZMQ_CPUS"})
"""Environment variables that are set before every task, whatever the last one did to them."""

Call = tuple[Any, str]
"""A module, and the name of a function in it."""

_signal: Any = sys.modules["_signal"]

# These are watched for what tasks do; what is done here is not noted.
_umask = os.umask
_set_locale = _locale.setlocale
_putenv, _unsetenv = os.putenv, os.unsetenv
_set_affinity = os.sched_setaffinity

IRREVERSIBLE: tuple[Call, ...] = (
    *((os, name) for name in ("setuid", "seteuid", "setreuid", "setresuid", "chroot", "unshare", "setns")),
    *((os, name) for name in ("setgid", "setegid", "setregid", "setresgid", "setgroups", "initgroups")),
    (sys, "addaudithook"),
)
"""Calls after which a process is not what it was, whatever is done then. (Changing ids, even there and back,
undoes that the process dies with its worker.)"""


@dataclass(slots=True, eq=False)
class Aspect:
    """One aspect.

    Attributes:
        name: what it is, human-readable.
        read: gives its present value, to be compared.
        write: makes it what `read` gave. What it cannot do shows when it is read again.
        calls: functions that change it.
        saved: what it is between tasks.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    calls: tuple[Call, ...] = ()
    saved: Any = None


def all_aspects(affinity: bool) -> list[Aspect]:
    """All but the environment and the lists of the interpreter, in the order in which they are put back.

    `affinity`: the cpus as well.
    """
    modules = _Modules()
    found = [
        Aspect("builtins", builtins.__dict__.copy, _write_builtins),
        Aspect("imported modules", modules.read, modules.write),
        Aspect("resource limits", _read_limits, _write_limits, _calls(resource, "setrlimit", "prlimit")),
        Aspect(
            "timers",
            _read_timers,
            _write_timers,
            _calls(signal, "setitimer", "alarm") + _calls(faulthandler, "dump_traceback_later"),
        ),
        Aspect(
            "signals",
            _read_signals,
            _write_signals,
            _calls(signal, "signal", "pthread_sigmask") + _calls(faulthandler, "enable", "disable"),
        ),
        Aspect("umask", _read_umask, _write_umask, _calls(os, "umask")),
        Aspect("priority", _read_priority, _write_priority, _calls(os, "nice", "setpriority", *_SCHEDULING)),
        Aspect("locale", lambda: _set_locale(_locale.LC_ALL), _write_locale, _locale_calls()),
        Aspect("interpreter", _read_interpreter, _write_interpreter, _calls(sys, *_SETTERS)),
        Aspect("garbage collection", _read_gc, _write_gc, _calls(gc, *_GC_CALLS)),
        Aspect(
            "time limit of sockets",
            socket.getdefaulttimeout,
            socket.setdefaulttimeout,
            _calls(socket, "setdefaulttimeout"),
        ),
        Aspect("start method of multiprocessing", start_method, _write_start_method),
    ]
    if affinity:
        found.append(
            Aspect(
                "cpus",
                lambda: os.sched_getaffinity(0),
                lambda cpus: _set_affinity(0, cpus),
                _calls(os, "sched_setaffinity"),
            )
        )
    return found


def _calls(module: Any, *names: str) -> tuple[Call, ...]:
    return tuple([(module, name) for name in names])


def _locale_calls() -> tuple[Call, ...]:
    module = sys.modules.get("locale")  # it has taken the function already
    return (*_calls(_locale, "setlocale"), *(() if module is None else _calls(module, "_setlocale")))


_SCHEDULING = ("sched_setscheduler", "sched_setparam")
_SETTERS = ("setrecursionlimit", "setswitchinterval", "set_int_max_str_digits", "settrace", "setprofile")
_GC_CALLS = ("enable", "disable", "set_threshold", "set_debug")


class EnvironmentVariables:
    """The environment, of this process and as Python sees it.

    `note` is to be called with the arguments of `putenv` and `unsetenv`; it tells whether that is a change.
    """

    def __init__(self) -> None:
        self._environ: Any = os.environ
        self._environb: Any = os.environb
        self._put: set[bytes] = set()
        self.own_are_set = False
        """Whether the variables that are set before every task are what they were last set to."""
        self.aspect = Aspect("environment", self._read, self._write)
        self.aspect.saved = self._read()

    def is_replaced(self) -> bool:
        """`os.environ` is another object."""
        return os.environ is not self._environ

    def note(self, name: bytes | str) -> bool:
        """A variable was put or unset; whether that may be a change of a task."""
        key = os.fsencode(name)
        if key in _OWN_VARIABLES:
            self.own_are_set = False
            return False
        self._put.add(key)
        return True

    def keep(self, name: bytes | str, value: bytes | str | None = None) -> None:
        """What a variable was put to just now stays, None: that it was unset. `os.environ`, which may have
        called for it, does not have it yet.
        """
        key = os.fsencode(name)
        self._put.discard(key)
        if value is None:
            self.aspect.saved[0].pop(key, None)
        else:
            self.aspect.saved[0][key] = os.fsencode(value)

    def keep_all(self) -> None:
        """What all are now stays."""
        self._put.clear()
        self.aspect.saved = self._read()

    def set_own(self, attempt: int, session_id: int, cpus: Sequence[int]) -> None:
        """Set the variables that are set before every task, except for its id."""
        task_variable.put()
        for name, value in (
            (b"RAINZMQ_ATTEMPT", b"%d" % attempt),
            (b"RAINZMQ_SESSION_ID", b"%d" % session_id),
            (b"RAINZMQ_CPUS", b",".join([b"%d" % cpu for cpu in cpus])),
        ):
            self._environ._data[name] = value
            _putenv(name, value)
        self.own_are_set = True

    def set_task_id(self, value: bytes) -> None:
        """Set the variable with the id of the task. `set_own` was called before."""
        self._environ._data[task_variable.NAME] = value
        task_variable.set_value(value)

    def _read(self) -> tuple[dict[bytes, bytes], frozenset[bytes], bool]:
        data = {key: value for key, value in self._environ._data.items() if key not in _OWN_VARIABLES}
        return data, frozenset(self._put), self.is_replaced()

    def _write(self, old: tuple[dict[bytes, bytes], frozenset[bytes], bool]) -> None:
        os.environ, os.environb = self._environ, self._environb
        data, saved = self._environ._data, old[0]
        changed = {key for key in data.keys() | saved.keys() if data.get(key) != saved.get(key)} | self._put
        for key in changed - _OWN_VARIABLES:
            if key in saved:
                data[key] = saved[key]
                _putenv(key, saved[key])
            else:
                data.pop(key, None)
                _unsetenv(key)
        self._put.clear()
        self.own_are_set = False
        if b"TZ" in changed:
            time.tzset()


class InterpreterList:
    """A list of a module that tasks change in place, such as `sys.path`, made a `WatchedList`."""

    def __init__(self, module: Any, name: str, touched: Callable[[Aspect], bool]) -> None:
        """`touched` is told of a change and says whether what was added stays."""
        self._module = module
        self._name = name
        self._list = WatchedList(getattr(module, name))
        setattr(module, name, self._list)
        self._touched = touched
        self.aspect = Aspect(f"{module.__name__}.{name}", self._read, self._write)
        self.aspect.saved = self._read()
        self._list.note = self._note

    def is_replaced(self) -> bool:
        """The module has another list."""
        return getattr(self._module, self._name) is not self._list

    def _note(self, before: list[Any]) -> None:
        if self._touched(self.aspect):
            added = [item for item in self._list if item not in before]
            saved: list[Any] = self.aspect.saved[0]
            # At the front or at the end, which is how modules add what they need.
            position = 0 if added and self._list[0] is added[0] else len(saved)
            saved[position:position] = [item for item in added if item not in saved]

    def _read(self) -> tuple[list[Any], bool]:
        return list(getattr(self._module, self._name)), self.is_replaced()

    def _write(self, old: tuple[list[Any], bool]) -> None:
        list.__setitem__(self._list, slice(None), old[0])
        setattr(self._module, self._name, self._list)
        if self._module is warnings:
            warnings._filters_mutated()


class _Modules:
    """The modules that are imported when this is made; and that none is None, which hides a module."""

    def __init__(self) -> None:
        self._modules = sys.modules
        self._start = dict(sys.modules)

    def read(self) -> list[str]:
        """The names of those that are not what they should be."""
        modules, start = self._modules, self._start
        wrong = [name for name, module in start.items() if modules.get(name) is not module]
        wrong += [name for name, module in modules.copy().items() if module is None and name not in start]
        return wrong if sys.modules is modules else [*wrong, "sys.modules"]

    def write(self, _wrong: list[str]) -> None:
        sys.modules = self._modules
        for name in self.read():
            if name in self._start:
                self._modules[name] = self._start[name]
            else:
                del self._modules[name]


def _write_builtins(old: dict[str, Any], namespace: dict[str, Any] = builtins.__dict__) -> None:
    # Nothing here may need a builtin.
    namespace.update(old)
    for name in [*namespace]:
        if name not in old:
            del namespace[name]


def _read_limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(limit) for limit in _LIMITS]


def _write_limits(old: Sequence[tuple[int, int]]) -> None:
    for limit, values in zip(_LIMITS, old, strict=True):
        with suppress(OSError, ValueError):  # a hard limit that was lowered stays so without root's rights
            resource.setrlimit(limit, values)


def _read_timers() -> list[bool]:
    faulthandler.cancel_dump_traceback_later()  # it cannot be asked for
    return [signal.getitimer(timer)[0] > 0 for timer in _TIMERS]


def _write_timers(_old: list[bool]) -> None:
    for timer in _TIMERS:
        signal.setitimer(timer, 0)


def _read_signals() -> tuple[list[Any], set[Any], bool]:
    # Those of `signal` look up an enum for each number, which takes 20 times as long.
    handlers = [_signal.getsignal(number) for number in _SIGNALS]
    return handlers, set(_signal.pthread_sigmask(_signal.SIG_BLOCK, ())), faulthandler.is_enabled()


def _write_signals(old: tuple[list[Any], set[Any], bool]) -> None:
    handlers, mask, _ = old
    changed = False
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        if handler is not None and signal.getsignal(number) != handler:
            changed = True
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if changed:
        faulthandler.disable()  # its handlers may be among them, which Python does not see
    faulthandler.enable()


def _read_umask() -> int:
    umask = _umask(0o077)
    _umask(umask)
    return umask


def _write_umask(old: int) -> None:
    _umask(old)


def _read_priority() -> tuple[int, int, int]:
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    return nice, os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def _write_priority(old: tuple[int, int, int]) -> None:
    nice, policy, priority = old
    with suppress(OSError):  # a lower priority than before stays so without root's rights
        os.sched_setscheduler(0, policy, os.sched_param(priority))
        os.setpriority(os.PRIO_PROCESS, 0, nice)


def _write_locale(old: str) -> None:
    _set_locale(_locale.LC_ALL, old)


def _read_interpreter() -> tuple[Any, ...]:
    return (
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        sys.get_int_max_str_digits(),
        sys.gettrace(),
        sys.getprofile(),
        sys.excepthook,
        sys.displayhook,
        sys.unraisablehook,
        threading.excepthook,
        list(sys.argv),
    )


def _write_interpreter(old: tuple[Any, ...]) -> None:
    recursion, interval, digits, trace, profile, *hooks, arguments = old
    sys.setrecursionlimit(recursion)
    sys.setswitchinterval(interval)
    sys.set_int_max_str_digits(digits)
    sys.settrace(trace)
    sys.setprofile(profile)
    sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook = hooks
    sys.argv[:] = arguments


def _read_gc() -> tuple[Any, ...]:
    return gc.isenabled(), gc.get_threshold(), gc.get_debug()


def _write_gc(old: tuple[Any, ...]) -> None:
    enabled, thresholds, debug = old
    gc.set_debug(debug)
    gc.set_threshold(*thresholds)
    (gc.enable if enabled else gc.disable)()


_default_context: Any = multiprocessing_context._default_context


def start_method() -> Any:
    """What `multiprocessing.set_start_method` has set, or the first use; None before that."""
    return _default_context._actual_context


def _write_start_method(old: Any) -> None:
    _default_context._actual_context = old
