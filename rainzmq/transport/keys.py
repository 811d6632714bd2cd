"""CURVE key pairs."""

from __future__ import annotations

from dataclasses import dataclass, field

import zmq
from zmq.utils import z85

KEY_LENGTH = 40
"""Characters of a key in Z85."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, each key 40 characters of Z85. The secret does not show in `repr`.

    Attributes:
        public: may be known to anyone.
        secret: proves to be the owner of `public`.
    """

    public: bytes
    secret: bytes = field(repr=False)

    @staticmethod
    def new() -> KeyPair:
        """A fresh random pair."""
        return KeyPair(*zmq.curve_keypair())


def is_key(text: bytes) -> bool:
    """Whether `text` can be a key: 40 characters of Z85."""
    if len(text) != KEY_LENGTH:
        return False
    try:
        return len(z85.decode(text)) == 32
    except (ValueError, KeyError, OverflowError):
        return False
