"""Configuration: frozen pydantic models, read from and written to YAML."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from nav_offrl.errors import NavOffrlError


class Config(BaseModel):
    """Base of every configuration: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ConfigT = TypeVar("ConfigT", bound=Config)


def parse_config(model: type[ConfigT], values: Any, where: str | Path) -> ConfigT:
    """Validate `values`, naming the first wrong field and the file it came from.

    Raises:
        NavOffrlError: a field is unknown, missing or out of range.
    """
    if not isinstance(values, dict):
        raise NavOffrlError(
            f"expected a mapping of settings, found {type(values).__name__}",
            where=where,
            remedy=f"write 'field: value' lines; fields are {', '.join(model.model_fields)}",
        )
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first, location = first_fault(error)
        field = ".".join(location) or "(whole file)"
        raise NavOffrlError(
            f"field '{field}': {first['msg']} (found {str(first.get('input'))[:80]!r})",
            where=where,
            remedy=_remedy(model, first["type"], location),
        ) from error


def first_fault(error: ValidationError) -> tuple[ErrorDetails, tuple[str, ...]]:
    """Return the first thing that is wrong, and the path of field names to it."""
    first = error.errors()[0]
    location = tuple(str(part) for part in first["loc"])
    # A part whose type depends on a name in it is validated apart; its own error lies inside.
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, ValidationError):
        first, rest = first_fault(inner)
        location += rest
    return first, location


def _remedy(model: type[Config], kind: str, location: tuple[str, ...]) -> str:
    if kind != "extra_forbidden":
        return "correct the value"
    if len(location) > 1:
        return "remove or rename it"
    return f"remove or rename it; known fields are {', '.join(model.model_fields)}"


def load_yaml(model: type[ConfigT], path: str | Path) -> ConfigT:
    """Read `model` from a YAML file.

    Raises:
        NavOffrlError: the file is absent, is no YAML, or a field does not fit.
    """
    return parse_config(model, read_yaml(path), path)


def read_yaml(path: str | Path) -> Any:
    """Return what a YAML file holds; of an empty file, an empty mapping.

    Raises:
        NavOffrlError: the file is absent or is no YAML.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NavOffrlError(
            f"cannot be read ({error})", where=path, remedy="check the path"
        ) from error
    except yaml.YAMLError as error:
        raise NavOffrlError(f"is not valid YAML ({error})", where=path) from error
    return values if values is not None else {}


def dump_yaml(config: Config, path: str | Path) -> None:
    """Write every field of `config`, defaults included, as YAML."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    Path(path).write_text(text, encoding="utf-8")
