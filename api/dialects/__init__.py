"""The published contracts that Everlog speaks beside its own API: a declaration each."""

from api.dialect import Dialect
from api.dialects import khoj, mem0, memokit, memorystack

ALL: tuple[Dialect, ...] = (khoj.DIALECT, mem0.DIALECT, memokit.DIALECT, memorystack.DIALECT)
