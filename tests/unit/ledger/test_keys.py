from __future__ import annotations

import json
import os
import stat
import threading

import pytest

from spiritsafe.core.errors import IntegrityError, RecipeError, SourceError, StorageError
from spiritsafe.ledger import KeyPair, count_recipients, encrypt, keys, verify_signature
from spiritsafe.ledger.records import Signature


def test_saved_key_is_private_and_loads_again(tmp_path):
    path = tmp_path / "keys" / "eve.key"
    old = os.umask(0)
    try:
        key = KeyPair.generate("Eve")
        key.save(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = KeyPair.load(path)
    assert again.public == key.public
    assert verify_signature(again.sign("rerun", b"x"), "rerun", b"x")
    assert [p.name for p in path.parent.iterdir()] == ["eve.key"]


def test_a_key_is_never_overwritten(tmp_path):
    path = tmp_path / "k"
    key = KeyPair.generate("Eve")
    key.save(path)
    with pytest.raises(StorageError, match="cannot be written"):
        KeyPair.generate("Mallory").save(path)
    assert KeyPair.load(path).public == key.public
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_a_key_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "k"
    KeyPair.generate("Eve").save(path)
    path.chmod(0o640)
    with pytest.raises(SourceError) as caught:
        KeyPair.load(path)
    assert "chmod 600" in caught.value.hint


def test_load_or_create_makes_one_key_for_all(tmp_path):
    path = tmp_path / "k"
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(KeyPair.load_or_create(path, holder="Eve").public))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert {key.key_id for key in found} == {KeyPair.load(path).public.key_id}


def test_missing_and_damaged_keys(tmp_path):
    with pytest.raises(SourceError):
        KeyPair.load(tmp_path / "none")
    path = tmp_path / "k"
    KeyPair.generate("Eve").save(path)
    value = json.loads(path.read_bytes())
    for field, bad in (("age_identity", "AGE-SECRET-KEY-1BAD"), ("signing_secret", "zz"), ("format", "other")):
        path.write_text(json.dumps({**value, field: bad}))
        with pytest.raises(IntegrityError):
            KeyPair.load(path)


def test_unwritable_directory(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        KeyPair.generate("Eve").save(tmp_path / "file" / "k")


def test_signatures_hold_for_one_key_one_use_one_message():
    key, other = KeyPair.generate("Eve"), KeyPair.generate("Mallory")
    signature = key.sign("certificate", b"message")
    assert verify_signature(signature, "certificate", b"message")
    assert not verify_signature(signature, "rerun", b"message")
    assert not verify_signature(signature, "certificate", b"massage")
    forged = signature.model_copy(update={"key": other.public.signing})
    assert not verify_signature(forged, "certificate", b"message")
    for position in range(0, 128, 9):
        text = signature.value
        flipped = text[:position] + ("0" if text[position] != "0" else "1") + text[position + 1 :]
        assert not verify_signature(signature.model_copy(update={"value": flipped}), "certificate", b"message")


def test_each_recipient_opens_alone_and_nobody_else():
    keys = [KeyPair.generate(name) for name in ("a", "b", "c")]
    box = encrypt(b"sealed", [key.public for key in keys[:2]])
    assert [key.decrypt(box) for key in keys[:2]] == [b"sealed", b"sealed"]
    with pytest.raises(IntegrityError, match="cannot open"):
        keys[2].decrypt(box)
    for position in range(0, len(box), 17):
        damaged = bytearray(box)
        damaged[position] ^= 1
        with pytest.raises(IntegrityError):
            keys[0].decrypt(bytes(damaged))


def test_secrets_do_not_print(tmp_path):
    path = tmp_path / "k"
    key = KeyPair.generate("Eve")
    key.save(path)
    value = json.loads(path.read_bytes())
    for text in (repr(key), str(key), repr(key._file), str(key._file)):
        assert value["signing_secret"] not in text
        assert value["age_identity"] not in text


def test_recipients_are_counted_from_the_header_alone():
    keys = [KeyPair.generate(name).public for name in ("Eve", "Bob", "Office")]
    for count in (1, 2, 3):
        assert count_recipients(encrypt(b"-> X25519 in the text\n---", keys[:count])) == count


@pytest.mark.parametrize("change", ["no age file", "other lock", "cut"])
def test_what_opens_otherwise_than_with_an_age_key_is_refused(change):
    data = encrypt(b"text", [KeyPair.generate("Eve").public])
    if change == "no age file":
        data = b"another half"
    if change == "other lock":
        data = data.replace(b"\n---", b"\n-> scrypt c2FsdA 18\nAAAA\n---", 1)
    if change == "cut":
        data = data[:60]
    with pytest.raises(IntegrityError, match="no file that only age keys open"):
        count_recipients(data)


CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def bech32(data):
    """An age recipient of these 32 bytes (BIP 173)."""
    value = int.from_bytes(data, "big") << 4
    digits = [value >> 5 * place & 31 for place in reversed(range(52))]
    check = 1
    for digit in [*(ord(c) >> 5 for c in "age"), 0, *(ord(c) & 31 for c in "age"), *digits, *[0] * 6]:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ digit
        for bit, factor in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= factor if top >> bit & 1 else 0
    return "age1" + "".join(CHARSET[digit] for digit in [*digits, *((check ^ 1) >> 5 * (5 - k) & 31 for k in range(6))])


@pytest.mark.parametrize("u", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18, 2**255, 2**256 - 20])
def test_nothing_is_encrypted_to_everybody(u):
    """age would panic over these; others would make a file that anybody opens."""
    eve = KeyPair.generate("Eve").public
    weak = eve.model_copy(update={"recipient": bech32((u % 2**256).to_bytes(32, "little"))})
    with pytest.raises(IntegrityError, match=r"Nothing can be encrypted to Eve \(key [0-9a-f]{32}\)"):
        encrypt(b"x", [eve, weak])


def test_a_recipient_that_is_none_is_refused():
    eve = KeyPair.generate("Eve").public
    for recipient in ("age1x", eve.recipient[:-1] + ("q" if eve.recipient[-1] != "q" else "p")):
        with pytest.raises(IntegrityError, match="no sound key"):
            encrypt(b"x", [eve.model_copy(update={"recipient": recipient})])


def test_the_recipients_bytes_are_read_as_bip_173_writes_them():
    key = KeyPair.generate("Eve")
    assert bech32(keys._recipient_bytes(key.public.recipient)) == key.public.recipient
    assert key.decrypt(encrypt(b"x", [key.public])) == b"x"


def test_a_signature_that_is_malleable_is_refused():
    key, order = KeyPair.generate("Eve"), 2**252 + 27742317777372353535851937790883648493
    good = key.sign("rerun", b"x")
    s = int.from_bytes(bytes.fromhex(good.value)[32:], "little")
    again = good.model_copy(update={"value": good.value[:64] + (s + order).to_bytes(32, "little").hex()})
    assert verify_signature(good, "rerun", b"x")
    assert not verify_signature(again, "rerun", b"x")


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 18, 2**255 + 1])
def test_a_key_of_small_order_signs_nothing(y):
    point = y.to_bytes(32, "little").hex()
    signature = Signature(key=point, value=point + "00" * 32)
    assert not any(verify_signature(signature, "certificate", bytes([k])) for k in range(64))


@pytest.mark.parametrize("holder", ["", " ", "n" * 81, "Eve\nMallory", "Eve\u200d", "\u3164"])
def test_a_new_key_has_a_name_that_people_can_see(tmp_path, holder):
    with pytest.raises(RecipeError, match="cannot be called"):
        KeyPair.load_or_create(tmp_path / "key", holder=holder)
    assert not (tmp_path / "key").exists()
    old = KeyPair.load_or_create(tmp_path / "key", holder="Mu\u0308ller \u1ecc\u0300s\u0323un")
    assert KeyPair.load_or_create(tmp_path / "key", holder=holder).public == old.public
