"""Scattering at many energies at once: the elimination of `quantum_transport.scattering` on batches, for a GPU.

Layers of a device have a few hundred functions, too few to fill a GPU with one energy. All energies of a batch go
through the same steps in complex128: decimation of the leads, open channels, elimination, substitution. An energy at
which a step loses its digits is solved again by the functions for one energy, on the processor.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.batches import available_bytes
from nearsight.quantum_transport.block_tridiagonal import BlockTridiagonal
from nearsight.quantum_transport.energy_point import EIGENCHANNELS, EnergyPoint, energy_point
from nearsight.quantum_transport.junction import Junction, JunctionAtK
from nearsight.quantum_transport.lead import Lead, Side
from nearsight.quantum_transport.self_energy import BELIEVED, CONVERGED, ITERATIONS, self_energy
from nearsight.quantum_transport.sweep import SweepSettings, Task
from nearsight.quantum_transport.wide_band import WideBandLead

LARGEST_BATCH = 256
"""Energies in a batch; more do not make a GPU faster."""
SHARE = 0.5
"""Of the free memory that a batch may take."""


@dataclass(frozen=True, eq=False)
class BatchedSelfEnergy:
    """Self-energies of a lead at B energies.

    Attributes
    ----------
    sigma : (B, n, n) tensor of complex
        Σ in eV.
    channels : (B, n, c) tensor of complex
        L with L L† = Γ; columns beyond the open channels of an energy are zero.
    counts : (B,) array of int
        Open channels.
    """

    sigma: Tensor
    channels: Tensor
    counts: np.ndarray


class BatchedSolver:
    """Solves a junction at batches of energies, as a sweep asks for them.

    Parameters
    ----------
    junction : Junction
        What is solved.
    settings : SweepSettings
        Where.
    device : torch.device
        Where it is computed.
    batch : int, optional
        Energies at a time; by default as many as memory holds.
    """

    def __init__(
        self, junction: Junction, settings: SweepSettings, device: torch.device, batch: int | None = None
    ) -> None:
        self.junction, self.settings, self.device, self.batch = junction, settings, device, batch
        self._last: tuple[int, JunctionAtK, _Blocks] | None = None

    def __call__(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, EnergyPoint]]:
        """Yield each task with its point, batch by batch."""
        for k, group in itertools.groupby(tasks, key=lambda task: task[0]):
            at_k, blocks = self._at(k)
            size = self._size(at_k)
            for chunk in _chunks(group, size):
                energies = np.array([energy + self.settings.zero for _, energy in chunk])
                yield from zip(chunk, self._points(at_k, blocks, energies))

    def _at(self, k: int) -> tuple[JunctionAtK, _Blocks]:
        if self._last is None or self._last[0] != k:
            at_k = self.junction.at(self.settings.k_points[k])
            self._last = k, at_k, _Blocks(at_k.device, self.device)
        return self._last[1:]

    def _size(self, at_k: JunctionAtK) -> int:
        if self.batch is not None:
            return self.batch
        sizes = at_k.device.sizes
        per_energy = 16 * (
            12 * int(sizes.max()) ** 2 + (2 * int(sizes.sum() * sizes.max()) if self.settings.local else 0)
        )
        return int(np.clip(SHARE * available_bytes(self.device) // per_energy, 1, LARGEST_BATCH))

    def _points(self, at_k: JunctionAtK, blocks: _Blocks, energies: np.ndarray) -> list[EnergyPoint]:
        settings = self.settings
        left = batched_self_energy(at_k.left, "left", energies, settings.eta, self.device)
        right = batched_self_energy(at_k.right, "right", energies, settings.eta, self.device)
        found = _scattered(blocks, left, right, energies, settings.local)
        densities = [np.zeros((len(energies), 0))] * 2
        if settings.local:
            atom = np.repeat(np.arange(len(self.junction.starts) - 1), np.diff(self.junction.starts))
            densities = [_per_atom(blocks.density(x), atom) for x in (found.from_left, found.from_right)]
        points = []
        for n, energy in enumerate(energies):
            values = (found.transmission[n], *found.eigenchannels[n], *densities[0][n], *densities[1][n])
            if not np.isfinite(values).all():
                points.append(energy_point(at_k, self.junction.starts, float(energy), settings.eta, settings.local))
                continue
            points.append(
                EnergyPoint(
                    float(energy),
                    float(found.transmission[n]),
                    int(left.counts[n]),
                    int(right.counts[n]),
                    found.eigenchannels[n],
                    float(found.reflection[n]),
                    densities[0][n],
                    densities[1][n],
                )
            )
        return points


def batched_self_energy(
    lead: Lead | WideBandLead, side: Side, energies: np.ndarray, eta: float, device: torch.device
) -> BatchedSelfEnergy:
    """Compute a lead's self-energies at many energies by decimation, as `self_energy` does at one.

    Parameters
    ----------
    lead : Lead or WideBandLead
        The lead.
    side : {"left", "right"}
        At which end of the device it is.
    energies : (B,) array of float
        eV.
    eta : float
        η in eV.
    device : torch.device
        Where it is computed.

    Raises
    ------
    InputError
        If neither decimation nor Bloch states give a self-energy at an energy.
    """
    if isinstance(lead, WideBandLead):
        one = torch.eye(lead.n_orbitals, dtype=torch.complex128, device=device).expand(len(energies), -1, -1)
        counts = np.full(len(energies), lead.n_orbitals)
        return BatchedSelfEnergy(-0.5j * lead.broadening * one, np.sqrt(lead.broadening) * one, counts)
    sigma, good = _decimated(lead, side, energies, eta, device)
    gamma = 1j * (sigma - sigma.mH)
    values, vectors = torch.linalg.eigh(torch.where(good[:, None, None], gamma, torch.zeros_like(gamma)))
    kept = values > np.sqrt(eta * lead.scale)
    channels = vectors * torch.where(kept, values, torch.zeros_like(values)).sqrt()[:, None, :]
    counts = kept.sum(1).cpu().numpy()
    lost = np.flatnonzero(~good.cpu().numpy())
    again = {int(n): self_energy(lead, side, float(energies[n]), eta) for n in lost}
    counts[lost] = [again[int(n)].n_channels for n in lost]
    channels = channels[:, :, channels.shape[2] - int(counts.max(initial=0)) :].contiguous()
    sigma = (sigma + sigma.mH) / 2 - 0.5j * channels @ channels.mH
    for n, found in again.items():
        sigma[n] = torch.as_tensor(found.sigma, device=device)
        channels[n] = 0
        channels[n, :, : found.n_channels] = torch.as_tensor(found.channels, dtype=torch.complex128, device=device)
    return BatchedSelfEnergy(sigma, channels, counts)


def _decimated(lead: Lead, side: Side, energies: np.ndarray, eta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Σ by decimation (`self_energy.surface_green_function`), and where it is to be believed."""
    h0, s0, h1, s1 = (
        torch.as_tensor(m, dtype=torch.complex128, device=device) for m in (lead.h0, lead.s0, lead.h1, lead.s1)
    )
    z = torch.as_tensor(energies + 1j * eta, dtype=torch.complex128, device=device)[:, None, None]
    onwards, backwards = z * s1 - h1, z * s1.mH - h1.mH
    tau, back = (onwards, backwards) if side == "left" else (backwards, onwards)
    layer = z * s0 - h0
    inner, surface, home, away = layer, layer, tau, back
    start = _largest(home, away)
    for _ in range(ITERATIONS):
        to_home, to_away = _solved(inner, torch.cat([home, away], 2)).chunk(2, 2)
        surface = surface - away @ to_home
        inner = inner - away @ to_home - home @ to_away
        home, away = -home @ to_home, -away @ to_away
        size = _largest(home, away)
        if bool(((size <= CONVERGED * start) | ~torch.isfinite(size)).all()):
            break
    one = torch.eye(len(h0), dtype=torch.complex128, device=device)
    result = _solved(surface, one.expand_as(surface))
    residual = (layer - back @ result @ tau) @ result - one
    sigma = back @ result @ tau
    good = (residual.abs().amax((1, 2)) < BELIEVED) & (size <= CONVERGED * start)
    return torch.where(good[:, None, None], sigma, torch.zeros_like(sigma)), good


@dataclass(frozen=True, eq=False)
class _Scattered:
    transmission: np.ndarray
    eigenchannels: np.ndarray
    reflection: np.ndarray
    from_left: list[Tensor]
    from_right: list[Tensor]


class _Blocks:
    """The matrices of a device on the torch device."""

    def __init__(self, matrices: BlockTridiagonal, device: torch.device) -> None:
        def moved(matrix: np.ndarray) -> Tensor:
            return torch.as_tensor(matrix, dtype=torch.complex128, device=device)

        self.h, self.s = [moved(m) for m in matrices.h], [moved(m) for m in matrices.s]
        self.bridges = [(moved(c.h), moved(c.s)) for c in matrices.couplings]
        self.rows = [torch.as_tensor(c.rows, device=device) for c in matrices.couplings]
        self.columns = [torch.as_tensor(c.columns, device=device) for c in matrices.couplings]

    def density(self, states: list[Tensor]) -> np.ndarray:
        """(B, n) local density of states of each function, Re(ψψ†S)_μμ / 2π summed over channels."""
        moved = [s @ psi for s, psi in zip(self.s, states)]
        for layer, (_, s) in enumerate(self.bridges):
            rows, columns = self.rows[layer], self.columns[layer]
            moved[layer][:, rows] += s @ states[layer + 1][:, columns]
            moved[layer + 1][:, columns] += s.mH @ states[layer][:, rows]
        each = [(psi.conj() * m).real.sum(2) for psi, m in zip(states, moved)]
        return (torch.cat(each, 1) / (2 * np.pi)).cpu().numpy()


def _scattered(
    blocks: _Blocks, left: BatchedSelfEnergy, right: BatchedSelfEnergy, energies: np.ndarray, states: bool
) -> _Scattered:
    e = torch.as_tensor(energies, dtype=torch.complex128, device=left.sigma.device)[:, None, None]
    n, m, c = left.sigma.shape[1], right.sigma.shape[1], left.channels.shape[2]
    diagonal = e * blocks.s[0] - blocks.h[0]
    diagonal[:, :n, :n] -= left.sigma
    source = _padded(left.channels, diagonal.shape[1], at_end=False)
    factors, waves = [], []
    for layer, (h, s) in enumerate(blocks.bridges):
        rows, columns = blocks.rows[layer], blocks.columns[layer]
        bridge = e * s - h
        beside = torch.zeros(
            len(energies), diagonal.shape[1], len(columns), dtype=diagonal.dtype, device=diagonal.device
        )
        beside[:, rows] = bridge
        onward, wave = _solved(diagonal, torch.cat([beside, source], 2)).split([len(columns), c], 2)
        if states:
            factors.append(onward)
            waves.append(wave)
        back = bridge.mH
        diagonal = e * blocks.s[layer + 1] - blocks.h[layer + 1]
        diagonal[:, columns[:, None], columns] -= back @ onward[:, rows]
        source = torch.zeros(len(energies), diagonal.shape[1], c, dtype=diagonal.dtype, device=diagonal.device)
        source[:, columns] = -back @ wave[:, rows]
    diagonal[:, -m:, -m:] -= right.sigma
    arriving = _padded(right.channels if states else right.channels[:, :, :0], diagonal.shape[1], at_end=True)
    wave, reverse = _solved(diagonal, torch.cat([source, arriving], 2)).split([c, arriving.shape[2]], 2)
    t = 1j * right.channels.mH @ wave[:, -m:]
    open_ = left.counts * right.counts > 0
    transmission = np.where(open_, _numbers((t.abs() ** 2).sum((1, 2))), 0.0)
    channels = np.zeros((len(energies), EIGENCHANNELS))
    if min(t.shape[1:]) and np.isfinite(transmission).all():
        largest = _numbers(torch.linalg.svdvals(t) ** 2)[:, :EIGENCHANNELS]
        channels[:, : largest.shape[1]] = largest
    if not states:
        return _Scattered(transmission, channels, np.full(len(energies), np.nan), [], [])
    from_left = _substituted(blocks, factors, waves, wave)
    from_right = _substituted(
        blocks, factors, [w[:, :, :0].new_zeros(*w.shape[:2], reverse.shape[2]) for w in waves], reverse
    )
    r = 1j * left.channels.mH @ from_left[0][:, :n]
    r = r - torch.diag_embed((left.channels.abs().sum(1) > 0).to(r.dtype))
    return _Scattered(transmission, channels, _numbers((r.abs() ** 2).sum((1, 2))), from_left, from_right)


def _substituted(blocks: _Blocks, factors: list[Tensor], waves: list[Tensor], last: Tensor) -> list[Tensor]:
    layers = [last]
    for columns, factor, wave in zip(reversed(blocks.columns), reversed(factors), reversed(waves)):
        layers.append(wave - factor @ layers[-1][:, columns])
    return layers[::-1]


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """A⁻¹ B for each of a batch; not finite where A is singular."""
    solution, info = torch.linalg.solve_ex(matrix, right)
    return torch.where((info > 0)[:, None, None], torch.full_like(solution, torch.nan), solution)


def _largest(*matrices: Tensor) -> Tensor:
    return torch.stack([m.abs().amax((1, 2)) for m in matrices]).amax(0)


def _padded(columns: Tensor, size: int, *, at_end: bool) -> Tensor:
    result = torch.zeros(columns.shape[0], size, columns.shape[2], dtype=columns.dtype, device=columns.device)
    if at_end:
        result[:, size - columns.shape[1] :] = columns
    else:
        result[:, : columns.shape[1]] = columns
    return result


def _numbers(tensor: Tensor) -> np.ndarray:
    numbers: np.ndarray = tensor.cpu().numpy()
    return numbers


def _per_atom(density: np.ndarray, atom: np.ndarray) -> np.ndarray:
    result = np.zeros((len(density), int(atom.max()) + 1))
    np.add.at(result.T, atom, density.T)
    return result


def _chunks(tasks: Iterator[Task], size: int) -> Iterator[tuple[Task, ...]]:
    while chunk := tuple(itertools.islice(tasks, size)):
        yield chunk
