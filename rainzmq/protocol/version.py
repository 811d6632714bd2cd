"""The protocol's version. Peers of another version are refused at the handshake."""

PROTOCOL_VERSION = 3
SUBWORKER_PROTOCOL_VERSION = 1
