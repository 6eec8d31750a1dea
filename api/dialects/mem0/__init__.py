"""mem0's contract below /mem0, as its MemoryClient (mem0ai 2.2.1) uses it."""

from api.dialect import Dialect
from api.dialects.mem0 import account, jobs, memories

DIALECT = Dialect(
    name="mem0",
    prefixes=["/mem0/"],
    base="HOST/mem0",
    routes=[*memories.ROUTES, *jobs.ROUTES, *account.ROUTES],
    errors={"/mem0": account.shape},
)
