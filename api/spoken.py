"""All that this API speaks: its own words, and the published contracts that are found in `api.dialects`."""

from api import native
from api.dialect import Dialect, Dialects
from domain.discovery import declared

PUBLISHED = [one for one in declared("api.dialects") if isinstance(one, Dialect)]
SPOKEN = Dialects([native.DIALECT, *PUBLISHED])
