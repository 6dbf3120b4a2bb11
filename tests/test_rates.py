"""benchmarks/rates.py: which rate is tested."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_rate_that_is_tested_is_the_best_of_those_that_ended_with_every_seed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rows of another sweep, of which `halo` became NaN with two of three seeds."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    rates, asked = importlib.import_module("rates"), []
    monkeypatch.setattr(rates.methods, "main", lambda words: asked.append(words) or 0)
    rows = {"halo": {"lr": 0.2}, "mcl": {"lr": 0.1}, "agw": {"lr": 0.3}}
    (tmp_path / "few.json").write_text(json.dumps({"rows": rows, "base": {"select": "held-out"}}))
    monkeypatch.setattr(rates, "SWEEP", tmp_path / "few.json")
    names = str(ROOT / "benchmarks" / "results" / "mobilenetv2-[012]-2*.json")
    files = rates.found([names])
    row, scores = rates.chosen(files, [0, 1, 2])
    assert (row, {*scores}) == ("agw", {"agw", "mcl"}) and 84 < scores["agw"] < 86
    assert rates.chosen(files, [1])[1].keys() == rows.keys()
    with pytest.raises(rates.Unlike, match="seed 2 was not made"):
        rates.chosen(files[:2], [0, 1, 2])
    words = [names, "--of", "0,1,2", "--out", str(tmp_path), "--name", "x"]
    assert rates.main(words) == 0
    assert asked == [[str(tmp_path / "chosen.json"), "--name", "x"]]
    chosen = json.loads((tmp_path / "chosen.json").read_text())
    assert chosen["rows"] == {"halo": {"lr": 0.3}} and chosen["base"] == {}
    assert "out: halo, seed 0: failed" in capsys.readouterr().out
    assert rates.main([str(tmp_path / "none-*.json"), "--of", "2", "--out", str(tmp_path)]) == 2
