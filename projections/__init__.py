"""The read models, by name."""

from typing import cast

from projections import conversations, documents, graph, history, memories, passages, search
from projections.projection import Projection

ALL: dict[str, Projection] = {
    module.name: cast("Projection", module)
    for module in (memories, search, history, graph, conversations, documents, passages)
}
