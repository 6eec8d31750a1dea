"""All that this API speaks: its own words, and those of the published contracts."""

from api import dialects, native
from api.dialect import Dialects

SPOKEN = Dialects([native.DIALECT, *dialects.ALL])
