"""What an application wants remembered, as several contracts send it."""

from typing import Annotated

import msgspec

from api.body import Body
from application.storable import check_text

MAX_INSTRUCTIONS = 10_000
"""Characters: they go into every prompt."""
MAX_CATEGORIES = 100
MAX_NAME = 100
MAX_DESCRIPTION = 1_000

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Categories = list[str | dict[str, str]] | dict[str, str]
"""Names, or names with descriptions."""


class ProjectRequest(Body, frozen=True, kw_only=True):
    name: Name | None = None
    custom_instructions: str | None = None
    custom_categories: Categories | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.custom_instructions and len(self.custom_instructions) > MAX_INSTRUCTIONS:
            raise ValueError(f"custom_instructions are longer than {MAX_INSTRUCTIONS} characters")
        if len(self.categories() or {}) > MAX_CATEGORIES:
            raise ValueError(f"there are more than {MAX_CATEGORIES} custom_categories")
        for name, description in (self.categories() or {}).items():
            if not 0 < len(name.strip()) <= MAX_NAME or len(description) > MAX_DESCRIPTION:
                raise ValueError(
                    f"a category has a name of 1 to {MAX_NAME} characters and at most {MAX_DESCRIPTION} more"
                )
        if self.name is not None:
            check_text(self.name)

    def categories(self) -> dict[str, str] | None:
        """Name → description; None where none were sent."""
        if self.custom_categories is None or isinstance(self.custom_categories, dict):
            return self.custom_categories
        named: dict[str, str] = {}
        for one in self.custom_categories:
            named.update({one: ""} if isinstance(one, str) else one)
        return named


class NewProjectRequest(ProjectRequest, frozen=True, kw_only=True):
    name: Name
