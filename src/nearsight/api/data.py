"""Data to learn from: structures made and computed by a campaign."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nearsight.progress import Progress, StopToken, silent
from nearsight.recipes.campaign import Campaign, load_campaign
from nearsight.recipes.campaign_run import CampaignResult, CampaignRun

Overrides = Iterable[str] | Mapping[str, Any]


def generate(
    campaign: str | Path | Campaign,
    folder: str | Path | None = None,
    *,
    overrides: Overrides = (),
    processes: int | None = None,
    progress: Progress = silent,
    stop: StopToken | None = None,
) -> CampaignResult:
    """Make structures and compute H and S of them; what is done already is not done again.

    Every structure is a job in a process of its own. A run that was stopped or killed goes on where it was when this
    is called again, and ends with the same files. In a script the call belongs under `if __name__ == "__main__":`,
    since the processes import the script.

    Parameters
    ----------
    campaign : str, Path or Campaign
        A YAML file, the name of a shipped campaign, or a campaign that is loaded already.
    folder : str or Path, optional
        The folder of the results, one store NAME.h5 for every structure; `runs/CAMPAIGN` if it is not given.
    overrides : iterable of str, or mapping, optional
        Changes of the campaign's keys, as texts such as `dft.cutoff=500` or as dotted keys with their values; not for
        a campaign that is loaded already.
    processes : int, optional
        The number of jobs at a time; the campaign's own if it is not given.
    progress : callable, optional
        Told what the jobs do; see `CampaignRun.run`.
    stop : StopToken, optional
        Ends the jobs that run.

    Returns
    -------
    CampaignResult
        The stores, what was found of each, and the jobs that failed or are not finished.

    Raises
    ------
    ConfigError
        Where the campaign cannot be run, its jobs were begun with other settings, or another process works in the
        folder.

    Examples
    --------
    Two water molecules with a small basis, from a shipped campaign:

    >>> from nearsight.api.data import generate
    >>> water = {"name": "water", "molecules": {"molecule": "water", "count": 2}}
    >>> changes = {"structures": [water], "dft.basis": "sto-3g"}
    >>> result = generate("molecules", "runs/water", overrides=changes)  # doctest: +SKIP
    >>> sorted(result.stores)  # doctest: +SKIP
    ['water-1', 'water-2']
    """
    return campaign_run(campaign, folder, overrides, processes).run(progress, stop)


def write_inputs(
    campaign: str | Path | Campaign,
    folder: str | Path | None = None,
    *,
    overrides: Overrides = (),
    progress: Progress = silent,
) -> list[Path]:
    """Make the structures of a campaign and write inputs of CP2K to run on another machine.

    Parameters
    ----------
    campaign : str, Path or Campaign
        As in `generate`.
    folder : str or Path, optional
        As in `generate`.
    overrides : iterable of str, or mapping, optional
        As in `generate`.
    progress : callable, optional
        Told the steps of making the structures.

    Returns
    -------
    list of Path
        The folders with an input and the script `run.sh`; run it there and call `collect`.

    Raises
    ------
    ConfigError
        Where the campaign's code is not CP2K, or as in `generate`.
    """
    return campaign_run(campaign, folder, overrides).write_inputs(progress)


def collect(
    campaign: str | Path | Campaign,
    folder: str | Path | None = None,
    *,
    overrides: Overrides = (),
    progress: Progress = silent,
) -> CampaignResult:
    """Read what was written by `write_inputs` and ran elsewhere into stores.

    Parameters
    ----------
    campaign : str, Path or Campaign
        As in `generate`.
    folder : str or Path, optional
        As in `generate`.
    overrides : iterable of str, or mapping, optional
        As in `generate`.
    progress : callable, optional
        Told the steps of reading.

    Returns
    -------
    CampaignResult
        The stores; jobs that are not finished or faulty are among those that failed.

    Raises
    ------
    ConfigError
        Where the campaign's code is not CP2K, or as in `generate`.
    """
    return campaign_run(campaign, folder, overrides).collect(progress)


def campaign_run(
    campaign: str | Path | Campaign,
    folder: str | Path | None = None,
    overrides: Overrides = (),
    processes: int | None = None,
) -> CampaignRun:
    """Return a campaign in its folder, ready to run.

    Parameters
    ----------
    campaign : str, Path or Campaign
        As in `generate`; relative files are looked for beside a YAML file, else in the current folder.
    folder : str or Path, optional
        As in `generate`.
    overrides : iterable of str, or mapping, optional
        As in `generate`.
    processes : int, optional
        As in `generate`.

    Examples
    --------
    >>> from nearsight.api.data import campaign_run
    >>> run = campaign_run("molecules", "runs/water", {"dft.basis": "sto-3g"})
    >>> len(run.tasks), run.tasks[0].name, run.campaign.dft.basis
    (25, 'water-1', 'sto-3g')
    """
    if isinstance(campaign, Campaign):
        loaded, base, name = campaign, Path.cwd(), "campaign"
    else:
        loaded, path = load_campaign(campaign, overrides), Path(campaign)
        base, name = path.resolve().parent if path.is_file() else Path.cwd(), path.stem
    if processes is not None:
        loaded = loaded.model_copy(update={"processes": processes})
    return CampaignRun(loaded, Path(folder) if folder is not None else Path("runs") / name, base)
