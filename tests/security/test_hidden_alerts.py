"""What a sender writes into a file or its name is text in every alert: what each channel would really be sent."""

from __future__ import annotations

import email
import email.policy
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pytest

from cegid_daemon.alerts import Told, due

HOSTILE = (
    "<img src=x onerror=alert(1)> <b>x</b> <!channel> <@U123|x> <users/all> <at user_id='all'>x</at> "
    "@everyone @channel @all @**all** "
    "*bold* _it_ `code` ~~s~~ ||sp|| [click](http://evil.example) ![](http://evil.example/t.png) & {{7*7}}\r\n"
    "Bcc: evil@evil.example\r\n\r\n# head\u202egnp.exe\u200b\x1b[2J"
)
TELEGRAM, DISCORD = "tgram://123456789:abcdefg_hijklmnop/12315544/", "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
TEAMS = "workflows://host:443/643a031cff8e4b8ca4b4df5f8ec0ad2b/TIiajkdnlazkcOXrIdevi7FQ"
EVERY_FORMAT = ("", "?format=markdown", "?format=html", "?format=text")


CHANNELS = {"slack": f"{SLACK}/%23general/", "telegram": TELEGRAM, "discord": DISCORD, "teams": TEAMS,
            "mattermost": "mmost://mm.example/abcdefghijklmnop", "matrix": "matrixs://user:token@matrix.example/!x:b",
            "mail": "mailto://user:pass@mail.example"}  # fmt: skip
OTHERS = {"zulip": "zulip://bot@org/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/stream", "gchat": "gchat://work/keyk/toke",
          "mastodon": "mastodon://token@m.example", "feishu": "feishu://abcdefgh123", "lark": "lark://abcdefgh123",
          "synology": "synology://s.example/token", "json": "json://h.example", "html": "json://h.example/?format=html",
          "sendgrid": "sendgrid://abcd.abcd:from@a.example/to@b.example",
          "mailgun": "mailgun://user@a.example/aaaaaaaa-bbbbbbbb-cccccccc/to@b.example"}  # fmt: skip


@pytest.fixture(scope="module")
def sent() -> dict[str, list[str]]:
    """What was sent to each channel."""
    title, text = alert()
    wanted = {f"{name}{form}": f"{url}{form}" for name, url in CHANNELS.items() for form in EVERY_FORMAT} | OTHERS
    order = json.dumps({"urls": list(wanted.values()), "title": title, "text": text})
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.channel_sender"], input=order, text=True, capture_output=True,
        check=False, cwd=Path(__file__).parents[2], timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {name: found[url] for name, url in wanted.items()}


def alert() -> tuple[str, str]:
    """The alert that hostile text of a file comes to."""
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    message = due({"message 1 failed": f"Message 1 (route, {HOSTILE!s}) failed"}, Told(), timedelta(0), now)
    assert message is not None
    return message.title, message.text


def last(sent: dict[str, list[str]], name: str) -> Any:
    return json.loads(sent[name][-1])


def test_an_alert_is_a_line_whose_odd_characters_are_shown_by_their_numbers():
    _, text = alert()
    assert "\n" not in text
    assert "\\u202e" in text and "\\u200b" in text and "\\x1b" in text
    assert not re.search("[\x00-\x1f\u202e\u200b]", text)


@pytest.mark.parametrize("wanted", EVERY_FORMAT)
def test_slack_mentions_nobody_and_opens_no_tag(sent, wanted):
    name = f"slack{wanted}"
    body = last(sent, name)
    text = body["attachments"][0]["text"]
    assert body["mrkdwn"] is False
    assert not set("<>") & set(text)
    assert "&lt;!channel&gt;" in text
    assert "@everyone" not in text


@pytest.mark.parametrize("wanted", EVERY_FORMAT)
def test_telegram_gets_text_escaped_for_its_parse_mode(sent, wanted):
    name = f"telegram{wanted}"
    body = last(sent, name)
    assert body["parse_mode"] == "HTML"
    assert re.findall("<[^>]*>", body["text"]) == ["<b>", "</b>"]  # the title's own
    assert "&lt;img src=x" in body["text"]


@pytest.mark.parametrize("wanted", EVERY_FORMAT)
def test_discord_mentions_nobody_and_shows_no_link_behind_other_words(sent, wanted):
    name = f"discord{wanted}"
    shown = json.dumps(body := last(sent, name), ensure_ascii=False)
    text = body.get("content") or body["embeds"][0]["description"]
    assert not re.search(r"@(everyone|here|U123)", shown)
    assert not re.search(r"(?<!\\)[*_`~|<\[\]]", text)
    assert "allow_mentions" not in body


@pytest.mark.parametrize("wanted", EVERY_FORMAT)
def test_mattermost_mentions_nobody_and_loads_no_picture(sent, wanted):
    name = f"mattermost{wanted}"
    text = last(sent, name)["text"]
    assert not re.search(r"@(everyone|channel|all)", text)
    assert not re.search(r"(?<!\\)[*_`~|<\[\]]", text)


@pytest.mark.parametrize("wanted", EVERY_FORMAT)
def test_teams_shows_markdown_as_text(sent, wanted):
    name = f"teams{wanted}"
    blocks = last(sent, name)["attachments"][0]["content"]["body"]
    text = next(one["text"] for one in blocks if one.get("id") == "body")
    assert not re.search(r"(?<!\\)[*_`~\[\]]", text)


@pytest.mark.parametrize("wanted", EVERY_FORMAT)
def test_matrix_is_sent_no_html(sent, wanted):
    name = f"matrix{wanted}"
    body = next(json.loads(one) for one in sent[name] if "msgtype" in one)
    assert "formatted_body" not in body
    assert not re.search(r"@(everyone|all|room)", body["body"])


@pytest.mark.parametrize("name", ["zulip", "gchat", "mastodon"])
def test_other_chats_mention_nobody_and_hide_no_link(sent, name):
    body = sent[name][-1]
    shown = json.dumps(json.loads(body) if body.startswith("{") else parse_qs(body), ensure_ascii=False)
    assert not re.search(r"@(everyone|channel|all|\*\*all)", shown)
    assert "](http" not in shown
    assert name != "gchat" or "<users/all>" not in shown


@pytest.mark.parametrize("name", ["feishu", "lark", "synology"])
def test_chats_that_read_tags_find_none(sent, name):
    assert "all" in sent[name][-1]
    assert not re.search(r"<[/!@\w]", unquote_plus(sent[name][-1]))


@pytest.mark.parametrize("name", ["json", "html"])
def test_a_webhook_is_given_the_text_as_it_is(sent, name):
    assert last(sent, name)["message"] == alert()[1]


@pytest.mark.parametrize("wanted", EVERY_FORMAT)
def test_a_mail_is_plain_text_and_its_head_is_ours(sent, wanted):
    mail = email.message_from_string(
        next(one for one in sent[f"mail{wanted}"] if "Subject:" in one), policy=email.policy.default
    )
    parts = [part.get_content_type() for part in mail.walk() if not part.is_multipart()]
    assert parts == ["text/plain"]
    assert mail["bcc"] is None
    assert "\n" not in str(mail["subject"])
    text = mail.get_body()
    assert text is not None
    assert "<img src=x onerror=alert(1)>" in "".join(text.get_content().splitlines())


@pytest.mark.parametrize("name", ["sendgrid", "mailgun"])
def test_a_mail_by_a_service_is_plain_text_too(sent, name):
    body = sent[name][-1]
    assert "&lt;img" not in body and "%26lt%3Bimg" not in body
    assert "text/html" not in body and "html=" not in body
