"""Public keys that are no keys: points of Curve25519 of small order, and encodings that a second text has too.

In: the 32 bytes of an Ed25519 or X25519 public key. Out: whether it may be one. Under an Ed25519 key of small order a
fixed signature is good for every message, or for every eighth, so its holder can disown everything; and where one point
may be written in two ways, one holder counts as two. OpenSSL takes both.
"""

from __future__ import annotations

_P = 2**255 - 19
_Y_OF_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_Y = frozenset({0, 1, _P - 1, _Y_OF_ORDER_8, _P - _Y_OF_ORDER_8})
"""y of the eight points of small order: orders 4, 1, 2, 8 and 8; x has either sign."""
_U_OF_ORDER_8 = 0xB8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0
_OTHER_U_OF_ORDER_8 = 0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F
_SMALL_U = frozenset({0, 1, _P - 1, _U_OF_ORDER_8, _OTHER_U_OF_ORDER_8})
"""u of the points of small order on the curve and on its twist (RFC 7748, section 6.1)."""


def _coordinate(public: bytes) -> int:
    """The coordinate, without the highest bit: that is the sign of x, or ignored."""
    return int.from_bytes(public, "little") & (2**255 - 1)


def is_signing_key(public: bytes) -> bool:
    """Whether 32 bytes may be an Ed25519 public key: y below p, and no point of small order."""
    y = _coordinate(public)
    return len(public) == 32 and y < _P and y not in _SMALL_Y


def is_encryption_key(public: bytes) -> bool:
    """Whether 32 bytes may be an X25519 public key: what goes to a point of small order is open to everybody."""
    return len(public) == 32 and _coordinate(public) % _P not in _SMALL_U
