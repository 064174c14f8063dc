"""A run that was trained, exported and reported."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxruntime")

from gru_bench.commands import cli


@pytest.mark.slow
def test_an_export_is_proved_scored_and_in_the_report(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        for cell in ("gru", "lstm"):
            arguments = [f"cell={cell}", "task=sentiment", "hidden_size=8", "trainer.max_steps=4", "threads=1"]
            assert cli.run(["train", *arguments, "trainer.eval_every=2"]) == 0
            run_id = capsys.readouterr().out.split()[-1]
            assert cli.run(["export", f"run={run_id}", "int8=true"]) == 0
            said = capsys.readouterr().out
            assert "labels equal" in said
            assert "int8 score on the test split" in said
    finally:
        torch.set_num_threads(threads)
    assert cli.run(["report", "output=out", "publish=false"]) == 0
    assert "smaller file" in (empty_folder / "out" / "report.md").read_text(encoding="utf-8")
    assert "## Deployment" in (empty_folder / "out" / "details.md").read_text(encoding="utf-8")
