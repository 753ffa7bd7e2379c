"""HDF5 files tried in a process of its own first, for the library can loop for ever or crash on a damaged one.

A few flipped bits in the tables by which HDF5 finds its objects are enough. The process walks through a file as this
one is going to, and then says so.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from nearsight.limited_process import NO_MEMORY, LimitedProcess, Limits, NoAnswerError, NoProcessError, serve

LIMITS = Limits(seconds=1, seconds_per_byte=2e-6, memory=1 << 29)
"""For the tables of one file; those of 40,000 chunks take a fifth of a second and few MB, and a dataset of its own for
each block 0.1 ms.
"""
_DONE, _FAULT = "done", "fault "
_FLAT, _STORE = "flat", "store"

PROCESS = LimitedProcess(__name__)
_LOCK = threading.Lock()
_ANSWERS: dict[tuple[str, int, int, int, bool], str | None] = {}


def may_be_read(path: str | Path, *, flat: bool = False) -> str | None:
    """Try a file, and tell what HDF5 does with it where it does not come back.

    Parameters
    ----------
    path : str or pathlib.Path
        A regular file.
    flat : bool, default False
        Whether it is going to be read by `hdf5_flat`, and so may have any number of datasets.

    Returns
    -------
    str or None
        What happens, in words; None where the file can be opened here, whether or not it is a good one.
    """
    place = os.path.abspath(path)
    try:
        known = os.stat(place)
    except OSError:
        return None
    key = (place, known.st_ino, known.st_size, known.st_mtime_ns, flat)
    with _LOCK:
        if key not in _ANSWERS:
            if len(_ANSWERS) > 10_000:
                _ANSWERS.clear()
            _ANSWERS[key] = _problem(place, flat)
        return _ANSWERS[key]


def _problem(path: str, flat: bool) -> str | None:
    try:
        answer = PROCESS.ask(path, kind=_FLAT if flat else _STORE)
    except NoAnswerError:
        return "HDF5 does not come to an end with it"
    except NoProcessError:
        return None
    if answer == NO_MEMORY:
        return "it needs more memory than a store does"
    return answer.removeprefix(_FAULT) if answer.startswith(_FAULT) else None


def _walk(question: dict[str, str]) -> str:
    """Look at everything but the large data, as a reader does.

    What HDF5 cannot do here, for want of memory too, is not tried again by the reader; what we refuse, it says itself.
    """
    import h5py

    from nearsight.operators.hdf5_content import Refused, check_objects, look
    from nearsight.operators.hdf5_flat import flat_datasets

    try:
        with h5py.File(question["path"], "r", locking=False) as file:
            if question["kind"] == _FLAT:
                for _ in flat_datasets(file):
                    pass
            else:
                check_objects(file)
                look(file)
    except MemoryError:
        raise
    except Refused:
        return _DONE
    except Exception as error:
        return _FAULT + " ".join(str(error).strip("'").split())[:300]
    return _DONE


if __name__ == "__main__":
    import nearsight.operators.hdf5_flat  # noqa: F401

    serve(_walk, LIMITS)
