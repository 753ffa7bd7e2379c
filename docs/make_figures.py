"""Make every figure of docs/ from shipped data.

    ./dev figures            # those whose inputs are newer
    ./dev figures --all

The figures of a prediction train a model first (the preset `nearsight` on aHfO2_372_C, about five minutes) and predict
aHfO2_372_D with it; both are kept in runs/docs. Figures are written to docs/figures.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
NEARSIGHT = (sys.executable, "-m", "nearsight.cli.main")
RUN = "runs/docs"
PREDICTION = f"{RUN}/prediction.h5"
TRAINED, TESTED = "data/aHfO2_372_C.h5", "data/aHfO2_372_D.h5"
RESPONSE = tuple(f"data/response/{name}.h5" for name in ("unchanged", "displaced", "vacancy", "substituted"))


@dataclass(frozen=True)
class Step:
    """A file and the command that makes it.

    Attributes:
        output: what is made.
        inputs: files it is made from.
        command: arguments of `nearsight`.
    """

    output: str
    inputs: Sequence[str]
    command: Sequence[str]


def figure(name: str, *command: str) -> Step:
    """A figure of a command that takes -o; inputs are the files among its arguments."""
    output = f"docs/figures/{name}.png"
    inputs = [word for word in command if word.endswith((".h5", ".csv"))]
    return Step(output, inputs, [*command, "-o", output])


STEPS = (
    Step(f"{RUN}/best.safetensors", [TRAINED], ["train", "nearsight", f"data.train=[{TRAINED}]", f"run_dir={RUN}"]),
    Step(PREDICTION, [f"{RUN}/best.safetensors", TESTED], ["predict", RUN, TESTED, "-o", PREDICTION]),
    figure("spectrum", "figure", "spectrum", PREDICTION, TESTED),
    figure("structure", "figure", "structure", "data/aHfO2_96_A.h5", TRAINED, TESTED),
    figure(
        "decay",
        "figure",
        "decay",
        TRAINED,
        "data/aHfO1.8_96_train.h5",
        "data/aGST_70_train.h5",
        "data/aPtGe2_96_train.h5",
    ),
    figure("cutoff", "figure", "cutoff", "data/aHfO2_96_A.h5", TRAINED, TESTED),
    figure("response", "figure", "response", *RESPONSE),
    figure("dos_oxide", "dos", TESTED, "--by", "shell", "--window=-22:14"),
    figure("dos_metal", "dos", "data/aPtGe2_96_test.h5", "--by", "element", "--mesh", "2,2,2", "--window=-12:6"),
    figure(
        "bands_silicon",
        "bands",
        "data/silicon_2.h5",
        "--reference",
        "data/silicon_2_bands.csv",
        "--path",
        "GXWLGK",
        "--window=-14:10",
    ),
)


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VIEWED = "data/aHfO1.8_96_test.h5"


def screenshot(again: bool) -> None:
    """The viewer, as a browser shows it; left as it is where there is no Chromium."""
    page, picture = ROOT / RUN / "view.html", ROOT / "docs/figures/view.png"
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None or not (again or stale(Step("docs/figures/view.png", [VIEWED], ()))):
        print(f"as it is: docs/figures/view.png{'' if browser else ' (no Chromium)'}", flush=True)
        return
    print("making docs/figures/view.png", flush=True)
    subprocess.run([*NEARSIGHT, "view", VIEWED, "-o", str(page)], cwd=ROOT, check=True)
    subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--window-size=1000,780",
            "--virtual-time-budget=8000",
            f"--screenshot={picture}",
            f"file://{page}#colour=charge",
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    shrink(picture)


def shrink(picture: Path) -> None:
    """Write a PNG with a palette of 256 colours, a third of its size: the repository holds every figure."""
    with Image.open(picture) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)


def stale(step: Step) -> bool:
    """Whether the output is missing or older than an input."""
    output = ROOT / step.output
    return not output.exists() or any((ROOT / name).stat().st_mtime > output.stat().st_mtime for name in step.inputs)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="make everything again")
    parser.add_argument("--only", nargs="+", default=(), help="names of figures, without .png")
    every = parser.parse_args()
    (ROOT / "docs/figures").mkdir(exist_ok=True)
    for step in STEPS:
        chosen = not every.only or Path(step.output).stem in every.only
        if not chosen or not (every.all or stale(step)):
            print(f"as it is: {step.output}", flush=True)
            continue
        print(f"making {step.output}", flush=True)
        done = subprocess.run([*NEARSIGHT, *step.command], cwd=ROOT)
        if done.returncode:
            raise SystemExit(f"expected {step.output}, got an error of: nearsight {' '.join(step.command)}")
        if step.output.endswith(".png"):
            shrink(ROOT / step.output)
    if not every.only or "view" in every.only:
        screenshot(every.all)


if __name__ == "__main__":
    main()
