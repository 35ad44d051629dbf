"""A user's folder on the drop site, without any server: what can be reached, and what becomes of an upload."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.masks import OWNER_MARK
from cegid_daemon.model import Identity
from cegid_daemon.sites import upload
from cegid_daemon.sites.dropfolder import DropFolder
from cegid_daemon.sites.names import ListingBudget, Names
from cegid_daemon.sites.upload import Uploads


class Site:
    def __init__(self, root: Path, max_size: int = 0) -> None:
        self.root = root
        self.root.mkdir(exist_ok=True)
        self.landed: list[tuple[str, str, Identity]] = []
        self.folder = DropFolder(str(root), Uploads(), lambda *what: self.landed.append(what), max_size=max_size)

    def put(self, path: str, content: bytes) -> None:
        upload = self.folder.upload(path)
        upload.write(content)
        upload.commit()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "root")


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b"]), max_size=8))
def test_no_path_leads_above_the_root(parts: list[str]) -> None:
    assert ".." not in DropFolder.parts("/".join(parts))


def test_a_whole_upload_is_told_with_the_identity_the_folder_endpoint_will_see(site: Site) -> None:
    site.put("/S.csv", b"x")
    ((folder, name, identity),) = site.landed
    found = (site.root / "S.csv").stat()
    assert (folder, name) == (str(site.root), "S.csv")
    assert identity.same_file(Identity(found.st_size, found.st_mtime_ns, found.st_ino))


def test_a_resumption_goes_on_with_what_broke_off(site: Site) -> None:
    first = site.folder.upload("S.csv")
    first.write(b"half")
    first.keep()
    assert site.folder.stat("S.csv").st_size == 4
    assert list(site.folder.names("/")) == []
    second = site.folder.upload("S.csv", resume=True)
    second.to_end()
    second.write(b" more")
    second.commit()
    assert (site.root / "S.csv").read_bytes() == b"half more"


def test_a_resumption_from_further_back_cuts_what_came_after(site: Site) -> None:
    first = site.folder.upload("S.csv")
    first.write(b"0123456789")
    first.keep()
    second = site.folder.upload("S.csv", resume=True)
    second.seek(4)
    second.write(b"x")
    second.commit()
    assert (site.root / "S.csv").read_bytes() == b"0123x"


def test_a_new_upload_forgets_what_broke_off(site: Site) -> None:
    first = site.folder.upload("S.csv")
    first.write(b"old and long")
    first.keep()
    site.put("S.csv", b"new")
    assert (site.root / "S.csv").read_bytes() == b"new"
    assert not (site.root / ".uploading").exists()


def test_what_broke_off_before_a_whole_file_came_is_not_gone_on_with(site: Site) -> None:
    first = site.folder.upload("S.csv")
    first.write(b"long ago")
    os.utime(site.root / ".uploading" / "S.csv", (1, 1))
    first.keep()
    (site.root / "S.csv").write_bytes(b"whole")
    assert site.folder.stat("S.csv").st_size == 5
    second = site.folder.upload("S.csv", resume=True)
    second.to_end()
    second.write(b"!")
    second.commit()
    assert (site.root / "S.csv").read_bytes() == b"whole!"


def test_the_later_of_two_resumptions_wins_and_the_earlier_may_not_touch_the_file(site: Site) -> None:
    first = site.folder.upload("S.csv")
    first.write(b"half")
    second = site.folder.upload("S.csv", resume=True)
    with pytest.raises(OSError, match="later upload"):
        first.write(b"garbage")
    with pytest.raises(OSError, match="later upload"):
        first.commit()
    second.to_end()
    second.write(b" whole")
    second.commit()
    assert (site.root / "S.csv").read_bytes() == b"half whole"
    assert len(site.landed) == 1


def test_a_gap_is_never_written(site: Site) -> None:
    upload = site.folder.upload("S.csv")
    upload.write_at(4, b"late")
    assert (site.root / ".uploading" / "S.csv").stat().st_size == 0
    with pytest.raises(OSError, match="did not come"):
        upload.commit()
    assert site.folder.stat("S.csv").st_size == 0
    assert site.landed == []


def test_too_much_ahead_of_a_gap_is_refused(site: Site) -> None:
    upload = site.folder.upload("S.csv")
    upload.write_at(1, bytes(16 << 20))
    with pytest.raises(OSError, match="too far ahead"):
        upload.write_at((16 << 20) + 1, b"x")
    upload.discard()
    assert not (site.root / ".uploading").exists()


def test_what_broke_off_long_ago_is_removed_by_the_next_upload_there(site: Site) -> None:
    site.folder.upload("old.csv").keep()
    week = time.time() - 8 * 86400
    os.utime(site.root / ".uploading" / "old.csv", (week, week))
    site.put("new.csv", b"x")
    assert [path.name for path in site.root.iterdir()] == ["new.csv"]


def test_where_very_much_broke_off_not_every_upload_looks_for_what_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(upload, "time", SimpleNamespace(monotonic=lambda: now[0]))
    uploads = upload.Uploads()
    looks: list[str] = []

    def look(name: str, seconds: float) -> None:
        looks.append(name)
        now[0] += seconds

    for _ in range(3):
        uploads.look_for_old((1, 1), lambda: look("large", 0.5))
        uploads.look_for_old((1, 2), lambda: look("small", 0.001))
    assert looks == ["large", "small", "small", "small"]
    now[0] += 50
    uploads.look_for_old((1, 1), lambda: look("large", 0.5))
    assert looks[-1] == "large"


def test_long_listings_under_way_are_bounded_and_short_ones_pass() -> None:
    budget = ListingBudget(limit=500_000)
    long = [f"{number:0200}" for number in range(1000)]
    kept = [budget.count(Names(long)), budget.count(Names(long))]
    with pytest.raises(BlockingIOError, match="try again later"):
        budget.count(Names(long))
    assert list(budget.count(Names(["short"]))) == ["short"]
    del kept[0]
    kept.append(budget.count(Names(long)))
    del kept
    assert len(budget.count(Names(long * 10))) == 10_000


def test_the_folder_of_broken_uploads_cannot_be_named(site: Site) -> None:
    site.folder.upload("S.csv").keep()
    for path in (".uploading", ".uploading/S.csv", "/.uploading/../.uploading/S.csv"):
        with pytest.raises(FileNotFoundError):
            site.folder.open(path)
        with pytest.raises(FileNotFoundError):
            site.folder.remove(path)
        with pytest.raises(FileNotFoundError):
            site.folder.upload(path)


def test_pipes_and_links_are_neither_shown_nor_opened_nor_replaced(site: Site) -> None:
    os.mkfifo(site.root / "pipe")
    (site.root / "link").symlink_to("/etc/passwd")
    assert list(site.folder.names("/")) == []
    for name in ("pipe", "link"):
        with pytest.raises(OSError):
            site.folder.open(name)
        with pytest.raises(OSError):
            site.folder.upload(name)
        with pytest.raises(OSError):
            site.folder.remove(name)
        with pytest.raises(OSError):
            site.folder.rename(name, "elsewhere", replace=True)


def test_a_link_in_place_of_the_folder_of_broken_uploads_is_not_followed(site: Site, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "S.csv").write_text("secret")
    (site.root / ".uploading").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        site.folder.upload("S.csv", resume=True)
    with pytest.raises(FileNotFoundError):
        site.folder.stat("S.csv")
    with pytest.raises(FileNotFoundError):
        site.folder.remove("S.csv")
    assert (tmp_path / "outside" / "S.csv").read_text() == "secret"


def test_a_bound_on_the_size_holds_to_the_byte(tmp_path: Path) -> None:
    site = Site(tmp_path / "root", max_size=3)
    site.put("fits", b"abc")
    upload = site.folder.upload("large")
    with pytest.raises(OSError, match="larger than"):
        upload.write(b"abcd")
    assert upload.too_large
    upload.discard()
    assert list(site.folder.names("/")) == ["fits"]


def test_no_descriptor_stays_open(site: Site) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    site.put("a", b"x")
    site.folder.upload("b").keep()
    site.folder.upload("c").discard()
    for path in ("missing/x", "a/x", "."):
        with pytest.raises(OSError):
            site.folder.upload(path)
    site.folder.stat("a")
    list(site.folder.names("/"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_whose_the_folder_is_is_no_affair_of_clients(site: Site) -> None:
    (site.root / OWNER_MARK).write_text("{}")
    assert list(site.folder.names("/")) == []
    for ask in (site.folder.stat, site.folder.open, site.folder.remove, site.folder.upload, site.folder.make_folder):
        with pytest.raises(FileNotFoundError):
            ask(f"/{OWNER_MARK}")
    assert (site.root / OWNER_MARK).read_text() == "{}"
