"""The protocol's version. Peers of another version are refused at the handshake."""

PROTOCOL_VERSION = 2
SUBWORKER_PROTOCOL_VERSION = 1
