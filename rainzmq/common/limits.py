"""Sizes, times and names that several packages must agree on."""

from __future__ import annotations

CONTROL_FRAME_LIMIT_BYTES = 1 << 20
"""A larger frame on a control connection ends the connection."""

MESSAGE_TARGET_BYTES = 256 << 10
"""Senders split batches at about this size, to stay well under the frame limit."""

INLINE_OBJECT_BYTES = 4 << 10
"""An object up to this size travels inside control messages instead of over the data plane."""

MEMORY_OBJECT_BYTES = 64 << 10
"""An object up to this size lives in memory; a larger one is a file."""

CONFIG_LIMIT_BYTES = 64 << 10
"""A larger configuration of a task must travel as a data object."""

BODY_LIMIT_BYTES = 512 << 10
"""The same of what tasks share, which goes once to the server, to each worker, and to each subworker."""

INFO_LIMIT_BYTES = 64 << 10
"""Error texts, debug messages and `info.user` of one task are refused or cut above this."""

CHUNK_BYTES = 1 << 20
"""Size of one DATA frame of a transfer."""

CREDIT_BYTES = 8 << 20
"""How much a receiver lets a sender have in flight for one transfer."""

HEARTBEAT_INTERVAL_S = 2.0
SUSPECT_AFTER_S = 6.0
DEAD_AFTER_S = 10.0
SERVER_LOST_AFTER_S = 8.0
"""A worker that hears nothing from its server for so long stops its tasks."""

CLIENT_GRACE_S = 60.0
"""How long the sessions of a client outlive its connection, when it may still come back."""

HOST_SILENT_S = 30.0
"""A host whose kernel has answered nothing for so long counts as gone, and with it the connection."""

CONNECT_TIMEOUT_S = 9.5
"""Who cannot connect is told why within 10 s; the rest is room for a slow machine."""

CRASH_LIMIT = 3
"""A task that ended the process it ran in this often fails; so does one that workers died of this often."""

DEFAULT_PORT = 7210
DEFAULT_HTTP_PORT = 7222

CHECK_VARIABLE = "RAINZMQ_CHECK"
"""With "1" for this in its environment a server or worker checks its invariants after every turn."""
