"""What an answer of the API says, whatever its form: accepted, refused, deferred, or nothing at all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cegid_daemon.errors import BadInput
from cegid_daemon.pipeline.envelopes import Tying, method_of, refusal_of, requests_of
from cegid_daemon.pipeline.posting import is_repeatable
from cegid_daemon.pipeline.verdicts import Key, Refusal, Verdict
from cegid_daemon.poller import iso_duration
from cegid_daemon.rewrite.templates import compile as compile_template
from tests.golden.golden_bench import freeze, shipped_template

SENT = b"""<AuroraRequestEnvelope><Requests>
<Request><Stock><Update><RequestID>1</RequestID><ProductReference>P</ProductReference>
<VariationReference>0001</VariationReference><Stock>8</Stock></Update></Stock></Request>
<Request><Stock><Update><RequestID>2</RequestID><VariationReference>0002</VariationReference></Update></Stock></Request>
</Requests></AuroraRequestEnvelope>"""


def header(ack: str, errors: str = "", succeeded: str = "", message: str = "") -> str:
    return (
        f"<Header><Summary><Ack>{ack}</Ack><RequestsSucceeded>{succeeded}</RequestsSucceeded>"
        f"<RequestErrors>{errors}</RequestErrors><Message>{message}</Message></Summary></Header>"
    )


def response(request_id: str, ack: str, data: str = "") -> str:
    return f"<Response><RequestID>{request_id}</RequestID><Ack>{ack}</Ack><Data>{data}</Data></Response>"


def judged(head: str, *responses: str, late: bool = False) -> tuple[Verdict, bytes]:
    text = f"<AuroraResponseEnvelope>{head}<Responses>{''.join(responses)}</Responses></AuroraResponseEnvelope>"
    tying = Tying(lambda: [SENT], lambda: [text.encode()], late=late)
    tied = b"".join(tying.pieces())
    return tying.verdict, tied


def test_requests_are_known_by_id_and_key() -> None:
    assert list(requests_of(lambda: [SENT])) == [
        ("1", Key("VariationReference", "0001")), ("2", Key("VariationReference", "0002")),
    ]  # fmt: skip


def test_the_key_of_a_product_is_its_own_not_that_of_a_variation_in_it() -> None:
    product = (
        b"<E><Request><Product><Add><RequestID>1</RequestID><ProductReference>P1</ProductReference><Variations>"
        b"<Variation><VariationReference>V1</VariationReference></Variation></Variations></Add></Product></Request></E>"
    )
    assert list(requests_of(lambda: [product])) == [("1", Key("ProductReference", "P1"))]


def test_each_response_is_given_out_with_the_key_of_its_request() -> None:
    verdict, tied = judged(
        header("Success", "1"), response("2", "Failure", "<Error>no</Error>"), response("1", "Success")
    )
    assert (verdict.accepted, [str(one) for one in verdict.refusals]) == (
        1,
        ["RequestID 2, VariationReference 0002: no"],
    )
    assert tied.count(b"<Key>0002</Key><KeyName>VariationReference</KeyName>") == 1


@pytest.mark.parametrize("word", ["Success", "OK", "ok", " success ", "1", "true", "Accepted"])
def test_words_that_mean_yes(word: str) -> None:
    assert judged("", response("1", word), response("2", word))[0].accepted == 2


@pytest.mark.parametrize("word", ["Failure", "Error", "", "Maybe", "Succes"])
def test_a_word_that_is_not_known_to_mean_yes_is_a_refusal(word: str) -> None:
    verdict, _ = judged(header("Success"), response("1", word), response("2", "Success"))
    assert len(verdict.refusals) == 1
    assert word in verdict.refusals[0].reason


def counts(verdict: Verdict) -> tuple[int, int, int]:
    """Accepted, refused, and how many requests the answer speaks of."""
    return verdict.accepted, verdict.refused, verdict.requests


@pytest.mark.parametrize("words", [("Success", "Failure"), ("Failure", "Success"), ("Failure", "Failure", "Error")])
def test_of_several_responses_to_one_request_the_worst_counts_once_and_with_its_key(words: tuple[str, ...]) -> None:
    verdict, tied = judged("", *(response("1", word) for word in words), response("2", "Success"))
    assert counts(verdict) == (1, 1, 2)
    assert verdict.refusals[0].key == Key("VariationReference", "0001")
    assert tied.count(b"<Key>0001</Key>") == len(words)
    assert not verdict.nothing_accepted


def test_a_deferral_is_over_when_the_same_answer_says_more() -> None:
    verdict, _ = judged("", response("1", "Queued"), response("1", "Success"), response("2", "OK"))
    assert (counts(verdict), verdict.deferred) == ((2, 0, 2), 0)


def test_requests_with_one_id_are_answered_in_their_order() -> None:
    sent = SENT.replace(b"<RequestID>2<", b"<RequestID>1<")
    answer = "<A><Responses>" + response("1", "Success") + response("1", "Failure") + "</Responses></A>"
    tying = Tying(lambda: [sent], lambda: [answer.encode()])
    b"".join(tying.pieces())
    assert counts(tying.verdict) == (1, 1, 2)
    assert tying.verdict.refusals[0].key == Key("VariationReference", "0002")


def test_a_refusal_of_a_request_that_was_never_sent_is_told_and_is_none_of_ours() -> None:
    verdict, _ = judged(
        "", response("9", "Failure"), response("9", "Failure"), response("1", "OK"), response("2", "OK")
    )
    assert counts(verdict) == (2, 1, 3)
    assert (verdict.refusals, verdict.reasons) == ([], {})
    assert str(verdict.strays[0]) == "RequestID 9: Ack 'Failure' (no request of ours has this id)"
    accepted, _ = judged("", response("9", "OK"), response("1", "OK"), response("2", "OK"))
    assert counts(accepted) == (2, 0, 2)


@pytest.mark.parametrize(
    "data",
    [
        "<Variation><Ack>Failure</Ack><Error>no such</Error></Variation>",
        "<Error>no such</Error>",
        "<Errors><Error><Code>7</Code><Message>no such</Message></Error></Errors>",
    ],
)
def test_a_yes_with_a_no_or_a_fault_in_it_is_a_refusal(data: str) -> None:
    verdict, _ = judged(header("Success"), response("1", "Success", data), response("2", "Success"))
    assert counts(verdict) == (1, 1, 2)
    assert "no such" in verdict.refusals[0].reason


@pytest.mark.parametrize(
    "data", ["<Message>updated</Message>", "<Errors>0</Errors>", "<Error>None</Error>", "<Errors/>"]
)
def test_a_yes_with_a_word_that_is_no_fault_stays_one(data: str) -> None:
    assert counts(judged("", response("1", "Success", data), response("2", "Success"))[0]) == (2, 0, 2)


def test_the_ack_of_a_response_is_its_own_wherever_it_stands() -> None:
    inner_first = (
        "<Response><Data><Variation><RequestID>77</RequestID><Ack>Success</Ack></Variation></Data>"
        "<RequestID>1</RequestID><Ack>Failure</Ack></Response>"
    )
    assert counts(judged(header("Success"), inner_first, response("2", "Success"))[0]) == (1, 1, 2)


@pytest.mark.parametrize("head", [header("Failure"), header("Success", "1"), header("Success", "0", "1")])
def test_a_header_that_speaks_of_refusals_which_nobody_names_is_believed(head: str) -> None:
    verdict, _ = judged(head, response("1", "Success"), response("2", "Success"))
    assert counts(verdict) == (2, 1, 3)
    assert "the header says Ack" in str(verdict.strays[0])
    named, _ = judged(head, response("1", "Success"), response("2", "Failure"))
    assert named.strays == []


def test_a_report_that_names_a_refusal_again_adds_nothing() -> None:
    answer = f"<A><Responses>{response('1', 'Failure')}{response('2', 'Success')}</Responses></A>"
    tying = Tying(lambda: [SENT], lambda: [answer.encode()], late=True, known={"1"})
    b"".join(tying.pieces())
    assert tying.verdict.is_final
    assert tying.verdict.refused == 0


def test_an_envelope_that_is_refused_as_a_whole_counts_each_request() -> None:
    verdict, _ = judged(header("Failure", message="wrong version"))
    assert (counts(verdict), verdict.reasons) == ((0, 2, 2), {"wrong version": 2})


def test_what_is_not_answered_by_itself_stands_with_an_envelope_that_says_yes() -> None:
    assert judged(header("Success", "0", "2"))[0].accepted == 2
    assert judged(header("Success"))[0].accepted == 2
    assert judged(header("Success", "0", "2"), response("1", "Success"))[0].accepted == 2


def test_what_is_not_answered_by_itself_falls_with_any_other() -> None:
    counted_less, _ = judged(header("Success", "0", "1"), response("1", "Success"))
    assert [refusal.reason for refusal in counted_less.refusals] == ["not answered"]
    headless, _ = judged("", response("1", "Success"))
    assert [refusal.request_id for refusal in headless.refusals] == ["2"]


def test_an_envelope_that_is_refused_as_a_whole_says_why() -> None:
    verdict, _ = judged(header("Failure", message="wrong version"))
    assert verdict.refused_whole == "wrong version"
    assert verdict.nothing_accepted


def test_deferred_requests_name_their_reports() -> None:
    report = "<ReportID>R-1</ReportID>"
    verdict, _ = judged(header("Success"), response("1", "Deferred", report), response("2", "queued", report))
    assert (verdict.deferred, list(verdict.reports), verdict.nothing_accepted) == (2, ["R-1"], False)


def test_a_report_speaks_only_of_what_it_names() -> None:
    verdict, _ = judged(header("Success"), response("2", "Failure", "<Error>no</Error>"), late=True)
    assert verdict.is_final
    assert [refusal.request_id for refusal in verdict.refusals] == ["2"]
    assert not judged(header("Success"), late=True)[0].is_final


@pytest.mark.parametrize("answer", [b"", b"not XML", b"<html><body>Maintenance</body></html>", b"<Responses><Resp"])
def test_what_is_no_answer_cannot_be_judged(answer: bytes) -> None:
    with pytest.raises(BadInput):
        b"".join(Tying(lambda: [SENT], lambda: [answer]).pieces())


def test_a_document_type_in_an_answer_is_refused() -> None:
    bomb = b'<!DOCTYPE r [<!ENTITY a "aaaa">]><Responses><Response><Ack>&a;</Ack></Response></Responses>'
    with pytest.raises(BadInput):
        b"".join(Tying(lambda: [SENT], lambda: [bomb]).pieces())


def test_a_refusal_is_told_from_an_empty_answer() -> None:
    def said(text: str) -> str:
        return refusal_of(lambda: [text.encode()])

    assert said("<Responses/>") == ""
    assert said(f"<A>{header('Success')}<Responses><Response><Data/></Response></Responses></A>") == ""
    assert said(f"<A>{header('Failure', message='no rights')}<Responses/></A>") == "no rights"
    assert said(
        "<Responses><Response><Ack>Failure</Ack><Data><Error>no page</Error></Data></Response></Responses>"
    ) == ("no page")


def test_the_shipped_requests_ask_what_their_names_say() -> None:
    def rendered(name: str, **names: object) -> str:
        return "".join(compile_template(freeze(name, shipped_template)).render(names))

    orders = rendered("aurora/order-get.xml.j2", interval="PT20M", page=3, limit=50)
    assert method_of(lambda: [orders.encode()]) == "OrderGet"
    assert "<Interval>PT20M</Interval>" in orders
    assert "<Paging>\n            <Limit>50</Limit>\n            <Page>3</Page>" in orders
    reports = rendered("aurora/report-get.xml.j2", reports=("R-1", "R&2"))
    assert method_of(lambda: [reports.encode()]) == "ReportGet"
    assert "<ReportID>R&amp;2</ReportID>" in reports


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(minutes=15), "PT15M"),
        (timedelta(hours=26, seconds=5), "P1DT2H5S"),
        (timedelta(days=2), "P2D"),
        (timedelta(milliseconds=1), "PT1S"),
        (timedelta(seconds=59, milliseconds=1), "PT1M"),
        (timedelta(0), "PT1S"),
    ],
)
def test_spans_are_written_as_iso_8601_and_never_too_short(span: timedelta, text: str) -> None:
    assert iso_duration(span) == text


def test_only_requests_that_set_or_ask_are_repeated_by_themselves() -> None:
    assert all(map(is_repeatable, ("StockUpdate", "ProductAdd", "ProductUpdate", "OrderUpdate", "StockGet")))
    assert not any(map(is_repeatable, ("OrderAdd", "CustomerAdd", "OrderRefund", "")))


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("21", Key("VariationReference", "2000000000022"), "variation is archived"),
        Refusal("", Key("OrderID", "A:1, B"), "no: because\nof that"),
        Refusal("7", Key(), "no reason, VariationReference"),
    ],
)
def test_a_refusal_that_was_written_down_is_read_again(refusal: Refusal) -> None:
    assert Refusal.read(str(refusal)) == refusal
    assert Refusal.read("and 12 more") is None


def test_each_response_beats_for_there_may_be_very_many() -> None:
    beats: list[None] = []
    answer = "<A><Responses>" + "<Response><RequestID>1</RequestID><Ack>OK</Ack></Response>" * 500 + "</Responses></A>"
    tying = Tying(lambda: [SENT], lambda: [answer.encode()], beat=lambda: beats.append(None))
    for _ in tying.pieces():
        pass
    assert len(beats) == 500
