"""mem0's contract below /mem0, as its MemoryClient (mem0ai 2.2.1) uses it."""

from api.dialects.mem0 import account, jobs, memories

ROUTES = [*memories.ROUTES, *jobs.ROUTES, *account.ROUTES]
