"""The demo, shortened to seconds: it ends with numbers and a page."""

from __future__ import annotations

from rich.console import Console

from nearsight.cli.demo_run import run_demo


def test_demo_ends_with_a_page(tmp_path, capsys):
    run_demo(0.05, tmp_path / "demo", 42, 1, Console())
    printed = capsys.readouterr().out
    assert "on site (ε_n)" in printed
    assert "relative L1" in printed
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "Hf124O248" in page
    assert {p.name for p in (tmp_path / "demo").iterdir()} == {"run_0.05_minutes", "prediction.h5", "report.html"}
