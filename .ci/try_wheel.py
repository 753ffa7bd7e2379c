"""Install a wheel into an empty environment with what it declares, and use it there.

    python .ci/try_wheel.py dist/nearsight-*.whl

The new environment sees no package but those that the wheel requires, and what these require: they are linked from the
environment that runs this script, so that nothing is downloaded and nothing undeclared can be imported. What is tried
there, in an empty folder: every file of src/nearsight is in the package, a CP2K run is imported, a model is trained for
one epoch, the Hamiltonian of the imported structure is predicted, and its page is written.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "tests" / "data" / "cp2k_mhfo2" / "binary_upper"
TRAINED = ROOT / "data" / "aHfO1.8_96_train.h5"


def missing_files(wheel: Path) -> list[str]:
    """Files of the source tree that the wheel lacks."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    source = ROOT / "src"
    files = (path for path in (source / "nearsight").rglob("*") if path.is_file())
    expected = {str(path.relative_to(source)) for path in files if "__pycache__" not in path.parts}
    return sorted(name for name in expected - held if not name.endswith((".pyc", ".nbi", ".nbc")))


def declared(wheel: Path) -> dict[str, Distribution]:
    """All distributions that the wheel requires, directly or not, by normalised name."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    found: dict[str, Distribution] = {}
    waiting = [(Requirement(text), "") for text in re.findall(r"^Requires-Dist: (.*)$", metadata, flags=re.MULTILINE)]
    seen = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        found[key] = package = distribution(requirement.name)
        for wanted in {"", *requirement.extras}:
            if (key, wanted) not in seen:
                seen.add((key, wanted))
                waiting += [(Requirement(text), wanted) for text in package.requires or ()]
    return found


def link(packages: dict[str, Distribution], site: Path) -> None:
    """Links to their files, so that they and nothing else can be imported from `site`."""
    for package in packages.values():
        tops = {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            target = Path(str(package.locate_file(top))).resolve()
            if target.exists() and not (site / top).exists():
                (site / top).symlink_to(target)


def main() -> None:
    """Command line."""
    wheel = Path(sys.argv[1]).resolve()
    if missing := missing_files(wheel):
        raise SystemExit(f"expected all files of src/nearsight in {wheel.name}, got it without {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
        python = place / "venv" / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True)
        site = next((place / "venv" / "lib").glob("python3*/site-packages"))
        packages = declared(wheel)
        link(packages, site)
        print(f"{wheel.name} with {len(packages)} declared packages", flush=True)

        work = place / "empty"
        work.mkdir()
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        environment["OMP_NUM_THREADS"] = "1"

        def run(*command: str | Path) -> str:
            print("$", *(str(part).replace(str(place), "") for part in command), flush=True)
            done = subprocess.run(command, cwd=work, env=environment, text=True, stdout=subprocess.PIPE)
            if done.returncode:
                raise SystemExit(f"expected success, got exit status {done.returncode}\n{done.stdout}")
            return done.stdout

        where = run(python, "-c", "import nearsight; print(nearsight.__file__, nearsight.__version__)").split()
        if not Path(where[0]).is_relative_to(site) or f"-{where[1]}-" not in wheel.name:
            raise SystemExit(f"expected {wheel.name} in the new environment, got {' '.join(where)}")
        nearsight = place / "venv" / "bin" / "nearsight"
        run(nearsight, "import", RUN, "-o", "small.h5")
        run(nearsight, "train", "nearsight", f"data.train=[{TRAINED}]", "max_epochs=1", "run_dir=run", "--threads", "1")
        run(nearsight, "predict", "run", "small.h5", "-o", "prediction.h5", "--threads", "1")
        run(nearsight, "report", "prediction.h5", "-o", "page.html")
        if not (work / "page.html").stat().st_size:
            raise SystemExit("expected a page, got an empty file")
    print("the wheel works")


if __name__ == "__main__":
    main()
