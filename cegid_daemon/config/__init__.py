"""The configuration: a TOML file in, frozen objects out, or every fault at once with its key and line.

Owns what the file may say and what it means. Opens no endpoint and no journal; templates and schemas are read here
once and frozen into the routes' recipes.
"""

from cegid_daemon.config.loading import load
from cegid_daemon.config.secrets import Secret
from cegid_daemon.config.settings import AlertSpec, Config, ConsoleSpec

__all__ = ["AlertSpec", "Config", "ConsoleSpec", "Secret", "load"]
