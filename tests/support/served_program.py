"""A program that speaks a serving worker's protocol without a model, for tests of who talks to one.

A job's text says what becomes of it: "die" ends the program by SIGKILL after one piece, "many N" answers with N pieces,
"wait" answers with one piece and waits, "hang" does so and the program does nothing any more, "slow N" is answered
after N pings, "cancelled" answers with the numbers of cancelled jobs, anything else is answered letter by letter. An
argument says how the program starts: "deaf" reads nothing, "mute" says nothing, "broken" cannot load its model,
"babble" answers nonsense.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

MODEL = {
    "name": "served",
    "digest": "sha256:1",
    "kind": "weights",
    "context": 100,
    "max_prompt_bytes": 1000,
    "vocab_size": 10,
}


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _piece(text: str) -> dict[str, Any]:
    return {"parts": [{"kind": "text", "text": text}], "num_tokens": 1}


def _run(number: int, text: str, cancelled: list[int]) -> None:
    events: list[Any] = [[number, "accepted", {"num_prompt_tokens": len(text), "num_cached": 0}]]
    count = 1
    if text == "die":
        _say({"events": [*events, [number, "piece", _piece("half")]]})
        sys.stderr.write("these are my last words\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    elif text.startswith("many "):
        count = int(text.split()[1])
        for place in range(count):
            _say({"events": [*events, [number, "piece", _piece(f"{place},")]]})
            events = []
    elif text in ("wait", "hang"):
        sys.stderr.write("I am stuck\n" if text == "hang" else "")
        sys.stderr.flush()
        _say({"events": [*events, [number, "piece", _piece("x")]]})
        if text == "hang":
            signal.pause()
        return
    elif text == "cancelled":
        events += [[number, "piece", _piece(",".join(map(str, cancelled)))]]
    else:
        events += [[number, "piece", _piece(letter)] for letter in text]
        count = len(text)
    _say({"events": [*events, [number, "ended", {"reason": "stop", "num_tokens": count}]]})


def main() -> None:
    how = sys.argv[1] if len(sys.argv) > 1 else ""
    if how == "broken":
        _say({"error": {"type": "SourceError", "message": "no weights here", "hint": "Fetch them."}})
        return
    if how == "babble":
        _say({"sing": "la"})
    if how == "deaf":
        time.sleep(600)
    cancelled: list[int] = []
    slow: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if how in ("mute", "babble"):
            continue
        if request["op"] == "describe":
            _say({"described": MODEL})
        elif request["op"] == "close":
            return
        elif request["op"] == "ping":
            _say({"pong": True})
            slow = {number: count - 1 for number, count in slow.items()}
            for number in [number for number, count in slow.items() if count == 0]:
                _run(number, "slow", cancelled)
        elif request["op"] == "cancel":
            cancelled.append(request["id"])
        elif request["op"] == "count":
            _say({"events": [[request["id"], "count", {"num_tokens": len(request["job"]["text"])}]]})
        elif request["job"]["text"].startswith("slow "):
            slow[request["id"]] = int(request["job"]["text"].split()[1])
        else:
            _run(request["id"], request["job"]["text"], cancelled)


if __name__ == "__main__":
    main()
