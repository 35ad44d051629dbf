"""cegid-daemon: carries files between CEGID and an Aurora web store."""

__version__ = "0.1.0"
