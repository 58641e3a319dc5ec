"""What an import will make: the store's settings from a log's layout and the user's wishes."""

from dataclasses import dataclass

from nav_offrl import __version__
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import StoreInfo
from nav_offrl.store.schema import STEP_FIELDS, FieldInfo, field_info
from nav_offrl_datasets.config import ImportConfig, LabelConfig
from nav_offrl_datasets.importing.labels import causes, labelled_fields
from nav_offrl_datasets.importing.run import Layout

DERIVED = "derived from position and yaw"
# A label may be made from a field that the store leaves out.
INPUT_OF_CAUSE = {"close": "lidar", "flipped": "imu", "jolt": "imu"}
# Settings that change how an import runs, not what comes out of it.
NOT_OF_THE_STORE = {"workers", "strict"}


@dataclass(frozen=True)
class Plan:
    """What every run of a log must become.

    `format` is the importer's name, `log` that of the whole log. `reads` are the fields that a run
    must have. `collision_causes` is what labelled collisions are told by, empty where none are
    labelled.
    """

    format: str
    log: str
    layout: Layout
    info: StoreInfo
    config: ImportConfig
    reads: tuple[str, ...]
    labels: LabelConfig
    collision_causes: tuple[str, ...]


def make_plan(format: str, log: str, layout: Layout, config: ImportConfig) -> Plan:
    """Decide what the store holds.

    Raises:
        NavOffrlError: `config.without` names what there is not.
    """
    _check_without(layout, config)
    labels = config.labels if config.labels is not None else layout.labels
    unit = STEP_FIELDS["action"].unit
    commanded = "action" in layout.fields and layout.fields["action"].unit == unit
    labelled = labelled_fields(layout.fields, commanded, labels)
    possible = _derived(layout, config) | labelled | dict(layout.fields)
    fields = {"time": field_info("time")} | {
        name: possible[name]
        for name in STEP_FIELDS
        if name in possible and name not in config.without
    }
    told_by: tuple[str, ...] = ()
    if labels is not None and "collision" in labelled and "collision" in fields:
        told_by = causes(layout.fields, commanded, labels)
    inputs = {INPUT_OF_CAUSE[cause] for cause in told_by if cause in INPUT_OF_CAUSE}
    if "bumpiness" in labelled and "bumpiness" in fields:
        inputs.add("imu")
    info = StoreInfo(
        rate_hz=layout.rate_hz,
        rate_is_nominal=layout.rate_is_nominal,
        action_source=_action_source(layout, fields),
        cameras={
            name: camera for name, camera in layout.cameras.items() if name not in config.without
        },
        fields=fields,
        frame=layout.frame,
        notes=_notes(format, log, layout, config),
        provenance={"importer": f"nav_offrl_datasets.{format} {__version__}"},
    )
    reads = tuple(name for name in layout.fields if name in fields or name in inputs)
    return Plan(format, log, layout, info, config, reads, labels or LabelConfig(), told_by)


def _check_without(layout: Layout, config: ImportConfig) -> None:
    for name in config.without:
        if name == "time" or (name not in STEP_FIELDS and name not in layout.cameras):
            raise NavOffrlError(
                f"'{name}' cannot be left out" if name == "time" else f"there is no '{name}'",
                where="--without",
                remedy=f"the log has {', '.join([*layout.fields, *layout.cameras])}",
            )


def _derived(layout: Layout, config: ImportConfig) -> dict[str, FieldInfo]:
    """Return what follows from poses: it stands in only where the log says nothing itself."""
    if not all(
        name in layout.fields and name not in config.without for name in ("position", "yaw")
    ):
        return {}
    return {name: field_info(name, source=DERIVED) for name in ("action", "velocity")}


def _action_source(layout: Layout, fields: dict[str, FieldInfo]) -> str:
    if "action" not in fields:
        return ""
    return layout.action_source if "action" in layout.fields else "derived from pose"


def _notes(format: str, log: str, layout: Layout, config: ImportConfig) -> str:
    # The settings are compared when an unfinished import is continued.
    settings = config.model_dump_json(exclude=NOT_OF_THE_STORE, exclude_defaults=True)
    return "; ".join([f"{format} log '{log}'", *layout.notes, f"settings {settings}"])
