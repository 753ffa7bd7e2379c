"""The network `xia2025` with the meaning of its outputs: coupled blocks in the layout of a basis; and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from nearsight.nn.architectures.xia2025.config import Xia2025Config
from nearsight.nn.architectures.xia2025.network import Xia2025
from nearsight.nn.config import ModelSection
from nearsight.nn.model import HamiltonianModel
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout

Self = TypeVar("Self", bound="CoupledNetwork")


@dataclass(frozen=True, eq=False)
class CoupledNetwork(HamiltonianModel):
    """The numbers of a model `xia2025`.

    Attributes
    ----------
    config : Xia2025Config
        The network's shape and its cutoff.
    basis : BasisSet
        Orbitals of the elements it was trained on; outputs are in `CoupledLayout(basis)`, E_h.
    network : Xia2025
        Maps `GraphTensors` to coupled targets of nodes and edges.
    provenance : mapping of str to str
        Training data, seed, time …, text by key.
    """

    config: Xia2025Config
    basis: BasisSet
    network: Xia2025
    provenance: Mapping[str, str] = field(default_factory=dict)

    architecture: ClassVar[str] = "xia2025"

    @property
    def layout(self) -> CoupledLayout:
        """The layout of the outputs."""
        return CoupledLayout(self.basis)

    @classmethod
    def new(
        cls: type[Self],
        config: Xia2025Config,
        basis: BasisSet,
        dtype: torch.dtype,
        seed: int,
        provenance: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a model with random weights.

        Parameters
        ----------
        config : Xia2025Config
            The network's shape and its cutoff.
        basis : BasisSet
            Orbitals of the elements.
        dtype : torch.dtype
            Number type of the parameters.
        seed : int
            Seed of the weights.
        provenance : mapping of str to str, optional
            Text by key.

        Returns
        -------
        CoupledNetwork
            The model on the CPU.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Xia2025(config.widths(), config.layers, CoupledLayout(basis).degrees)
        return cls(config, basis, network.to(dtype), provenance or {})

    @classmethod
    def from_file(
        cls: type[Self],
        config: ModelSection,
        basis: BasisSet,
        metadata: Mapping[str, str],
        tensors: Mapping[str, Tensor],
        dtype: torch.dtype,
    ) -> Self:
        """Return the model of a file; its weights are put in afterwards (see `HamiltonianModel.from_file`).

        Parameters
        ----------
        config, basis, metadata, tensors, dtype
            Arguments of `HamiltonianModel.from_file`.

        Returns
        -------
        CoupledNetwork
            The model with random weights.
        """
        if not isinstance(config, Xia2025Config):
            raise ValueError(f"expected a model section of xia2025, got {type(config).__name__}")
        return cls.new(config, basis, dtype, 0, json.loads(metadata.get("provenance", "{}")))
