"""Against the curve's own arithmetic, and against what OpenSSL does with such keys."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger import KeyPair
from spiritsafe.ledger.curve_points import is_encryption_key, is_signing_key
from spiritsafe.ledger.records import PublicKey

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493
Point = tuple[int, int]


def x_of(y: int) -> int | None:
    """One of the two x of RFC 8032, section 5.1.3; None: no point has this y."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return x if x * x % P == square else None


def add(first: Point, second: Point) -> Point:
    (x1, y1), (x2, y2) = first, second
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def times(count: int, point: Point) -> Point:
    found = (0, 1)
    while count:
        found = add(found, point) if count & 1 else found
        point, count = add(point, point), count >> 1
    return found


def small_points() -> set[Point]:
    """The eight points whose order divides 8: multiples of (order of the base point) times any point."""
    found: set[Point] = set()
    for y in range(2, 40):
        x = x_of(y)
        if x is not None:
            found |= {times(k, times(ORDER, (x, y))) for k in range(8)}
    return found


def encodings(value: int) -> list[bytes]:
    """All 32 bytes that mean this coordinate: with either highest bit, and above p where that still fits."""
    return [
        (number | high << 255).to_bytes(32, "little")
        for number in (value, value + P)
        if number < 2**255
        for high in (0, 1)
    ]


SMALL = sorted({data for _, y in small_points() for data in encodings(y)})
LOW_U = [0, 1, P - 1, *((1 + y) * pow(1 - y, -1, P) % P for _, y in small_points() if y != 1)]


def test_there_are_eight_such_points_in_fourteen_encodings() -> None:
    assert len(small_points()) == 8
    assert len(SMALL) == 14


@pytest.mark.parametrize("data", SMALL, ids=bytes.hex)
def test_a_point_of_small_order_is_no_signing_key_in_any_encoding(data: bytes) -> None:
    assert not is_signing_key(data)
    with pytest.raises(IntegrityError, match="small order"):
        PublicKey.from_json({"holder": "M", "signing": data.hex(), "recipient": "age1x"})


def test_one_of_them_signs_everything_for_openssl() -> None:
    identity = (1).to_bytes(32, "little")
    for message in (b"a", b"anything"):
        Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), message)  # does not raise


def test_a_second_encoding_of_a_good_point_is_refused() -> None:
    """Else one holder counts as two reviewers."""
    usual = [y for y in range(2, 19) if x_of(y) is not None]
    assert usual
    for y in usual:
        for high in (0, 1):
            assert is_signing_key((y | high << 255).to_bytes(32, "little"))
            assert not is_signing_key((y + P | high << 255).to_bytes(32, "little"))


def test_keys_that_are_made_are_keys() -> None:
    for _ in range(50):
        assert is_signing_key(bytes.fromhex(KeyPair.generate("Eve").public.signing))
    assert not is_signing_key(b"")
    assert not is_encryption_key(bytes(31))


def test_low_order_encryption_keys_are_those_with_which_openssl_agrees_on_nothing() -> None:
    secret = X25519PrivateKey.generate()
    for u in LOW_U:
        for data in encodings(u):
            assert not is_encryption_key(data)
            with pytest.raises(ValueError, match="Error computing shared key"):
                secret.exchange(X25519PublicKey.from_public_bytes(data))
    for _ in range(50):
        assert is_encryption_key(X25519PrivateKey.generate().public_key().public_bytes_raw())
