"""What a template may ask of the objects it meets: an allow-list by kind, for all that are more than values.

Texts, lists and dicts offer what Python's do, as far as Jinja's sandbox lets them; what stands here offers the names
given and no others. `docs/templates.md` lists the same, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from types import BuiltinFunctionType, BuiltinMethodType, FunctionType, GeneratorType, MethodType

from jinja2 import Undefined
from jinja2.runtime import BlockReference, LoopContext, Macro, TemplateReference
from jinja2.utils import Cycler, Joiner

from cegid_daemon.rewrite.record import ATTRIBUTES, RawFields, Record
from cegid_daemon.rewrite.seen import MessageSeen, SourceSeen


class OnePass:
    """Marks what can be read only once and therefore not be counted: a template goes through it, and no more."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<records>"  # without its place in memory, which is another each time


_DAY = frozenset(
    {"ctime", "day", "isocalendar", "isoformat", "isoweekday", "month", "replace", "strftime", "timetuple", "toordinal",
     "weekday", "year"}
)  # fmt: skip
_TIME = frozenset({"dst", "fold", "hour", "isoformat", "microsecond", "minute", "replace", "second", "strftime",
                   "tzinfo", "tzname", "utcoffset"})  # fmt: skip
_MOMENT = frozenset({"astimezone", "date", "time", "timestamp", "timetz", "utctimetuple"})
_NOTHING: frozenset[str] = frozenset()


def _public(kind: type) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if not name.startswith("_"))


OFFERED: Mapping[type, frozenset[str]] = {
    OnePass: _NOTHING,
    Record: ATTRIBUTES,
    RawFields: frozenset({"get", "items", "keys", "values"}),
    MessageSeen: frozenset({"id", "name", "received_at"}),
    SourceSeen: frozenset({"folder", "name", "stem", "suffix"}),
    LoopContext: _public(LoopContext) | {"depth0"},  # an attribute of each loop, not of the class
    Macro: frozenset({"arguments", "caller", "catch_kwargs", "catch_varargs", "name"}),
    Cycler: frozenset({"current", "next", "reset"}),
    Joiner: _NOTHING,
    BlockReference: frozenset({"super"}),
    TemplateReference: _NOTHING,
    Undefined: _NOTHING,
    datetime: _DAY | _TIME | _MOMENT,
    date: _DAY,
    time: _TIME,
    timedelta: frozenset({"days", "microseconds", "seconds", "total_seconds"}),
    tzinfo: frozenset({"dst", "tzname", "utcoffset"}),
    int: _public(int),
    float: _public(float),
    Decimal: _public(Decimal),
    type: frozenset({"fromkeys"}),  # `dict`, `cycler`, `joiner`, `namespace` themselves
    FunctionType: _NOTHING,
    MethodType: _NOTHING,
    BuiltinFunctionType: _NOTHING,
    BuiltinMethodType: _NOTHING,
    GeneratorType: _NOTHING,
}


@lru_cache(maxsize=512)
def offered(kind: type) -> frozenset[str] | None:
    """The names that objects of this kind offer a template; None: it is no kind that is listed."""
    return next((OFFERED[one] for one in kind.__mro__ if one in OFFERED), None)
