"""The pure core: bytes of a received file in, bytes of the parts to deliver out.

`rewrite` does all of it. Knows no file, socket, clock, thread, database or log: what it needs of the world comes
through `ports`, what it is made with through a `recipe`.
"""

from cegid_daemon.rewrite.rewriting import rewrite

__all__ = ["rewrite"]
