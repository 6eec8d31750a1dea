"""What a turn looks up and could do without: how long it tries, and what may keep it from an answer."""

import psycopg
from psycopg_pool import PoolTimeout

from application.refusals import Behind
from projections.catalogue import NotBuilt
from providers.embedding.embedder import EmbedderUnavailable

LOOK_UP_SECONDS = 4.0
"""For memories and documents: an answer without them is better than none."""
UNREACHABLE = (
    TimeoutError, Behind, NotBuilt, PoolTimeout, psycopg.OperationalError, EmbedderUnavailable,
)  # fmt: skip
