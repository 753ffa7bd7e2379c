"""Data that protocols name: shipped, in folders that the user gives, or made by a campaign beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import Field

import nearsight
from nearsight.configuration import Section, validated
from nearsight.errors import FormatError
from nearsight.operators.store import describe

SHIPPED = "aHfO2_372_C.h5"
"""A file by which the folder of the shipped data is known."""


class DataSet(Section):
    """One calculation that a protocol trains or tests on."""

    file: str = Field(description="name in a folder of data, and of the campaign's result")
    formula: str = Field(description="atoms that it must have, as `Structure.formula` writes them; X is a ghost")
    b2sum: str | None = Field(None, description="first digits of the BLAKE2b hash that a shipped file must have")
    says: str = Field(description="what it is, for tables and pages")
    campaign: str | None = Field(None, description="the shipped campaign that makes it")
    takes: str = Field("", description="how long that takes")

    def found(self, folders: Sequence[Path]) -> Path | None:
        """Return its file: in the folders given, in the shipped data, or among the results of its campaign."""
        shipped = shipped_folder()
        places = [*folders, *([shipped] if shipped is not None else [])]
        if self.campaign is not None:
            places.append(Path("runs") / self.campaign)
        return next((place / self.file for place in places if (place / self.file).is_file()), None)

    def check(self, path: Path, content: str) -> None:
        """Refuse a file that has the name of this data set and is something else.

        Parameters
        ----------
        path : Path
            The file.
        content : str
            Its BLAKE2b hash, hexadecimal.

        Raises
        ------
        FormatError
            It is no store, a prediction, of other atoms, or not the file that is shipped.
        """
        found = describe(path)
        way = "name another folder with --data, or move the file away"
        if found["formula"] != self.formula:
            raise FormatError(path, f"expected {self.formula} ({self.says}), got {found['formula']}; {way}")
        if found["provenance"].get("predicted") == "yes":
            raise FormatError(path, f"expected a DFT calculation of {self.says}, got a network's prediction; {way}")
        if self.b2sum is not None and not content.startswith(self.b2sum):
            raise FormatError(
                path,
                f"expected the shipped file of {self.says}, b2sum {self.b2sum}…, got {self.formula} with "
                f"{content[: len(self.b2sum)]}…, another calculation or file; {way}",
            )

    def is_shipped(self) -> bool:
        """Return whether the file comes with the repository."""
        return self.campaign is None

    def way_to_get_it(self) -> str:
        """Return what a user can do where it is missing."""
        if self.campaign is None:
            return f"{self.file} is shipped in the folder data of the repository: run this from a clone of it"
        return (
            f"{self.says}: `nearsight generate {self.campaign}` makes {self.file} ({self.takes}); a folder that holds "
            "it is named with --data"
        )


@cache
def data_sets() -> dict[str, DataSet]:
    """Return every data set by its name."""
    text = files("nearsight.reproduction").joinpath("data_sets.yaml").read_text(encoding="utf-8")
    return {name: validated(DataSet, tree, "data_sets.yaml") for name, tree in yaml.safe_load(text).items()}


def shipped_folder() -> Path | None:
    """Return the folder `data` of a clone of the repository; None where there is none."""
    candidates = (Path(nearsight.__file__).parents[2] / "data", Path("data"))
    return next((folder for folder in candidates if (folder / SHIPPED).is_file()), None)
