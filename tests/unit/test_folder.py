"""What the folder endpoint does beyond the contract: odd files, foreign errors, syncs, descriptors."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cegid_daemon.endpoints import open_endpoint, renaming
from cegid_daemon.endpoints.folder import FolderEndpoint
from cegid_daemon.errors import Absent, ConfigurationError, EndpointError, Exists, Permanent, SourceChanged, Transient
from cegid_daemon.model import EndpointSpec
from tests.contract.worlds import lay_every_odd_kind


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """What a real file system does is the point here."""
    return disk_path


@pytest.fixture
def folder(tmp_path: Path) -> FolderEndpoint:
    (tmp_path / "in").mkdir()
    return FolderEndpoint(str(tmp_path))


def fail(code: int) -> Callable[..., object]:
    def call(*_args: object, **_options: object) -> object:
        raise OSError(code, os.strerror(code))

    return call


def behind(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("url", "where"),
    [("file:/srv/in", "file:/srv/in"), ("file:///srv/in/", "file:/srv/in"), ("file:/srv//in%20x", "file:/srv/in%20x")],
)
def test_one_place_has_one_name(url: str, where: str) -> None:
    assert open_endpoint(EndpointSpec("inbox", url)).where == where


@pytest.mark.parametrize("url", ["file:inbox", "file://server/share", "file:", "gopher://x"])
def test_a_url_that_names_no_absolute_path_is_a_configuration_fault(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_endpoint(EndpointSpec("inbox", url))
    assert raised.value.where.field == "endpoint.inbox.url"


def test_nothing_but_regular_files_is_regular_or_opened(folder: FolderEndpoint, tmp_path: Path) -> None:
    odd = lay_every_odd_kind(tmp_path / "in")
    assert {entry.name: entry.regular for entry in folder.list("in")} == dict.fromkeys(odd, False)
    for name in odd:
        with pytest.raises(SourceChanged), folder.read("in", name):
            pass


def test_a_link_instead_of_a_folder_is_not_entered(folder: FolderEndpoint, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in" / "processed").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "a").write_bytes(b"x")
    with pytest.raises(Transient, match="real path"):
        folder.rename("in", "a", "in/processed", "a", replace=False)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    FolderEndpoint(str(tmp_path / "link")).put("", "a", [b"x"])
    assert (tmp_path / "real" / "a").read_bytes() == b"x"


def test_put_does_not_write_through_a_link(folder: FolderEndpoint, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / "in" / "a.tmp").symlink_to(tmp_path / "victim")
    folder.put("in", "a.tmp", [b"ours"])
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert (tmp_path / "in" / "a.tmp").read_bytes() == b"ours"


def test_put_does_not_block_on_a_pipe(folder: FolderEndpoint, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in" / "a.tmp")
    folder.put("in", "a.tmp", [b"ours"])
    assert (tmp_path / "in" / "a.tmp").read_bytes() == b"ours"


def test_a_file_has_the_rights_the_umask_leaves(folder: FolderEndpoint, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder.put("in", "a", [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "in" / "a").stat().st_mode) == 0o640


def test_identity_tells_a_replaced_file_of_the_same_size(folder: FolderEndpoint, tmp_path: Path) -> None:
    file = tmp_path / "in" / "a"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    before = folder.stat("in", "a")
    (tmp_path / "in" / "b").write_bytes(b"two")
    os.utime(tmp_path / "in" / "b", ns=(1, 1))
    (tmp_path / "in" / "b").rename(file)
    after = folder.stat("in", "a")
    assert before is not None
    assert after is not None
    assert not after.identity.same_file(before.identity)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, Transient),
        (errno.EDQUOT, Transient),
        (errno.EROFS, Transient),
        (errno.EACCES, Transient),
        (errno.EPERM, Transient),
        (errno.EIO, Transient),
        (errno.ESTALE, Transient),
        (errno.EMFILE, Transient),
        (errno.ELOOP, Permanent),
        (errno.ENOTDIR, Transient),
        (errno.EXDEV, Permanent),
        (errno.ENOENT, Absent),
        (errno.EUCLEAN, Transient),
    ],
)
def test_errors_of_the_disk_are_told_with_path_and_remedy(
    folder: FolderEndpoint, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[EndpointError]
) -> None:
    monkeypatch.setattr(os, "rename", fail(code))
    with pytest.raises(kind) as raised:
        folder.rename("in", "a", "in", "b", replace=True)
    assert raised.value.why == os.strerror(code)
    assert raised.value.where.file.endswith("/in/a")
    assert raised.value.remedy or kind is Absent


def test_a_disk_that_fills_up_while_writing_is_transient(
    folder: FolderEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", fail(errno.ENOSPC))
    with pytest.raises(Transient, match="free space"):
        folder.put("in", "a.tmp", [b"x"])


def test_a_write_that_takes_only_a_part_goes_on_with_the_rest(
    folder: FolderEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, body: whole(fd, body[:3]))
    folder.put("in", "a", [b"0123456789"])
    assert (tmp_path / "in" / "a").read_bytes() == b"0123456789"


def test_a_size_that_does_not_read_back_is_transient(folder: FolderEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda _fd, body: len(body))
    with pytest.raises(Transient, match="wrote 10 bytes, but the file has 0"):
        folder.put("in", "a", [b"0123456789"])


def test_put_syncs_the_file_and_sync_its_name(
    folder: FolderEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(behind(fd)))
    folder.put("in", "a", [b"x"])
    assert synced == [str(tmp_path / "in" / "a")]
    folder.sync("in")
    assert synced[1:] == [str(tmp_path / "in")]


def test_a_made_folder_is_synced_into_its_parent(
    folder: FolderEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(behind(fd)))
    folder.make_folder("in/x/y")
    assert synced == [str(tmp_path / "in"), str(tmp_path / "in" / "x")]


def test_a_file_system_that_cannot_sync_folders_is_no_error(
    folder: FolderEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", fail(errno.EINVAL))
    folder.sync("in")
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    with pytest.raises(Transient):
        folder.sync("in")


@pytest.mark.parametrize("missing", ["function", "flag"])
def test_where_the_kernel_cannot_refuse_to_replace_we_look_first(
    folder: FolderEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def unknown_flag(*_args: object) -> int:
        renaming.ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(renaming, "_renameat2", None if missing == "function" else unknown_flag)
    (tmp_path / "in" / "a").write_bytes(b"new")
    (tmp_path / "in" / "b").write_bytes(b"old")
    with pytest.raises(Exists):
        folder.rename("in", "a", "in", "b", replace=False)
    folder.rename("in", "a", "in", "c", replace=False)
    assert (tmp_path / "in" / "c").read_bytes() == b"new"
    assert (tmp_path / "in" / "b").read_bytes() == b"old"


def test_a_dangling_link_is_a_taken_name(folder: FolderEndpoint, tmp_path: Path) -> None:
    (tmp_path / "in" / "a").write_bytes(b"new")
    (tmp_path / "in" / "b").symlink_to("nowhere")
    with pytest.raises(Exists):
        folder.rename("in", "a", "in", "b", replace=False)


def test_a_root_that_is_not_there_is_absent_and_is_not_made(tmp_path: Path) -> None:
    gone = FolderEndpoint(str(tmp_path / "gone"))
    for call in (lambda: gone.list(""), lambda: gone.put("", "a", [b"x"]), lambda: gone.make_folder("in")):
        with pytest.raises(Absent):
            call()
    assert not (tmp_path / "gone").exists()


def test_no_descriptor_stays_open_whatever_happens(folder: FolderEndpoint, tmp_path: Path) -> None:
    (tmp_path / "in" / "a").write_bytes(b"x")
    (tmp_path / "in" / "link").symlink_to("a")
    before = open_descriptors()
    folder.list("in")
    folder.put("in", "b", [b"x"])
    folder.rename("in", "b", "in", "c", replace=True)
    for call in (
        lambda: folder.list("in/nowhere/at/all"),
        lambda: folder.list("in/a/below"),
        lambda: folder.read("in", "link").__enter__(),
        lambda: folder.rename("in", "x", "in", "y", replace=False),
        lambda: folder.put("in", "d" * 256, [b"x"]),
    ):
        with pytest.raises((EndpointError, SourceChanged)):
            call()
    assert open_descriptors() == before


def test_a_name_too_long_for_the_disk_is_permanent(folder: FolderEndpoint) -> None:
    with pytest.raises(Permanent, match="255 bytes"):
        folder.put("in", "d" * 256, [b"x"])
