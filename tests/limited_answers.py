"""Answers questions in a limited process, some of them never; run by test_limited_process.py."""

from __future__ import annotations

import os

from nearsight.limited_process import Limits, serve


def answer(question: dict[str, str]) -> str:
    """Do what is asked."""
    what = question["what"]
    while what == "loop":
        pass
    if what == "end":
        os._exit(3)
    if what == "memory":
        return str(len(bytearray(1 << 31)))
    if what == "half a line":
        print("half", end="", flush=True)
        os._exit(0)
    return what


if __name__ == "__main__":
    serve(answer, Limits(seconds=0, seconds_per_byte=0, memory=1 << 30))
