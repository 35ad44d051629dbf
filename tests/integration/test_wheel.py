"""The wheel carries all it needs: built here, installed into an environment of its own, used as a newcomer would.

No network: the libraries are those of the environment the tests run in, the package itself is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str | Path, cwd: Path) -> str:
    """Its standard output; without the settings of this environment, and never from the checkout."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE", "PIP_"))}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment in which only the wheel is installed."""
    place = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, ROOT, cwd=place)
    (wheel,) = place.glob("cegid_daemon-*.whl")
    venv.create(place / "env", with_pip=False)
    python = place / "env" / "bin" / "python"
    run(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=place)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip())
    # A path in a .pth file is searched, but the .pth files in it (the editable install) are not read.
    (own / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return python.parent


def test_the_wheel_is_what_runs_and_its_files_travel_with_it(installed, tmp_path):
    told = run(
        installed / "python", "-c",
        "import json, cegid_daemon; from cegid_daemon import resources as r; "
        "print(json.dumps([cegid_daemon.__file__, *map(str, (r.templates(), r.units(), r.samples(), "
        "r.starter_configuration())), *map(str, r.layout_presets().values())]))",
        cwd=tmp_path,
    )  # fmt: skip
    files = [Path(text) for text in json.loads(told)]
    assert all(file.is_relative_to(installed.parent) and file.exists() for file in files)
    for name in ("templates", "systemd", "samples"):
        here = {path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*") if path.is_file()}
        (there,) = (file for file in files if file.name == name)
        assert here
        assert {path.relative_to(there) for path in there.rglob("*") if path.is_file()} == here


def test_a_started_folder_passes_the_check_and_delivers_its_samples(installed, tmp_path):
    shop = tmp_path / "shop"
    run(installed / "cegid-daemon", "init", shop, cwd=tmp_path)
    run(installed / "cegid-daemon", "check", cwd=shop)
    drops = {
        "inventory": "STOCK.csv", "inventory-asc": "STOCK.asc", "products": "PRODUCTS.xml",
        "product-fields": "FIELDS.csv", "orders": "ORDERS.xml",
    }  # fmt: skip
    for route, sample in drops.items():
        (shop / "inbox" / route / sample).write_bytes((shop / "samples" / sample).read_bytes())
    run(installed / "cegid-daemon", "once", cwd=shop)
    for route, sample in drops.items():
        (filed,) = (shop / "inbox" / route / "processed").glob("*/*")
        assert filed.name == sample
        if route != "product-fields":
            (sent,) = (shop / "outbox" / route).iterdir()
            assert sent.stat().st_size > 0
    assert not list((shop / "var" / "spool").iterdir())
