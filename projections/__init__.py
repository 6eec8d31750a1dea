"""The read models, by name."""

from typing import Any

from projections.conversations import CONVERSATIONS
from projections.documents import DOCUMENTS
from projections.graph import GRAPH
from projections.history import HISTORY
from projections.memories import MEMORIES
from projections.passages import PASSAGES
from projections.projection import Projection
from projections.search import SEARCH
from projections.searched import Searched

ALL: dict[str, Projection[Any]] = {
    projection.name: projection
    for projection in (MEMORIES, SEARCH, HISTORY, GRAPH, CONVERSATIONS, DOCUMENTS, PASSAGES)
}
SEARCHED: dict[str, Searched[Any]] = {
    name: projection for name, projection in ALL.items() if isinstance(projection, Searched)
}
"""Those whose rows have vectors, in the order they are given them.

Memories come first: they are short, and who has added one waits for it.
"""
