"""One message as a person reads it: `log show`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cegid_daemon.cli.output import plural, say
from cegid_daemon.cli.rewriting import equation, remark_lines


def show_message(known: Mapping[str, Any]) -> None:
    """Prints what `LogBook.message` gives."""
    say(f"message {known['id']} ({known['uid']}): {_standing(known)}")
    facts = {
        "route": f"{known['route']}, store {known['store']}, number {known['seq']} of the route",
        "received": f"{known['received_at']}, {plural(known['size'], 'byte')}, {_digest(known)}",
        "file": _file(known),
        "records": _records(known),
        "made with": f"recipe {known['recipe_sha256']}, buffer revision {known['revision']}"
        if known["made_at"]
        else "",
        "replay of": f"message {known['replay_of']}, as {known['replay_as']}" if known["replay_of"] else "",
        "next try": known["next_try_at"] or "",
        "closed": known["closed_at"] or "",
        "newer": _newer(known),
    }
    for name, text in facts.items():
        if text:
            say(f"  {name:<10} {text}")
        if name == "records":
            _show_remarks(known["coverage"] or {})
    _show_error(known["error"])
    _show_rows(known)


def _show_remarks(coverage: Mapping[str, Any]) -> None:
    notes = [f"{what}: {times}" for what, times in coverage.get("notes", {}).items()]
    for line in (*notes, *remark_lines(coverage)):
        say(f"  {'':<10} {line}")


def _newer(known: Mapping[str, Any]) -> str:
    if not known["newer_sent"]:
        return ""
    newer = f"{plural(known['newer_sent'], 'newer message')} of the route went out"
    return f"{newer} before it" if known["state"] == "done" else f"{newer} since it came: sent now, it goes after them"


def _standing(known: Mapping[str, Any]) -> str:
    return f"{known['state']}, {known['refusal']}" if known["refusal"] else str(known["state"])


def _delivery_state(one: Mapping[str, Any]) -> str:
    """When it arrived, and what the receiver said of it after that."""
    said = f"{one['refused']} of {one['requests']} requests refused" if one["refusal"] else ""
    if one["state"] == "refused" and one["delivered_at"]:
        return f"delivered {one['delivered_at']}, rejected"
    return ", ".join(filter(None, (f"{one['state']} {one['delivered_at'] or ''}".strip(), said)))


def _digest(known: Mapping[str, Any]) -> str:
    return f"sha256 {known['sha256']}" if known["sha256"] else "not read"


def _records(known: Mapping[str, Any]) -> str:
    coverage = known["coverage"]
    if not coverage:
        return "not rewritten" if known["state"] == "failed" else "not rewritten yet"
    nothing = known["state"] == "done" and not known["parts"]
    return equation(coverage) + (": nothing to send" if nothing else "")


def _file(known: Mapping[str, Any]) -> str:
    source = known["source"]
    name = "/".join(filter(None, (known["folder"], known["file_name"])))
    if source is None:
        return f"{name}, from the journal"
    where = f"filed as {source['filed_as']}" if source["state"] == "filed" and source["filed_as"] else source["state"]
    return f"{name} of endpoint {source['endpoint']}, now: {where}"


def _show_error(error: Mapping[str, str] | None) -> None:
    if error is None:
        return
    say(f"  error      {error['what']}")
    for name in ("where", "why", "remedy"):
        if error[name]:
            say(f"    {name:<8} {error[name]}")


def _show_rows(known: Mapping[str, Any]) -> None:
    for part in known["parts"]:
        kept = "" if part["payload"] else ", bytes no longer kept"
        say(f"  part {part['no']}     {plural(part['records'], 'record')}, {plural(part['size'], 'byte')}, "
            f"sha256 {part['sha256']}{kept}")  # fmt: skip
    for one in known["deliveries"]:
        name = "/".join(filter(None, (one["folder"], one["name"])))
        say(f"  delivery   part {one['part']} to {one['endpoint']}, {name}: {_delivery_state(one)}")
    for one in known["attempts"]:
        say(f"  {one['at']} {one['step']} {one['outcome']}: {one['detail']}")
    for one in known["decisions"]:
        reason = f": {one['reason']}" if one["reason"] else ""
        say(f"  {one['at']} {one['what']} by {one['who']}{reason}")
    for one in known["replays"]:
        say(f"  replayed as message {one['id']}, {one['state']}")
    if known["entries"]:
        say(f"  log        entries {', '.join(map(str, known['entries']))}")
