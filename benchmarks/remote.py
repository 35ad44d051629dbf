"""Remote endpoints against the tools of the trade, as ratios in one run: lftp, OpenSSH's sftp.

    python -m benchmarks.remote

Real servers on loopback (vsftpd, sshd), started here. Each pair is measured alternately and the best of three counts:
the machine is noisy.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import synthesis
from cegid_daemon.endpoints import Endpoint, open_endpoint
from cegid_daemon.endpoints.many import read_many
from cegid_daemon.model import EndpointSpec
from tests.servers import ftp, sftp
from tests.servers.places import HOST, Place
from tests.servers.proxy import proxy

LARGE = 300 << 20
DELAY = 0.020  # seconds each way: 40 ms a round trip
ROUNDS = 3
TITLES = "GA_CODEARTICLE;GA_CODEBARRE;GQ_DEPOT;GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI;GQ_CLOTURE"
FILES = 100
CONFIGURATION = """
state = "var"
[console]
listen = ""
[store.main]
[endpoint.far]
url = "{url}"
private_key = "{key}"
known_hosts = "{hosts}"
[endpoint.near]
url = "file:near"
[route.stock]
store = "main"
source = {{ endpoint = "{source}", folder = "stock", match = "*.csv", settle = "0s" }}
layout = "y2-stock-csv"
template = "aurora/inventory-import.xml.j2"
target = {{ endpoint = "{target}", folder = "made", name = "{{{{ source.stem }}}}.xml" }}
"""


def main() -> None:
    """Measures everything and prints a table."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        ssh = stack.enter_context(sftp.openssh(folder / "ssh"))
        plain = stack.enter_context(ftp.vsftpd(_made(folder / "ftp")))
        secure = stack.enter_context(ftp.vsftpd(_made(folder / "ftps"), scheme="ftps"))
        many_small_over_sftp(folder, ssh)
        large_over_sftp(folder, ssh)
        large_over_ftp("FTP", folder, plain)
        large_over_ftp("FTPS", folder, secure)


def many_small_over_sftp(folder: Path, place: Place) -> None:
    """100 files of 4 KB at 40 ms against `lftp mirror -P 4`: read by our endpoint, and carried by the daemon.

    The daemon's part is the whole way of `once`: listed, read, claimed, rewritten, delivered into a folder, and filed
    away on the server. lftp only fetches.
    """
    (place.root / "small").mkdir()
    for number in range(FILES):
        (place.root / "small" / f"{number:03}.csv").write_bytes(b"x" * 4096)
    with delayed(place) as line:
        endpoint = open_endpoint(EndpointSpec("bench", line.url, place.options))

        def ours() -> None:
            files = [entry for entry in endpoint.list("small") if entry.regular]
            assert sum(len(one.body) for one in read_many(endpoint, "small", files)) == FILES * 4096
            endpoint.close()

        theirs = partial(mirror, folder, place, line.url)
        told("SFTP, 100 files of 4 KB at 40 ms, with login", "lftp mirror -P 4", theirs, ours)
        runs = iter(range(ROUNDS))
        told(
            "the same through `cegid-daemon once`, filed away as well", "lftp mirror -P 4", theirs,
            lambda: taken(folder / f"taken{next(runs)}", place, line.url),
            prepare=lambda: stock(place.root / "stock"),
        )  # fmt: skip
        (place.root / "made").mkdir()
        more = iter(range(ROUNDS))
        told(
            "100 files out of a folder by `cegid-daemon once`", "lftp mirror -R -P 4",
            lambda: mirror_back(folder, place, line.url),
            lambda: delivered(folder / f"delivered{next(more)}", place, line.url),
            prepare=lambda: emptied(place.root / "made"),
        )  # fmt: skip


@contextmanager
def delayed(place: Place) -> Iterator[Place]:
    """The same server behind a slow line, under a port of its own that is trusted as well."""
    port = int(place.url.split(":")[2].split("/")[0])
    with proxy(port) as line:
        line.delay = DELAY
        hosts = Path(place.options["known_hosts"])
        hosts.write_text(hosts.read_text() + hosts.read_text().replace(f"]:{port} ", f"]:{line.port} "))
        yield replace(place, url=place.url.replace(f":{port}/", f":{line.port}/"))


def mirror(folder: Path, place: Place, url: str) -> None:
    """lftp fetches the small files."""
    target = Path(tempfile.mkdtemp(dir=folder))
    lftp(*opened(place, url), f"mirror -P 4 {place.root}/small {target}")
    assert len(list(target.iterdir())) == FILES


def mirror_back(folder: Path, place: Place, url: str) -> None:
    """lftp sends as many files, each aside and renamed as it would have to be."""
    source = Path(tempfile.mkdtemp(dir=folder))
    stock(source)
    aside = ("set xfer:use-temp-file yes", "set xfer:temp-file-name .part-*")
    lftp(*aside, *opened(place, url), f"mirror -R -P 4 {source} {place.root}/made")
    assert len(list((place.root / "made").iterdir())) == FILES


def opened(place: Place, url: str) -> tuple[str, str]:
    """lftp's words for a connection."""
    user, _, rest = url.partition("://")[2].partition("@")
    return (
        f"set sftp:connect-program 'ssh -a -x -i {place.options['private_key']} "
        f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={place.options['known_hosts']}'",
        f"open sftp://{user}:x@{rest.partition('/')[0]}",
    )


def stock(folder: Path) -> None:
    """Stock files of about 4 KB each, as the sender lays them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        rows = (
            f"{synthesis.product(item)};{synthesis.sku(item)};001;{synthesis.physical(item)},000;0,000;;-"
            for item in range(number * 88, number * 88 + 88)
        )
        (folder / f"{number:03}.csv").write_text("\r\n".join((TITLES, *rows, "")))


def taken(root: Path, place: Place, url: str) -> None:
    """From the server into a folder."""
    (root / "near" / "made").mkdir(parents=True)
    once(root, place, url, "far", "near")
    assert len(list((root / "near" / "made").iterdir())) == FILES
    assert not list((place.root / "stock").glob("*.csv"))


def delivered(root: Path, place: Place, url: str) -> None:
    """From a folder to the server."""
    stock(root / "near" / "stock")
    once(root, place, url, "near", "far")
    assert len(list((place.root / "made").iterdir())) == FILES


def once(root: Path, place: Place, url: str, source: str, target: str) -> None:
    """The daemon's `once`, from its start to its end."""
    options = {"key": place.options["private_key"], "hosts": place.options["known_hosts"]}
    (root / "cegid-daemon.toml").write_text(CONFIGURATION.format(url=url, source=source, target=target, **options))
    subprocess.run([sys.executable, "-m", "cegid_daemon", "once"], cwd=root, check=True, capture_output=True)


def emptied(folder: Path) -> None:
    """Nothing in it, as a receiver leaves it."""
    for path in folder.iterdir():
        path.unlink()


def large_over_sftp(folder: Path, place: Place) -> None:
    """300 MB each way: ours against OpenSSH's sftp."""
    large = random_file(folder / "large")
    endpoint = open_endpoint(place.spec())
    endpoint.list("")
    port = place.url.split(":")[2].split("/")[0]

    def batch(*commands: str) -> None:
        options = ["-o", f"UserKnownHostsFile={place.options['known_hosts']}", "-o", "StrictHostKeyChecking=yes"]
        user = place.url.partition("//")[2].partition("@")[0]
        subprocess.run(
            ["sftp", "-q", "-b", "-", "-i", place.options["private_key"], "-P", port, *options, f"{user}@{HOST}"],
            input="\n".join(commands).encode(), check=True, capture_output=True,
        )  # fmt: skip

    put, get = transfers(endpoint, large)
    told("SFTP, 300 MB up", "sftp", lambda: batch(f"put {large} {place.root}/theirs"), put)
    told("SFTP, 300 MB down", "sftp", lambda: batch(f"get {place.root}/ours {folder}/got"), get)
    endpoint.close()


def large_over_ftp(label: str, folder: Path, place: Place) -> None:
    """300 MB each way: ours against lftp."""
    large = random_file(folder / "large")
    endpoint = open_endpoint(place.spec())
    endpoint.list("")
    scheme, _, rest = place.url.partition("://")
    address = rest.partition("@")[2]
    settings = [
        f"set ssl:ca-file {place.options['ca']}" if "ca" in place.options else "set ftp:ssl-allow no",
        "set ftp:ssl-protect-data yes",
        "set ftp:ssl-force yes" if scheme == "ftps" else "set ftp:use-feat yes",
        f"open -u anonymous,x ftp://{address}",
    ]
    put, get = transfers(endpoint, large)
    told(f"{label}, 300 MB up", "lftp", lambda: lftp(*settings, f"put {large} -o theirs"), put)
    told(f"{label}, 300 MB down", "lftp", lambda: lftp(*settings, f"get ours -o {folder}/got-ftp"), get)
    endpoint.close()


def transfers(endpoint: Endpoint, large: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """Up and down again, to and from this machine's disk as the tools do it."""

    def put() -> None:
        with large.open("rb") as source:
            endpoint.put("", "ours", iter(lambda: source.read(1 << 20), b""))

    def get() -> None:
        with endpoint.read("", "ours") as reading, (large.parent / "ours").open("wb") as target:
            for chunk in reading:
                target.write(chunk)

    return put, get


def told(
    what: str,
    tool: str,
    theirs: Callable[[], None],
    ours: Callable[[], None],
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """Runs both alternately, each after `prepare`, and prints the best of each and their ratio."""
    seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(ROUNDS):
        for name, run in (("theirs", theirs), ("ours", ours)):
            prepare()
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    best = {name: min(taken) for name, taken in seconds.items()}
    ratio = best["theirs"] / best["ours"]
    sys.stdout.write(f"{what}: {tool} {best['theirs']:.2f} s, ours {best['ours']:.2f} s, speed {ratio:.2f}\n")
    sys.stdout.flush()


def lftp(*commands: str) -> None:
    """Runs lftp without anybody's settings."""
    script = "; ".join(["set cmd:fail-exit yes", "set xfer:clobber yes", *commands, "bye"])
    subprocess.run(["lftp", "--norc", "-c", script], check=True, capture_output=True, timeout=300)


def random_file(path: Path) -> Path:
    """LARGE bytes that no line compresses."""
    if not path.exists():
        with Path("/dev/urandom").open("rb") as source, path.open("wb") as target:
            for _ in range(LARGE >> 20):
                target.write(source.read(1 << 20))
    return path


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
