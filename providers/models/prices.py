"""What the tokens of the chat model cost."""

import math

import msgspec

from runtime.settings import SettingsError


class Prices(msgspec.Struct, frozen=True):
    """US dollars a million tokens."""

    of_input: float
    of_output: float

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """US dollars."""
        return round((input_tokens * self.of_input + output_tokens * self.of_output) / 1e6, 9)


def prices_of(setting: str | None) -> Prices | None:
    """Of `0.40/1.60`; None: nobody told. Raises SettingsError."""
    if setting is None:
        return None
    try:
        of_input, of_output = (float(price) for price in setting.split("/"))
    except ValueError:
        of_input = of_output = math.nan
    if not (0 <= of_input < math.inf and 0 <= of_output < math.inf):
        raise SettingsError(
            "EVERLOG_CHAT_PRICES: US dollars a million input and output tokens are wanted, such as 0.40/1.60"
        )
    return Prices(of_input, of_output)
