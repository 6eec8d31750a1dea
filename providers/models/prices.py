"""What the tokens of the chat model cost."""

import math

import msgspec


class Prices(msgspec.Struct, frozen=True):
    """US dollars a million tokens."""

    of_input: float
    of_output: float

    @classmethod
    def parsed(cls, text: str) -> "Prices":
        """Of `0.40/1.60`. Raises ValueError."""
        of_input, of_output = (float(price) for price in text.split("/"))
        if not (0 <= of_input < math.inf and 0 <= of_output < math.inf):
            raise ValueError(f"{text!r} are no prices")
        return cls(of_input, of_output)

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """US dollars."""
        return round((input_tokens * self.of_input + output_tokens * self.of_output) / 1e6, 9)
