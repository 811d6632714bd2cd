"""Questions of a session about its tasks and objects, and waiting for the answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from rainzmq.client.call_site import warn
from rainzmq.client.channel import SessionChannel
from rainzmq.client.meters import Meters
from rainzmq.client.pending import Pending
from rainzmq.common.errors import RainException
from rainzmq.protocol.messages.client import AskProgress, Fetch, Fetched, News, Progress, Unkeep, Update, Wait

IDS_PER_MESSAGE = 50_000
QUIET_S = 5.0
"""A wait without progress for so long tells why."""

_SHOW_INTERVAL_S = 0.2
_TURN_S = 0.05


def wait_for(channel: SessionChannel, nums: Sequence[int], mode: str, title: str | None) -> list[News]:
    """Wait for `all` of these tasks and objects or for `some`, at least one; what is heard of them. `title`
    is that of a progress bar, None for none."""
    channel.check()
    messages = [_wait_message(channel.session_id, part, mode) for part in _parts(nums)]
    if mode == "some" and len(messages) > 1:
        return _wait_any(channel, messages)
    return [news for make in messages for news in _wait(channel, make, title)]


def wait_for_session(channel: SessionChannel, title: str | None) -> None:
    """Wait for every task submitted so far."""
    channel.check()
    _wait(channel, _wait_message(channel.session_id, [], "session"), title)


def ask_news(channel: SessionChannel, nums: Sequence[int]) -> list[News]:
    """What is heard of these tasks and objects now."""
    channel.check()
    messages = [_update_message(channel.session_id, part) for part in _parts(nums)]
    return [news for make in messages for news in _wait(channel, make, None)]


def ask_content(channel: SessionChannel, num: int) -> Fetched:
    """The content of a kept object, or what is needed to get it, once it is finished. To be called after
    `channel.check`."""
    answer: Fetched = _wait(channel, lambda number: Fetch(number, channel.session_id, num), None)[0]
    return answer


def unkeep(channel: SessionChannel, nums: Sequence[int]) -> None:
    """These objects are not kept any more."""
    channel.check()
    for part in _parts(nums):
        channel.ask(_unkeep_message(channel.session_id, part))


def _parts(nums: Sequence[int]) -> list[Sequence[int]]:
    return [nums[start : start + IDS_PER_MESSAGE] for start in range(0, len(nums), IDS_PER_MESSAGE)]


def _wait_message(session_id: int, ids: Sequence[int], mode: str) -> Callable[[int], Wait]:
    return lambda number: Wait(number, session_id, list(ids), mode)


def _unkeep_message(session_id: int, ids: Sequence[int]) -> Callable[[int], Unkeep]:
    return lambda number: Unkeep(number, session_id, list(ids))


def _update_message(session_id: int, ids: Sequence[int]) -> Callable[[int], Update]:
    return lambda number: Update(number, session_id, list(ids))


def _wait(channel: SessionChannel, make: Callable[[int], Any], title: str | None) -> list[Any]:
    """Send a request and wait for its answer as long as it takes. Shows progress when asked to, and after a
    while without any the reasons that the server gives. An interrupted wait is taken back."""
    pending = channel.connection.request(make, channel.session_id)
    try:
        return _follow(channel, pending, title)
    except RainException as error:
        raise channel.reason(error) from None
    finally:
        pending.cancel()


def _wait_any(channel: SessionChannel, messages: list[Callable[[int], Any]]) -> list[Any]:
    """The answer to one of several waits. They are looked at in turns, which is good enough for the very many
    items that do not fit into one wait."""
    waits = [channel.connection.request(make, channel.session_id) for make in messages]
    try:
        for pending in itertools.cycle(waits):
            replies = pending.wait(_TURN_S)
            if replies is not None:
                return replies
    except RainException as error:
        raise channel.reason(error) from None
    finally:
        for pending in waits:
            pending.cancel()
    return []


def _follow(channel: SessionChannel, pending: Pending, title: str | None) -> list[Any]:
    if title is None:
        replies = pending.wait(QUIET_S)
        return _watch(channel, pending, None) if replies is None else replies
    with Meters(title, _progress(channel)) as meters:
        return _watch(channel, pending, meters)


def _progress(channel: SessionChannel) -> Progress:
    progress: Progress = channel.connection.ask(
        lambda number: AskProgress(number, channel.session_id), channel.session_id
    )
    return progress


def _watch(channel: SessionChannel, pending: Pending, meters: Meters | None) -> list[Any]:
    interval = _SHOW_INTERVAL_S if meters is not None and meters.can_change else QUIET_S
    told: set[str] = set()
    since: dict[str, float] = {}
    finished, quiet_s, waited_s = -1, 0.0, 0.0
    while True:
        progress = _progress(channel)
        if meters is not None:
            meters.show(progress)
        quiet_s = quiet_s + interval if progress.finished == finished else 0.0
        finished = progress.finished
        is_quiet = quiet_s >= QUIET_S or (meters is None and progress.finished == 0)
        # What holds for a while is told even if other tasks go on: some tasks can never run.
        since = {reason: since.get(reason, waited_s) for reason in progress.reasons}
        for reason, first_s in since.items():
            if reason not in told and (is_quiet or waited_s - first_s >= QUIET_S):
                told.add(reason)
                warn(f"Session {channel.session_id} waits: {reason}")
        replies = pending.wait(interval)
        waited_s += interval
        if replies is not None:
            if meters is not None:
                meters.show(_progress(channel))
            return replies
