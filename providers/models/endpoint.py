"""Where models are: any OpenAI-compatible endpoint."""

import msgspec
import openai

NO_KEY = "none"
"""Local endpoints want no key, the client wants some."""


class Endpoint(msgspec.Struct, frozen=True):
    """`url` None: OpenAI's own."""

    url: str | None = None
    key: str | None = None

    def client(self, timeout: float, retries: int) -> openai.OpenAI:
        """`timeout` in seconds, of one try."""
        return openai.OpenAI(
            api_key=self.key or NO_KEY, base_url=self.url, timeout=timeout, max_retries=retries
        )

    def async_client(self, timeout: float | openai.Timeout, retries: int) -> openai.AsyncOpenAI:
        """`timeout` in seconds, of one try."""
        return openai.AsyncOpenAI(
            api_key=self.key or NO_KEY, base_url=self.url, timeout=timeout, max_retries=retries
        )
