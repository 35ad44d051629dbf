"""What goes out after newer messages of its route says so on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.harness import Shop, route_table, rows


def test_replay_release_and_log_show_tell_what_went_out_since(tmp_path: Path) -> None:
    shop = Shop(tmp_path, route_table("rows"))
    shop.drop("S1.csv", b"ID;N\nbad\n")
    (shop.inbox / "S2.csv").touch()
    shop.call("once")
    shop.drop("S3.csv", rows("m3"))
    shop.call("once")
    (shop.inbox / "S2.csv").write_bytes(rows("m2"))
    told = shop.call("once")
    assert [line.startswith("message 3 is held: ") for line in told.stderr.splitlines()] == [True]
    shown = shop.call("log", "show", "1")
    assert "1 newer message of the route went out since it came" in shown.stdout
    assert json.loads(shop.call("log", "show", "3", "--json").stdout)["newer_sent"] == 1
    assert "newer message" not in shop.call("log", "show", "2").stdout
    released = shop.call("release", "3", "--json")
    assert json.loads(released.stdout) == [{"message": 3, "route": "rows", "state": "received", "newer_sent": 1}]
    assert "warning: 1 newer message of route rows went out since message 3" in released.stderr
    shop.call("once")
    assert "1 newer message of the route went out before it" in shop.call("log", "show", "3").stdout
    assert "warning: 1 newer message of route rows" in shop.call("replay", "1").stderr
