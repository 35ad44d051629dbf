"""The workshop: the rewriting in bounded worker processes.

`pool` decides who works on what, `hiring` starts and ends processes, `nursery` and `worker` are those processes,
`wire` is how they talk, `spool` where results lie, `orders` what goes in and out. Raises only errors of `errors.py`.
"""

from cegid_daemon.workshop.orders import Finished, Limits, Order, PartFrames, Rows
from cegid_daemon.workshop.pool import Workshop

__all__ = ["Finished", "Limits", "Order", "PartFrames", "Rows", "Workshop"]
