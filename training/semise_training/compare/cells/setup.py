"""What all cells of one folder have in common: the tables put them beside each other, and pair them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from semise_sdk.errors import DataError
from semise_training.compare.cells.cells import Cell
from semise_training.compare.cells.experiment import asks_for_unet
from semise_training.compare.cells.folder import Folder
from semise_training.compare.cells.plan import PlannedCell
from semise_training.config import EncoderConfig, InputConfig, UnetConfig, as_it_was
from semise_training.methods import find_method

Setup = Mapping[str, object]


def setup_of(cell: Cell) -> Setup:
    """Returns the protocol, folds, canvas, encoder and fractions that a cell was computed with, setting by setting."""
    return _setup(cell.config, cell.protocol, folds=cell.key.folds, weights=cell.asked.get("weights"))


def planned_setup(planned: PlannedCell) -> Setup:
    """Returns the same of a cell that is to be computed."""
    asked = planned.asked("")
    config = asked["config"]
    assert isinstance(config, Mapping)  # noqa: S101  # made by portable
    return _setup(config, planned.protocol_json(), folds=planned.key.folds, weights=asked["weights"])


def unet_of(cell: Cell) -> Setup:
    """Returns the U-Net's settings that a method's own cell was asked for.

    None of a variant, which may have others, nor of a cell that trains no U-Net.
    """
    return _unet(cell.key.name, cell.method, cell.asked)


def planned_unet(planned: PlannedCell) -> Setup:
    """Returns the same of a cell that is to be computed."""
    return _unet(planned.key.name, planned.config.method, planned.asked(""))


def mixture(setups: Iterable[tuple[str, Setup]]) -> str | None:
    """Returns what differs between the first of named setups and the first that is otherwise; None for nothing.

    Example:
        >>> mixture([("a", {"folds": 5}), ("b", {"folds": 3})])
        'folds 5 (a) and 3 (b)'
    """
    listed = list(setups)
    for name, setup in listed[1:]:
        first_name, first = listed[0]
        differing = [key for key in {**first, **setup} if first.get(key) != setup.get(key)]
        if differing:
            return ", ".join(
                f"{key} {first.get(key)} ({first_name}) and {setup.get(key)} ({name})" for key in differing
            )
    return None


def _setup(config: Mapping[str, object], protocol: Mapping[str, object], *, folds: int, weights: object) -> Setup:
    data = config.get("data")
    return {
        "folds": folds,
        **protocol,
        **_section("input", InputConfig, config),
        **_section("encoder", EncoderConfig, config),
        "weights": weights,
        "data.fractions": data.get("fractions") if isinstance(data, Mapping) else None,
    }


def _unet(name: str, method: str, asked: Mapping[str, object]) -> Setup:
    config = asked.get("config")
    is_bound = name == method and asks_for_unet(asked) and not find_method(method).is_constant
    if not is_bound or not isinstance(config, Mapping):
        return {}
    return _section("unet", UnetConfig, as_it_was(config))


def _section(name: str, kind: type[BaseModel], config: Mapping[str, object]) -> Setup:
    """Returns a section's settings; one that came into it after the cell was computed counts as its default."""
    stored = config.get(name)
    try:
        values: Mapping[str, object] = kind.model_validate(stored).model_dump(mode="json")
    except ValidationError:  # a setting that is gone, or means something else
        values = stored if isinstance(stored, Mapping) else {}
    return {f"{name}.{key}": value for key, value in values.items()}


def read_cells(root: Path) -> list[Cell]:
    """Returns all cells of a comparison's folder.

    Raises:
        DataError: there are none, one is damaged, or they are not of one data set and protocol.
    """
    cells = Folder(root).read()
    if not cells:
        raise DataError(
            f"expected computed cells in {Folder(root).cells}, found none: name --methods to compute, or another --out"
        )
    sets = {(cell.data_digest, cell.labels) for cell in cells}
    if len(sets) > 1:
        raise DataError(f"expected cells of one data set in {Folder(root).cells}, found {len(sets)}: keep one of them")
    unets = [(cell.key.slug, unet) for cell in cells if (unet := unet_of(cell))]
    found = mixture([(cell.key.slug, setup_of(cell)) for cell in cells]) or mixture(unets)
    if found:
        raise DataError(
            f"expected one protocol, split, canvas, encoder and U-Net for all cells of {Folder(root).cells}, found "
            f"{found}: keep the cells of one"
        )
    return cells
