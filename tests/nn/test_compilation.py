"""Machine code of older sources is forgotten, that of the present ones kept."""

from __future__ import annotations

from nearsight.nn.kernels.compilation import forget_stale_code


def test_code_of_changed_sources_is_removed(tmp_path):
    source, kept = tmp_path / "loops.py", tmp_path / "__pycache__"
    source.write_text("a = 1\n")
    kept.mkdir()
    index = kept / "loops.f-1.py311.nbi"
    index.write_text("")
    forget_stale_code(tmp_path)
    assert not index.exists()
    index.write_text("")
    forget_stale_code(tmp_path)
    assert index.exists()
    source.write_text("a = 2\n")
    forget_stale_code(tmp_path)
    assert not index.exists()
    assert source.exists()


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "loops.py").write_text("a = 1\n")
    (tmp_path / "__pycache__").write_text("not a folder")
    forget_stale_code(tmp_path)
    assert (tmp_path / "__pycache__").read_text() == "not a folder"
