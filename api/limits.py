"""How a key stands with its limits, as headers and as a refusal."""

from datetime import UTC, datetime
from http import HTTPStatus

from api.errors import Refusal
from application.asked import Caller
from application.limits import LimitReached, Limits, Standing


async def admit(limits: Limits, caller: Caller, always: bool) -> dict[str, str]:
    """Count one request; the headers that tell how the key stands. Raises Refusal with 429."""
    try:
        standing = await limits.take(caller, always)
    except LimitReached as reached:
        raise _refusal(reached) from None
    return headers_of(standing) if standing else {}


def headers_of(standing: Standing) -> dict[str, str]:
    told: dict[str, str] = {}
    if standing.per_minute:
        told |= {
            "X-RateLimit-Limit": str(standing.per_minute),
            "X-RateLimit-Remaining": str(standing.remaining),
            "X-RateLimit-Reset": str(standing.full_at),
        }
    elif standing.per_month:
        # Clients that only know rate limits are told of the month as one.
        told |= {
            "X-RateLimit-Limit": str(standing.per_month),
            "X-RateLimit-Remaining": str(max(0, standing.per_month - standing.used)),
            "X-RateLimit-Reset": str(standing.month_ends),
        }
    if standing.per_month:
        told |= {
            "X-Quota-Limit": str(standing.per_month),
            "X-Quota-Used": str(standing.used),
            "X-Quota-Reset": str(standing.month_ends),
        }
    return told


def _refusal(reached: LimitReached) -> Refusal:
    standing, wait = reached.standing, reached.retry_after
    headers = {**headers_of(standing), "Retry-After": str(wait)}
    more = {
        "retryAfter": wait, "currentUsage": standing.used, "limit": standing.per_month,
        "resetAt": datetime.fromtimestamp(standing.month_ends, UTC).isoformat().replace("+00:00", "Z"),
    }  # fmt: skip
    kind = "quota-exceeded" if reached.of_month else "rate-limited"
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, kind, str(reached), headers, more)
