from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from spiritsafe.tasks.code.duet.inside.channel import ChannelLost, hear, say

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize(
    "message", [None, 0, "é\n", [1, {"a": [None]}], "x" * 3_000_000], ids=lambda each: str(each)[:20]
)
def test_messages_come_whole(ends: Ends, message: Any) -> None:
    one, other = ends

    def send() -> None:
        say(one, message)
        say(one, "next")

    sender = threading.Thread(target=send)
    sender.start()
    assert hear(other) == message
    assert hear(other) == "next"
    sender.join()


def test_messages_come_whole_from_pieces(ends: Ends) -> None:
    one, other = ends
    data = json.dumps([1, 2]).encode()
    sent = struct.pack("<I", len(data)) + data

    def send() -> None:
        for n in range(len(sent)):
            one.sendall(sent[n : n + 1])

    sender = threading.Thread(target=send)
    sender.start()
    assert hear(other) == [1, 2]
    sender.join()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\1\0",
        struct.pack("<I", 5) + b"[1",
        struct.pack("<I", 2) + b"[1",
        struct.pack("<I", 0),
        struct.pack("<I", (16 << 20) + 1) + b"[]",
        struct.pack("<I", 2) + b"\xff\xff",
        struct.pack("<I", 5001) + b"1" * 5001,  # Python reads no number that long
        struct.pack("<I", 200_000) + b"[" * 200_000,
    ],
    ids=lambda sent: str(sent[:8]),
)
def test_silence_and_nonsense_end_the_talk(ends: Ends, sent: bytes) -> None:
    one, other = ends

    def send() -> None:
        one.sendall(sent)
        one.close()

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(ChannelLost):
        hear(other)
    sender.join()


def test_nobody_listens(ends: Ends) -> None:
    one, other = ends
    other.close()
    with pytest.raises(ChannelLost):
        say(one, "x" * 1_000_000)
