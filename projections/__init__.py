"""The read models, by name: what the modules of this package declare."""

from typing import Any

from domain.discovery import declared
from projections.projection import Projection
from projections.searched import Searched

_DECLARED: list[Projection[Any]] = [one for one in declared(__name__) if isinstance(one, Projection)]
ALL = {one.name: one for one in sorted(_DECLARED, key=lambda one: (one.order, one.name))}
"""In the order in which they are rebuilt."""
SEARCHED: dict[str, Searched[Any]] = {
    name: projection for name, projection in ALL.items() if isinstance(projection, Searched)
}
"""Those whose rows have vectors, in the order they are given them."""
