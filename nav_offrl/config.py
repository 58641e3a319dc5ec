"""Configuration: frozen pydantic models, read from and written to YAML."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

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
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        raise NavOffrlError(
            f"field '{field}': {first['msg']} (found {str(first.get('input'))[:80]!r})",
            where=where,
            remedy=_remedy(model, first["type"]),
        ) from error


def _remedy(model: type[Config], kind: str) -> str:
    if kind == "extra_forbidden":
        return f"remove or rename it; known fields are {', '.join(model.model_fields)}"
    return "correct the value"


def load_yaml(model: type[ConfigT], path: str | Path) -> ConfigT:
    """Read `model` from a YAML file.

    Raises:
        NavOffrlError: the file is absent, is no YAML, or a field does not fit.
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
    return parse_config(model, values if values is not None else {}, path)


def dump_yaml(config: Config, path: str | Path) -> None:
    """Write every field of `config`, defaults included, as YAML."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    Path(path).write_text(text, encoding="utf-8")
