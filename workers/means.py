"""What those who extract work with."""

from typing import NamedTuple

from providers.embedding.embedders import Embedders
from workers.extraction.readers import Readers
from workers.recall import Recaller


class Means(NamedTuple):
    readers: Readers
    embedders: Embedders
    recaller: Recaller
