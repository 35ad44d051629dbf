"""Another user of this machine swaps links in while files are read and delivered: nothing outside is touched."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cegid_daemon.endpoints.folder import FolderEndpoint
from cegid_daemon.errors import EndpointError, SourceChanged

SECONDS = 1.0


@contextmanager
def swapping(*steps: Callable[[], None]) -> Iterator[None]:
    """Does these steps in turn, as fast as it can, until the block ends."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            for step in steps:
                with suppress(OSError):
                    step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def attempts(do: Callable[[], None]) -> tuple[int, int]:
    """How often something was done and how often it was refused, in a second."""
    done = refused = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            do()
        except (EndpointError, SourceChanged):
            refused += 1
        else:
            done += 1
    return done, refused


def test_a_link_swapped_in_for_a_file_is_never_read(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "in").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    file = root / "in" / "S1.csv"
    endpoint = FolderEndpoint(str(root))
    got: set[bytes] = set()

    def read() -> None:
        with endpoint.read("in", "S1.csv") as reading:
            got.add(b"".join(reading))

    def put(name: str) -> Callable[[], None]:
        aside = root / f".{name}"

        def step() -> None:
            if name == "own":
                aside.write_text("ours")
            else:
                aside.symlink_to(outside / "secret")
            aside.rename(file)

        return step

    with swapping(put("own"), put("link")):
        done, refused = attempts(read)
    assert done
    assert refused
    assert got <= {b"ours"}


def test_a_link_swapped_in_for_a_folder_is_never_entered(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "out").mkdir(parents=True)
    outside.mkdir()
    (outside / "S1.csv").write_text("secret")
    link, folder, aside = root / "link", root / "out", root / "aside"
    endpoint = FolderEndpoint(str(root))

    def swap_in() -> None:
        with suppress(FileExistsError):
            link.symlink_to(outside)
        folder.rename(aside)
        link.rename(folder)

    def swap_out() -> None:
        with suppress(FileNotFoundError):
            if folder.is_symlink():
                folder.unlink()
        aside.rename(folder)

    def deliver() -> None:
        endpoint.put("out", ".1.part", [b"ours"])
        endpoint.rename("out", ".1.part", "out", "S1.csv", replace=True)
        endpoint.list("out")
        endpoint.remove("out", "S1.csv")

    with swapping(swap_in, swap_out):
        done, refused = attempts(deliver)
    assert done + refused
    assert os.listdir(outside) == ["S1.csv"]  # noqa: PTH208
    assert (outside / "S1.csv").read_text() == "secret"
