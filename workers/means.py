"""What those who extract work with."""

from typing import NamedTuple

from runtime.settings import Settings
from workers.recall import Recaller


class Means(NamedTuple):
    settings: Settings
    recaller: Recaller
