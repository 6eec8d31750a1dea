"""Keys: what their text looks like, and when they end."""

import re
import zlib
from collections import Counter
from datetime import timedelta

from domain.ids import new_id
from domain.key import (
    KEY_BEGINNING,
    Key,
    KeyCreated,
    KeyReplaced,
    KeyRevoked,
    new_secret,
    opened,
    project,
    told_apart,
)
from domain.recorded import Context, Event, Recorded, format_of, now

BASE_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def recorded(*events: Event) -> list[Recorded]:
    context = Context(owner="acme", actor="operator", cause="", correlation="")
    return [
        Recorded(
            originator_id=new_id(),
            originator_version=number,
            event=event,
            context=context,
            user_id=None,
            event_id=new_id(),
            occurred_at=now(),
        )
        for number, event in enumerate(events, 1)
    ]


def given(*events: Event) -> Key:
    key = project(None, recorded(*events))
    assert key
    return key


def test_a_key_ends_with_the_checksum_that_scanners_are_told_of() -> None:
    for beginning in (KEY_BEGINNING, "mk_"):
        secret = new_secret(beginning)
        assert re.fullmatch(rf"{beginning}[A-Za-z0-9_-]{{43}}[0-9A-Za-z]{{6}}", secret)
        value = 0
        for digit in secret[-6:]:
            value = 62 * value + BASE_62.index(digit)
        assert value == zlib.crc32(secret[:-6].encode())


def test_no_two_keys_are_alike() -> None:
    assert Counter(new_secret() for _ in range(1000)).most_common(1)[0][1] == 1


def test_a_key_is_live_until_it_expires() -> None:
    end = now() + timedelta(days=1)
    key = given(KeyCreated(name="k", owner="acme", scopes=("read",), expires_at=end))
    assert key.is_live(end - timedelta(seconds=1)) and not key.is_expired(end - timedelta(seconds=1))
    assert not key.is_live(end) and key.is_expired(end)


def test_a_key_without_an_expiry_is_live_until_it_is_revoked() -> None:
    created = KeyCreated(name="k", owner="acme", scopes=("read",))
    ages = now() + timedelta(days=100 * 365)
    assert given(created).is_live(ages)
    assert not given(created, KeyRevoked()).is_live(now())


def test_a_replaced_key_expires_and_knows_what_came_after_it() -> None:
    other, end = new_id(), now() + timedelta(days=7)
    created = KeyCreated(name="k", owner="acme", scopes=("read",))
    key = given(created, KeyReplaced(by=other, expires_at=end))
    assert (key.version, key.replaced_by, key.expires_at) == (2, other, end)


def test_a_key_of_narrow_scopes_is_one_that_may_nothing_to_programs_of_before() -> None:
    wide, narrow = told_apart(("read", "memories:write"))
    created = KeyCreated(name="k", owner="acme", scopes=wide, narrow_scopes=narrow)
    assert (created.scopes, format_of(created)) == (("read",), 2)
    assert given(created).scopes == ("read", "memories:write")
    assert opened(given(created).scopes) == {"read", "memories:read", "log:read", "memories:write"}
