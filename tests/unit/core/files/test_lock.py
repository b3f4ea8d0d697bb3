import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spiritsafe.core.errors import StorageError
from spiritsafe.core.files import lock
from spiritsafe.core.files.lock import locked

_COUNT_UP = """
import sys, time
from pathlib import Path
from spiritsafe.core.files.lock import locked
counter, lock = map(Path, sys.argv[1:])
for _ in range(50):
    with locked(lock):
        number = int(counter.read_text())
        time.sleep(0.0002)
        counter.write_text(str(number + 1))
"""


def test_only_one_process_holds_a_lock(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", _COUNT_UP, str(counter), str(tmp_path / "lock")]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert counter.read_text() == "100"


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with locked(tmp_path / "lock"):
            raise OSError(errno.EIO, "not about the lock")

    with pytest.raises(OSError, match="not about the lock") as caught:
        fail()
    assert not isinstance(caught.value, StorageError)
    with locked(tmp_path / "lock"):
        pass
    with pytest.raises(StorageError), locked(tmp_path / "no/lock"):
        pass


def test_a_lock_says_who_holds_it_and_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "_SAY_AFTER_S", 0.0)
    me, path = f"process {os.getpid()} on {socket.gethostname()}", tmp_path / "lock"
    with locked(path):
        with pytest.raises(StorageError, match=f"still locked by {me}, after 0 s") as caught, locked(path, wait_s=0.0):
            pass
        assert "run the same command again" in caught.value.hint
        with pytest.raises(StorageError), locked(path, wait_s=0.01):
            pass
        assert [record.getMessage() for record in caplog.records] == [f"waiting up to 0 s for {path}, locked by {me}"]
    assert path.read_bytes() == b""
    with locked(path, wait_s=0.0):  # who waited in vain left it as it was
        pass


@pytest.mark.parametrize("text", [b"", b"\x1b[2K 1\n", b"12 host\nholds", b"1" * 4000])
def test_what_a_stranger_writes_into_a_lock_is_not_repeated(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(text)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="a process that does not say which"), locked(path, wait_s=0.0):
            pass
    assert path.read_bytes() == text


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def none(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(StorageError, match="cannot be locked") as caught, locked(tmp_path / "lock"):
        pytest.fail("it does not hold it")
    assert "file system" in caught.value.hint


def test_the_kernel_frees_the_lock_of_a_killed_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = """
import sys, time
from pathlib import Path
from spiritsafe.core.files.lock import locked
with locked(Path(sys.argv[1])):
    print(flush=True)
    time.sleep(600)
"""
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(StorageError, match=f"still locked by process {holder.pid} on "), locked(path, wait_s=0.0):
        pytest.fail("it does not hold it")
    holder.kill()
    holder.communicate()
    with locked(path, wait_s=0.0):
        assert path.read_text() == f"{os.getpid()} {socket.gethostname()}\n"
