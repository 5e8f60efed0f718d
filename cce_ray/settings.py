"""The base of every configuration model."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen, unknown fields refused, numbers finite; the string below a field is its documentation."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
    )

    def with_(self, changes: Mapping[str, Any]) -> Self:
        """The same settings with {field: value} changed, checked again. Raises pydantic's ValidationError."""
        return type(self).model_validate(self.model_dump() | dict(changes))
