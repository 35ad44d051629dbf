"""How payload bytes become frames: pieces of at most 1 MiB, each a zstd frame of its own with a checksum.

Used by the daemon and by worker processes alike, so it needs neither the journal nor the rest of its room. Never holds
more than one piece in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard

from cegid_daemon.errors import JournalDamaged

FRAME_SIZE = 1 << 20  # uncompressed bytes in a frame, all but the last one
_LEVEL = 3

Frame = tuple[int, bytes]  # (uncompressed size, zstd frame)


def compress_frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """The bytes of `chunks`, of whatever lengths, as frames of `FRAME_SIZE`; the last one shorter, none if empty."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    for piece in _pieces(chunks):
        yield len(piece), compressor.compress(piece)


def expand_frame(body: bytes) -> bytes:
    """The bytes behind a frame. Raises JournalDamaged if its checksum or its structure is wrong."""
    try:
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=FRAME_SIZE)
    except zstandard.ZstdError as exc:
        raise JournalDamaged(
            "a stored payload cannot be read back", why=str(exc), remedy="Restore the journal from a backup."
        ) from exc


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for chunk in chunks:
        if not held and len(chunk) == FRAME_SIZE:
            yield chunk
            continue
        held += chunk
        while len(held) >= FRAME_SIZE:
            with memoryview(held) as whole:
                piece = bytes(whole[:FRAME_SIZE])
            del held[:FRAME_SIZE]
            yield piece
    if held:
        yield bytes(held)
