"""The API adapter against a server on loopback: what is sent, and what each failure is called."""

import base64
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon.config import Secret
from cegid_daemon.endpoints.aurora import AuroraApi
from cegid_daemon.errors import ConfigurationError, Permanent, Transient, Unsure, Untrusted
from cegid_daemon.model import EndpointSpec
from cegid_daemon.sites.aurora_standin import Reply
from tests.servers.aurora import (
    FaultyApi,
    body,
    cut_after,
    cut_before,
    cut_within,
    silent,
    status,
    trickling,
    wrapped,
)

ENVELOPE = (
    b'<?xml version="1.0"?>\n<AuroraRequestEnvelope><Requests><Request><Stock><Update><RequestID>1</RequestID>'
    b"<VariationReference>0001</VariationReference><Stock>8</Stock></Update></Stock></Request></Requests>"
    b"</AuroraRequestEnvelope>"
)


@pytest.fixture
def site() -> Iterator[FaultyApi]:
    with FaultyApi() as api:
        yield api


def api_at(url: str, **options: object) -> AuroraApi:
    return AuroraApi(EndpointSpec("aurora", url, {"token": Secret("the-token"), **options}))


def posted(api: AuroraApi, method: str = "StockUpdate", uid: str = "id-1") -> tuple[int, bytes]:
    with api.post(method, [ENVELOPE[:50], ENVELOPE[50:]], len(ENVELOPE), uid) as answer:
        return answer.status, b"".join(answer.body)


def test_a_request_bears_method_token_and_id_and_its_answer_comes_back_whole(site: FaultyApi) -> None:
    code, answer = posted(api_at(site.url))
    assert code == 200
    assert b"<Ack>Success</Ack>" in answer
    (request,) = site.received
    assert (request.method, request.request_uid, request.body) == ("StockUpdate", "id-1", ENVELOPE)
    assert site.applied == [("StockUpdate", "0001", "8")]


def test_a_wrong_token_is_an_answer_too(site: FaultyApi) -> None:
    code, _ = posted(api_at(site.url, token=Secret("another")))
    assert code == 401


@pytest.mark.parametrize(("where", "in_header", "in_body"), [("envelope", False, True), ("both", True, True)])
def test_the_token_can_travel_in_the_envelope(site: FaultyApi, where: str, in_header: bool, in_body: bool) -> None:
    posted(api_at(site.url, token_in=where))
    (request,) = site.received
    assert (request.token == "the-token") is in_header
    assert (b"<AuroraRequestEnvelope><Header><AuthToken>the-token</AuthToken></Header>" in request.body) is in_body


def test_a_redirect_is_not_followed(site: FaultyApi) -> None:
    site.plan = [status(307, Location="http://127.0.0.1:1/elsewhere")]
    assert posted(api_at(site.url))[0] == 307
    assert site.received == []


def test_when_to_come_again_is_told_in_seconds_or_as_a_moment(site: FaultyApi) -> None:
    site.plan = [status(429, Retry_After="7"), status(503, Retry_After="Fri, 31 Dec 2100 23:59:59 GMT"), status(503)]
    api = api_at(site.url)
    pauses = []
    for _ in range(3):
        with api.post("StockUpdate", [ENVELOPE], len(ENVELOPE), "id") as answer:
            pauses.append(answer.retry_after)
    assert pauses[0] == timedelta(seconds=7)
    assert pauses[1] is not None
    assert pauses[1] > timedelta(days=365)
    assert pauses[2] is None


def test_nobody_there_is_transient() -> None:
    with pytest.raises(Transient, match="cannot be reached"):
        posted(api_at("http://127.0.0.1:1/1.4"))


@pytest.mark.parametrize("fault", [cut_before, cut_after, cut_within])
def test_a_lost_answer_is_unsure(site: FaultyApi, fault: object) -> None:
    site.plan = [fault]  # type: ignore[list-item]
    with pytest.raises(Unsure, match="its answer was lost"):
        posted(api_at(site.url))


def test_a_silent_api_is_unsure_after_the_time_out(site: FaultyApi) -> None:
    site.plan = [silent]
    with pytest.raises(Unsure, match="did not answer in time"):
        posted(api_at(site.url, timeout=timedelta(milliseconds=200)))


def test_an_api_that_sends_a_byte_now_and_then_is_cut_at_the_deadline(site: FaultyApi) -> None:
    site.plan = [trickling]
    with pytest.raises(Unsure, match="as a whole"):
        posted(api_at(site.url, deadline=timedelta(milliseconds=300)))


def test_an_answer_without_bound_is_refused(site: FaultyApi) -> None:
    site.plan = [body(b"x" * 5000)]
    with pytest.raises(Permanent, match="too large"):
        posted(api_at(site.url, max_answer=4000))


def test_a_request_beyond_the_pace_is_told_when_it_is_due(site: FaultyApi) -> None:
    api = api_at(site.url, pace="2/h")
    posted(api)
    posted(api)
    with pytest.raises(Transient, match="not due yet") as caught:
        posted(api)
    assert caught.value.after is not None
    assert timedelta(minutes=59) < caught.value.after <= timedelta(hours=1)
    assert len(site.received) == 2


ANSWER = b"<AuroraResponseEnvelope>" + b"<x>0001</x>" * 3000 + b"</AuroraResponseEnvelope>"
PACKED = base64.encodebytes(zlib.compress(ANSWER))
MIME = (
    b"preamble\r\n--B-1\r\nContent-Type: text/plain\r\n\r\nyour answer\r\n--B-1\r\nContent-Type: application/zlib\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n" + PACKED.replace(b"\n", b"\r\n") + b"\r\n--B-1--\r\nepilogue"
)
PLAIN_PART = b"--B-1\r\nContent-Type: text/xml\r\n\r\n" + ANSWER + b"\r\n--B-1--\r\n"
IN_BODY = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="B-1"\r\n\r\n' + MIME
WRAPPINGS = [
    (MIME, {"Content-Type": "multipart/mixed; boundary=B-1"}),
    (PLAIN_PART, {"Content-Type": "multipart/mixed; boundary=B-1"}),
    (IN_BODY, {"Content-Type": "text/xml"}),
    (PACKED, {"Content-Type": "application/zlib", "Content-Transfer-Encoding": "base64"}),
    (PACKED, {"Content-Type": "text/xml"}),
    (zlib.compress(ANSWER), {"Content-Type": "application/zlib"}),
    (zlib.compress(ANSWER), {"Content-Type": "text/xml", "Content-Encoding": "deflate"}),
]


@pytest.mark.parametrize(("content", "headers"), WRAPPINGS, ids=range(len(WRAPPINGS)))
def test_the_wrapping_of_a_large_answer_is_taken_off(site: FaultyApi, content: bytes, headers: dict[str, str]) -> None:
    site.plan = [wrapped(lambda _: Reply(200, content, headers))]
    assert posted(api_at(site.url))[1].strip() == ANSWER


@pytest.mark.parametrize("content", [MIME[:-40], b"--B-1\r\n", b"no boundary at all", b""])
def test_a_wrapping_that_is_cut_off_is_unsure(site: FaultyApi, content: bytes) -> None:
    site.plan = [wrapped(lambda _: Reply(200, content, {"Content-Type": "multipart/mixed; boundary=B-1"}))]
    with pytest.raises(Unsure, match="cannot be read"):
        posted(api_at(site.url))


def test_a_bomb_in_the_wrapping_is_bounded(site: FaultyApi) -> None:
    bomb = zlib.compress(b"0" * (64 << 20), 9)
    site.plan = [wrapped(lambda _: Reply(200, bomb, {"Content-Type": "application/zlib"}))]
    with pytest.raises(Permanent, match="too large"):
        posted(api_at(site.url, max_answer=1 << 20))


@pytest.mark.parametrize("url", ["http://api.shop.example/1.4", "https://user:pass@api.shop.example/1.4", "https:///x"])
def test_an_address_that_would_give_the_token_away_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        api_at(url)


def test_a_token_no_header_can_carry_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        api_at("https://api.shop.example/1.4", token=Secret("se\ncret"))
    assert "cret" not in str(caught.value)


def test_a_certificate_is_verified_by_the_own_authority_alone(tmp_path: Path, throwaway_certificate: Path) -> None:
    site = FaultyApi().over_tls(throwaway_certificate, throwaway_certificate)
    with site:
        url = site.url.replace("http://127.0.0.1", "https://localhost")
        assert posted(api_at(url, ca=str(throwaway_certificate)))[0] == 200
        with pytest.raises(Untrusted, match="not trusted"):
            posted(api_at(url))
        with pytest.raises(Untrusted, match="not trusted"):
            posted(api_at(url.replace("localhost", "127.0.0.1"), ca=str(throwaway_certificate)))


@pytest.fixture(scope="session")
def throwaway_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import subprocess

    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return both
