"""Files that people name: whole or not at all, devices and pipes written through, links refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cegid_daemon.errors import Refused
from cegid_daemon.files import write_atomically


def write(path: Path, content: bytes = b"new", *, private: bool = True) -> None:
    with write_atomically(path, private=private) as opened:
        opened.write(content)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_file_is_for_its_owner_alone_unless_it_holds_nothing_private(tmp_path: Path) -> None:
    write(tmp_path / "payload")
    assert (mode(tmp_path / "payload"), (tmp_path / "payload").read_bytes()) == (0o600, b"new")
    mask = os.umask(0o027)
    try:
        write(tmp_path / "export", private=False)
    finally:
        os.umask(mask)
    assert mode(tmp_path / "export") == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "payload"]


def test_a_file_that_is_replaced_keeps_its_mode_unless_it_is_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o664)
    write(path, private=False)
    assert (mode(path), path.read_bytes()) == (0o664, b"new")
    write(path)
    assert mode(path) == 0o600


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), write_atomically(path) as opened:
        opened.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_through_and_stays_a_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o644)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    write(fifo)
    reader.join(10)
    assert read == [b"new"]
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    assert mode(fifo) == 0o644
    assert list(tmp_path.iterdir()) == [fifo]


def test_a_device_is_written_through_and_stays_a_device(tmp_path: Path) -> None:
    """On a copy of /dev/null, never on the real one."""
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.open("wb").close()
    except PermissionError:
        pytest.skip("devices cannot be made or opened here; the pipe above shows the same")
    write(device)
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert list(tmp_path.iterdir()) == [device]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_an_open_descriptor_is_written_to_wherever_it_leads(name: str, tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from cegid_daemon.files import write_atomically\n"
        f"with write_atomically(Path({name!r})) as opened: opened.write(b'new')"
    )
    out = tmp_path / "out"
    with out.open("wb") as target:
        target.write(b"before ")
        target.flush()
        subprocess.run([sys.executable, "-c", script], stdout=target, check=True, timeout=30)
    assert out.read_bytes() == b"before new"
    piped = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=30)
    assert piped.stdout == b"new"


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_link_is_refused_with_what_it_leads_to(there: bool, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    with pytest.raises(Refused, match="leads to") as caught:
        write(link)
    assert str(target) in str(caught.value)
    assert link.is_symlink()
    assert target.exists() == there


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="missing does not exist"):
        write(tmp_path / "missing" / "file")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="Is a directory"):
        write(tmp_path)


def test_the_longest_name_has_room_for_its_temporary(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)
    write(path)
    assert path.read_bytes() == b"new"
