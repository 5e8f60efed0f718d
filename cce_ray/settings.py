"""The base of every configuration model."""

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
