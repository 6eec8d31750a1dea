"""Whose pages may open a WebSocket: an origin is a scheme, a host and a port."""

import msgspec
import pytest

from api.origins import is_allowed
from runtime.composition import server_options_of
from runtime.settings import Settings

OPTIONS = server_options_of(
    Settings(
        host="192.0.2.7",
        port=8000,
        public_url="https://memory.example.org/everlog",
        cors_origins="https://app.example.org, http://dev.example.org:3000/, capacitor://localhost",
    )
)


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.org",
        "https://app.example.org:443",
        "https://APP.example.org",
        "http://dev.example.org:3000",
        "capacitor://localhost",
        "https://memory.example.org",  # a proxy speaks TLS for us
        "http://192.0.2.7:8000",
        "http://localhost:5173",
        "https://127.0.0.1:8443",
        "http://[::1]:8000",
    ],
)
def test_an_origin_that_is_named_is_allowed(origin: str) -> None:
    assert is_allowed(origin, OPTIONS)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://app.example.org",
        "https://app.example.org:8443",
        "https://app.example.org.evil.example",
        "https://dev.example.org:3000",
        "http://dev.example.org",
        "http://memory.example.org",
        "https://memory.example.org:444",
        "http://192.0.2.7",
        "http://192.0.2.7:8001",
        "https://192.0.2.7:8000",
        "app://localhost",
        "http://localhost@evil.example",
        "http://user@localhost",
        "http://localhost:port",
        "http://[::1",
        "//localhost",
    ],
)
def test_one_that_differs_in_scheme_host_or_port_is_not(origin: str) -> None:
    assert not is_allowed(origin, OPTIONS)


def test_all_are_where_the_settings_say_so() -> None:
    assert is_allowed("https://evil.example", msgspec.structs.replace(OPTIONS, cors_origins=("*",)))
