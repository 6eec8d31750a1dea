"""The read models, by name."""

from typing import cast

from projections import graph, history, memories, search
from projections.projection import Projection

ALL: dict[str, Projection] = {
    module.name: cast("Projection", module) for module in (memories, search, history, graph)
}
