"""How origins pass through what a template can do with values: filters, calls, operators.

Owns which filters hand on the values they get, and which make new ones that are to bear the origins of the old.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from jinja2.filters import make_attrgetter
from jinja2.runtime import BlockReference, LoopContext, Macro
from jinja2.utils import Cycler, Joiner, Namespace

from cegid_daemon.rewrite.flow import PLAIN
from cegid_daemon.rewrite.provenance import Origin, carry, keep, origin_of, origin_of_all
from cegid_daemon.rewrite.record import RawFields, Record

_HAND_ON = frozenset(
    {
        *("batch", "count", "d", "default", "first", "groupby", "last", "length", "list", "map", "max", "min"),
        *("reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort", "unique"),
    }
)
_WHOLE = frozenset({"dictsort", "items", "list"})  # what they make of a whole record are values of it
_MADE_ELSEWHERE = (Macro, LoopContext, BlockReference, Namespace, Cycler, Joiner, type(None), bool)
_CONTAINERS = (Record, dict, list, tuple, set, frozenset, LoopContext, Cycler, Joiner, Namespace)
_AS_IT_IS = (str, bytes, list, tuple, int, Mapping, range)
_SEQUENCES = (list, tuple)
_RECORDS = (Record, RawFields)

Filter = Callable[..., Any]


def carrying(filters: Mapping[str, Filter]) -> dict[str, Filter]:
    """The filters with origins carried through, and the plain ones under names of their own."""
    plain = {PLAIN + name: func for name, func in filters.items()}
    return {**plain, **{name: _carrying(name, func) for name, func in filters.items()}}


def _carrying(name: str, func: Filter) -> Filter:
    if name == "join":
        return _as_filter(func, _join(func))
    if name == "sum":
        return _as_filter(func, _sum(func))
    if name in _HAND_ON and name not in _WHOLE:
        return func

    first = int(hasattr(func, "jinja_pass_arg"))  # behind what Jinja passes

    def of_whole(*args: Any, **kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        whole = [one for one in args if isinstance(one, _RECORDS)]
        return carry(_listed(result), origin_of(whole[0])) if whole else result

    def carried(*args: Any, **kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        origin = origin_of_all((*args[first:], *kwargs.values()))
        return result if origin is None else carry(result, origin)

    return _as_filter(func, of_whole if name in _WHOLE else carried)


def _as_filter(func: Filter, made: Filter) -> Filter:
    """`wraps` copies the mark that says what Jinja passes first."""
    return wraps(func)(made)


def _join(join: Filter) -> Filter:
    def joined(eval_ctx: Any, value: Iterable[Any], d: str = "", attribute: Any = None) -> Any:
        if attribute is not None:
            value = map(make_attrgetter(eval_ctx.environment, attribute), value)
        parts = list(value)
        return keep(join(eval_ctx, parts, d), origin_of_all((*parts, d)))

    return joined


def _sum(add: Filter) -> Filter:
    def total(environment: Any, iterable: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
        if attribute is not None:
            iterable = map(make_attrgetter(environment, attribute), iterable)
        parts = list(iterable)
        return keep(add(environment, parts, None, start), origin_of_all(parts, total=True))

    return total


def of_call(called: Any, args: Collection[Any], kwargs: Mapping[str, Any], result: Any) -> Any:
    """The result of a call, bearing the origins of what it was made of."""
    if isinstance(called, _MADE_ELSEWHERE) or isinstance(result, _MADE_ELSEWHERE) or called is Namespace:
        return result
    owner = getattr(called, "__self__", None)
    if isinstance(owner, _CONTAINERS):
        return result
    if isinstance(owner, RawFields):
        return carry(_listed(result), origin_of(owner))
    return carry(_listed(result), origin_of_all((owner, *args, *_own(kwargs))))


def _own(kwargs: Mapping[str, Any]) -> Iterator[Any]:
    return (value for name, value in kwargs.items() if not name.startswith("_"))  # not those of Jinja


def _listed(result: Any) -> Any:
    """A view or an iterator as a list, so that what is in it can bear an origin."""
    if isinstance(result, _AS_IT_IS) or not isinstance(result, Iterable):
        return result
    return list(result)


def of_operation(result: Any, operands: Collection[Any]) -> Any:
    """What was computed or joined; several records' numbers make a total."""
    if isinstance(result, _SEQUENCES):
        return result
    origin: Origin | None = origin_of_all(operands, total=not isinstance(result, str))
    return keep(result, origin)
