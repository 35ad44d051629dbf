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
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from cegid_daemon.endpoints import Endpoint, open_endpoint
from cegid_daemon.endpoints.many import read_many
from cegid_daemon.model import EndpointSpec
from tests.servers import ftp, sftp
from tests.servers.places import HOST, Place
from tests.servers.proxy import proxy

LARGE = 300 << 20
DELAY = 0.020  # seconds each way: 40 ms a round trip
ROUNDS = 3


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
    """100 files of 4 KB at 40 ms: ours against `lftp mirror -P 4`."""
    (place.root / "small").mkdir()
    for number in range(100):
        (place.root / "small" / f"{number:03}.csv").write_bytes(b"x" * 4096)
    port = int(place.url.split(":")[2].split("/")[0])
    with proxy(port) as line:
        line.delay = DELAY
        url = place.url.replace(f":{port}/", f":{line.port}/")
        hosts = Path(place.options["known_hosts"])
        hosts.write_text(hosts.read_text() + hosts.read_text().replace(f"]:{port} ", f"]:{line.port} "))
        endpoint = open_endpoint(EndpointSpec("bench", url, place.options))

        def ours() -> None:
            files = [entry for entry in endpoint.list("small") if entry.regular]
            assert sum(len(one.body) for one in read_many(endpoint, "small", files)) == 409600
            endpoint.close()

        def theirs() -> None:
            target = Path(tempfile.mkdtemp(dir=folder))
            lftp(
                f"set sftp:connect-program 'ssh -a -x -i {place.options['private_key']} "
                f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={hosts}'",
                f"open {url.partition('//')[0]}//{url.partition('//')[2].partition('@')[0]}:x@{HOST}:{line.port}",
                f"mirror -P 4 {place.root}/small {target}",
            )
            assert len(list(target.iterdir())) == 100

        told("SFTP, 100 files of 4 KB at 40 ms, with login", "lftp mirror -P 4", theirs, ours)


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


def told(what: str, tool: str, theirs: Callable[[], None], ours: Callable[[], None]) -> None:
    """Runs both alternately, and prints the best of each and their ratio."""
    seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(ROUNDS):
        for name, run in (("theirs", theirs), ("ours", ours)):
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
