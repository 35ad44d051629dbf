"""Files of a source folder that was moved, copied or spelled another way, while their messages are open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from spine import Failing, Spine, route

from cegid_daemon.endpoints.folder import FolderEndpoint
from cegid_daemon.endpoints.memory import MemoryEndpoint
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.errors import Transient
from cegid_daemon.model import EndpointSpec, Route

Way = Callable[[Path, Path], None]


class Shop(Spine):
    """Takes files from real folders; its target can be down."""

    down = False

    def __init__(self, folder: Path, *routes: Route) -> None:
        self.root = folder / "inbox"
        self.root.mkdir()
        super().__init__(folder, *routes)
        self.inbox = self.endpoints["inbox"] = FolderEndpoint(str(self.root))
        outbox = self.endpoints["outbox"] = Failing(self.outbox)
        outbox.on["put"] = self._put
        self.configure(*routes)

    def _put(self, *_: object, **__: object) -> None:
        if self.down:
            raise Transient("the server is down")

    def configure(self, *routes: Route) -> None:
        self.routes = {one.name: one for one in routes}
        for one in routes:
            if isinstance(endpoint := self.endpoints[one.source.endpoint], FolderEndpoint | MemoryEndpoint):
                endpoint.make_folder(one.source.folder)
        self.restart()

    def write(self, name: str, body: bytes, folder: str = "in") -> None:
        (self.root / folder / name).write_bytes(body)

    def look_all(self) -> None:
        self.after(seconds=5)
        for source in self.sources:
            source.look(patient=False)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path, route("stock"))
    yield shop
    shop.close()


def waiting(shop: Shop, *names: str) -> None:
    shop.down = True
    for name in names:
        shop.write(name, name.encode())
    shop.look_all()
    shop.look_all()
    assert set(shop.states()) <= {"waiting", "rewritten"}
    shop.down = False


def rename_folder(old: Path, new: Path) -> None:
    old.rename(new)


def copy_and_remove(old: Path, new: Path) -> None:
    """As to another disk: other inodes."""
    shutil.copytree(old, new, copy_function=shutil.copy2)
    shutil.rmtree(old)


def copy_beside(old: Path, new: Path) -> None:
    """The old folder stays, and no route takes from it any more."""
    shutil.copytree(old, new, copy_function=shutil.copy2)


def rename_files(old: Path, new: Path) -> None:
    new.mkdir()
    for path in old.iterdir():
        path.rename(new / path.name)


WAYS = [rename_folder, copy_and_remove, copy_beside, rename_files]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("now", [route("stock", source_folder="s2"),
                                 route("levels", source_folder="s2", moved_from=("stock",))])  # fmt: skip
def test_open_files_of_a_moved_folder_are_sent_once(shop: Shop, way: Way, now: Route) -> None:
    waiting(shop, "a.csv", "b.csv")
    way(shop.root / "in", shop.root / "s2")
    shop.configure(now)
    shop.look_all()
    shop.look_all()
    assert shop.states() == ["done", "done"]
    assert shop.out() == {"a.xml": b"a.csv", "b.xml": b"b.csv"}
    assert sorted(path.name for path in (shop.root / "s2").glob("processed/*/*")) == ["a.csv", "b.csv"]
    shop.write("a.csv", b"a.csv", "s2")
    shop.look_all()
    shop.look_all()
    assert shop.states() == ["done"] * 3, "the next file under the name is taken"


@pytest.mark.parametrize("way", WAYS)
def test_files_left_in_a_moved_folder_are_not_sent_again(shop: Shop, way: Way) -> None:
    shop.configure(route("stock", source_after="leave"))
    shop.write("a.csv", b"a")
    shop.write("b.csv", b"b")
    shop.look_all()
    shop.look_all()
    way(shop.root / "in", shop.root / "s2")
    shop.configure(route("stock", source_after="leave", source_folder="s2"))
    shop.write("c.csv", b"c", "s2")
    for _ in range(3):
        shop.look_all()
    assert shop.states() == ["done"] * 3
    shop.write("a.csv", b"another", "s2")
    shop.look_all()
    shop.look_all()
    assert shop.states() == ["done"] * 4, "what changes there is taken"


def test_a_file_replaced_in_the_moved_folder_is_taken(shop: Shop) -> None:
    waiting(shop, "a.csv")
    (shop.root / "in").rename(shop.root / "s2")
    (shop.root / "s2" / "a.csv").unlink()
    shop.write("a.csv", b"other", "s2")
    shop.configure(route("stock", source_folder="s2"))
    for _ in range(3):
        shop.look_all()
    assert [row[0] for row in shop.sql("SELECT count(*) FROM message")] == [2]
    assert b"other" in shop.out().values()


def test_another_file_of_the_same_name_in_a_second_source_is_taken_while_the_first_lies(shop: Shop) -> None:
    """A copy, and a hard link with the same inode, for a route of its own: both sources are configured."""
    waiting(shop, "a.csv", "b.csv")
    shop.configure(route("stock"), route("other", source_folder="two"))
    shop.down = True
    os.link(shop.root / "in" / "a.csv", shop.root / "two" / "a.csv")
    shutil.copy2(shop.root / "in" / "b.csv", shop.root / "two" / "b.csv")
    shop.look_all()
    shop.look_all()
    shop.down = False
    shop.look_all()
    assert len(shop.states()) == 4


def test_a_folder_whose_old_path_another_route_takes_from_now_is_recognised(shop: Shop) -> None:
    waiting(shop, "a.csv")
    (shop.root / "in").rename(shop.root / "s2")
    shop.configure(route("stock", source_folder="s2"), route("other", source_folder="in", target_folder="other"))
    shop.outbox.make_folder("other")
    for _ in range(3):
        shop.look_all()
    assert shop.states() == ["done"]


def test_the_same_folder_under_another_url_is_recognised(shop: Shop, tmp_path: Path) -> None:
    """As a link or a bind mount shows it."""
    waiting(shop, "a.csv")
    (tmp_path / "alias").symlink_to(shop.root)
    shop.endpoints["alias"] = FolderEndpoint(str(tmp_path / "alias"))
    shop.configure(route("stock", source_endpoint="alias"))
    for _ in range(3):
        shop.look_all()
    assert shop.states() == ["done"]


def remote(label: str, *folders: str) -> MemoryEndpoint:
    endpoint = MemoryEndpoint(label)
    endpoint.abilities = Abilities(remote=True)
    for folder in folders:
        endpoint.make_folder(folder)
    return endpoint


@pytest.mark.parametrize(("body", "count"), [(b"a", 1), (b"b", 2)])
def test_a_server_reached_by_another_url_is_recognised_by_the_bytes_of_its_files(
    tmp_path: Path, body: bytes, count: int
) -> None:
    """A name instead of a number, another scheme: neither inode nor the second of a time can be compared."""
    spine = Spine(tmp_path)
    try:
        spine.endpoints["old"] = remote("old", "in")
        spine.routes = {"stock": route("stock", source_endpoint="old")}
        spine.restart()
        spine.outbox.drop_folder("out")
        spine.endpoints["old"].lay("in", "a.csv", b"a")
        for _ in range(3):
            spine.after(minutes=1)
            spine.look(patient=False)
        assert spine.states() == ["waiting"]
        new = spine.endpoints["new"] = remote("new", "in")
        new.lay("in", "a.csv", body)
        mtime = new.list("in")[0].identity.mtime_ns - 40_000_000_000
        spine.journal.connection.execute("UPDATE source SET inode = 0, ctime_ns = 0, mtime_ns = ?", (mtime,))
        del spine.endpoints["old"]
        spine.routes = {"stock": route("stock", source_endpoint="new")}
        spine.outbox.make_folder("out")
        spine.restart()
        for _ in range(4):
            spine.after(minutes=1)
            spine.look(patient=False)
        assert len(spine.states()) == count
        assert new.content("in") == {}
    finally:
        spine.close()


@pytest.mark.parametrize("url", ["ftp://u@HOST.example/x", "ftp://u@host.example:21/x/", "ftp://u@host.Example/%78//"])
def test_one_place_has_one_text(url: str) -> None:
    assert Server.of(EndpointSpec("cegid", url)).where == "ftp://u@host.example:21/x"
