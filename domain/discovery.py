"""What the modules of a room declare, found without a list of them: who adds one adds a file."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module


def declared(room: str) -> Iterator[object]:
    """All that stands at the top of the modules and packages in `room`, such as "domain"; imports them.

    What several modules import comes as often.
    """
    for module in pkgutil.iter_modules(import_module(room).__path__, f"{room}."):
        yield from list(vars(import_module(module.name)).values())
