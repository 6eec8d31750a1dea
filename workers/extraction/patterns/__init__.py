"""The patterns, a file for each thing that they are about. Of two that fit, the one imported first counts."""

from workers.extraction.patterns import endings, oneself, tastes, others, doings  # noqa: I001 - in this order

__all__ = ["doings", "endings", "oneself", "others", "tastes"]
