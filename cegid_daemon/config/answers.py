"""Routes that speak with an API: what their keys mean together, and the routes that carry the answers.

Owns the rules for `request`, `method`, `reply` and `rejects`, and the making of an answer route: the API's answers to a
route, turned into a file for CEGID or only into the log's list of acks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from cegid_daemon.config.faults import Trouble
from cegid_daemon.config.lines import KeyPath
from cegid_daemon.config.schema import EndpointTable, OutputTable, Root, RouteTable, SourceTable, TargetTable
from cegid_daemon.model import Direction, Route, SourceSpec, TargetSpec, answer_route

ANSWER_LAYOUT = "aurora-answer"
ACKS = "aurora/acks.csv.j2"
ACKS_NAME = "{{ source.stem }}.acks.csv"
REPORT = TargetSpec("").report
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_OF_FILES = frozenset(
    {
        "folder", "match", "ignore", "settle", "settle_empty", "settle_open", "marker", "order", "after",
        "leave_changed", "archive", "max_size", "owner_mark",
    }
)  # fmt: skip
_OF_FILE_TARGETS = frozenset({"folder", "exists", "temporary"})
_OF_REQUESTS = frozenset({"overlap", "reach", "limit"})


def is_api(endpoint: EndpointTable | None) -> bool:
    """Whether an endpoint takes requests instead of files."""
    return endpoint is not None and endpoint.url.partition(":")[0] in ("http", "https")


def posting(root: Root) -> list[tuple[str, TargetTable]]:
    """The routes whose target is an API."""
    return [(name, route.target) for name, route in root.route.items() if route.target and route.target.method]


def answering(route: Route, target: TargetTable) -> Route:
    """The route that carries the API's answers to `route`."""
    reply = target.reply
    layout, template, _, _ = of_answers(target)
    return replace(
        route,
        name=answer_route(route.name),
        direction=Direction.EXPORT,
        source=SourceSpec(target.endpoint),
        layout=layout,
        template=template,
        target=TargetSpec(**dict(reply.target)) if reply else None,
        rejects=None,
        answers=route.name,
        moved_from=tuple(answer_route(old) for old in route.moved_from),
    )


def of_answers(target: TargetTable) -> tuple[str, str, OutputTable, str]:
    """Layout, template, output and name of what is made of an API's answers: the reply, else the log's list of acks."""
    reply = target.reply
    if reply is None:
        return ANSWER_LAYOUT, ACKS, OutputTable(), ACKS_NAME
    return reply.layout, reply.template, reply.output, reply.target.name


def requests_in(root: Root) -> list[str]:
    """The templates of the requests that APIs are asked with."""
    asked = [route.source.request for route in root.route.values()]
    reports = [target.report or REPORT for _, target in posting(root)]
    return sorted({name for name in asked + reports if name})


def endpoints_of(route: RouteTable) -> Iterator[str]:
    """Every endpoint a route has to do with."""
    yield route.source.endpoint
    if route.target is not None:
        yield route.target.endpoint
        if route.target.reply is not None:
            yield route.target.reply.target.endpoint
    if route.rejects is not None and route.rejects.endpoint:
        yield route.rejects.endpoint


def troubles_of_apis(root: Root) -> Iterator[Trouble]:
    """What is wrong with APIs and the routes from and to them."""
    for name, endpoint in root.endpoint.items():
        yield from _endpoint(("endpoint", name), endpoint)
    for name, route in root.route.items():
        yield from _source(("route", name, "source"), route.source, root)
        if route.target is not None:
            yield from _target(("route", name, "target"), route.target, root)
        yield from _rejects(("route", name, "rejects"), route, root)


def _endpoint(path: KeyPath, endpoint: EndpointTable) -> Iterator[Trouble]:
    if not is_api(endpoint):
        return
    parts = urlsplit(endpoint.url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        why = "the token and the data would travel in the clear"
        yield Trouble((*path, "url"), "http: is for this machine only", why, "Write https:.")
    if not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
        yield Trouble((*path, "url"), "is no address of an API", "", "Write https://api.SITE/VERSION.")
    if parts.scheme == "https" and endpoint.token is None:
        remedy = 'Set token = { credential = "aurora-token" }.'
        yield Trouble((*path, "token"), "an API needs a token", "it refuses every request without one", remedy)


def _source(path: KeyPath, source: SourceTable, root: Root) -> Iterator[Trouble]:
    api = is_api(root.endpoint.get(source.endpoint))
    if source.endpoint in root.endpoint and api != (source.request is not None):
        what = "an API is asked with a request" if api else "only an API can be asked"
        remedy = 'Set request = "aurora/order-get.xml.j2".' if api else "Remove it, or take an https: endpoint."
        yield Trouble((*path, "request"), what, f"endpoint {source.endpoint!r} is {_is(api)}", remedy)
    if source.request is not None and not source.unique:
        why = "requests overlap, and the same record comes again and again"
        yield Trouble((*path, "unique"), "a request needs `unique`", why, 'Set unique = "r.OrderID".')
    for key in sorted(source.model_fields_set & (_OF_FILES if source.request is not None else _OF_REQUESTS)):
        why = "it is for files, and the source is an API" if source.request is not None else "the source has no request"
        yield Trouble((*path, key), f"{key!r} does nothing", why, "Remove it.")


def _target(path: KeyPath, target: TargetTable, root: Root) -> Iterator[Trouble]:
    api = is_api(root.endpoint.get(target.endpoint))
    if target.endpoint in root.endpoint and api != bool(target.method):
        what = "an API is posted to with a method" if api else "only an API has methods"
        remedy = 'Set method = "StockUpdate".' if api else "Remove it, or take an https: endpoint."
        yield Trouble((*path, "method"), what, f"endpoint {target.endpoint!r} is {_is(api)}", remedy)
    for key in sorted(target.model_fields_set & (_OF_FILE_TARGETS if target.method else {"reply", "report"})):
        why = "the target is an API" if target.method else "the target is no API"
        yield Trouble((*path, key), f"{key!r} does nothing", why, "Remove it.")
    if target.reply is not None and is_api(root.endpoint.get(target.reply.target.endpoint)):
        yield _takes_no_files((*path, "reply", "target", "endpoint"))


def _rejects(path: KeyPath, route: RouteTable, root: Root) -> Iterator[Trouble]:
    if route.rejects is None:
        return
    endpoint = route.rejects.endpoint or (route.target.endpoint if route.target else "")
    if not endpoint:
        yield Trouble((*path, "endpoint"), "rejects of a route without a target", "", "Remove it.")
    elif is_api(root.endpoint.get(endpoint)):
        yield _takes_no_files((*path, "endpoint"))


def _takes_no_files(path: KeyPath) -> Trouble:
    return Trouble(path, "an API holds no files", "", "Name a folder, FTP or SFTP endpoint.")


def _is(api: bool) -> str:
    return "one" if api else "none"
