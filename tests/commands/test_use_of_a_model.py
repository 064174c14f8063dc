"""A trained language model in use: ``gru-bench sample`` and ``gru-bench predict`` by the id of its run."""

import csv
import io
import sys
from pathlib import Path

import pytest
from conftest import Command
from runs import STEPS, TINY, stored

from gru_bench.kept.load import load

TEXT = "the cat sat on the mat .\nthe dog ran to the cat .\na cat and a dog sat .\n" * 12
LANGUAGE = ["task=language_modeling", "task.batch_size=4", "task.min_count=1", "hidden_size=6", "threads=1", *STEPS]


@pytest.mark.usefixtures("own_caches")
def test_a_run_s_model_writes_and_reads(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("text.txt").write_text(TEXT)
    assert gru_bench("train", *LANGUAGE, "data.path=text.txt") == 0
    (run_id,) = stored().runs["run_id"]
    capsys.readouterr()

    sample = ["sample", f"run={run_id}", "steps=9", "num=2", "threads=1"]
    assert gru_bench(*sample, 'prompt="the cat zebra"') == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "--- 1 of 2 ---"
    assert lines[1].startswith("the cat <unk>")
    assert printed.err == "gru-bench sample: prompt: the model knows no zebra and reads <unk>\n"
    assert gru_bench(*sample, 'prompt="the cat zebra"') == 0
    assert capsys.readouterr().out == printed.out
    for wrong, said in (
        ("prompt=zebra", "prompt: no word of it is in the model's vocabulary (zebra); valid: one with known words"),
        ("temperature=0", "temperature=0: must be greater than 0"),
        ("num=1000000000000", "num=1000000000000, steps=9: need at least "),
        ("top_k=0", "top_k=0: must be greater than 0"),
    ):
        assert gru_bench(*sample, wrong) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"gru-bench sample: {said}")

    lines_in = ["the cat sat .", "token=abcdefghijkl", ""]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join([*lines_in, ""]).encode())))
    assert gru_bench("predict", f"run={run_id}", "data.path=-", "threads=1") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    # rows are the user's own: they come back as they were, and no part of them is hidden as in a message
    assert [row["text"] for row in table] == lines_in
    assert [row["tokens"] for row in table] == ["5", "4", "1"]
    Path("table.csv").write_text("text,no\nthe cat sat .,7\n")
    assert gru_bench("predict", f"run={run_id}", "data.path=table.csv", "threads=1") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"the cat sat .,7,{table[0]['perplexity']}"[:24])
    kept = load(run_id)
    answers = kept.predict([{"text": line} for line in lines_in])
    assert [float(row["perplexity"]) for row in table] == pytest.approx([a["perplexity"] for a in answers], rel=1e-4)


def test_a_run_without_weights(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", *TINY, *STEPS, "save=none") == 0
    (run_id,) = stored().runs["run_id"]
    capsys.readouterr()
    for verb in (["predict", "data.path=x.csv"], ["sample"]):
        assert gru_bench(*verb, f"run={run_id}") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "save=" in line


@pytest.mark.parametrize("verb", ["predict", "sample"])
def test_help_and_completion(
    verb: str, gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gru_bench(verb, "--help") == 0
    shown = capsys.readouterr().out
    assert f"usage: gru-bench {verb} run=ID" in shown
    assert "batch_size: 32" in shown if verb == "predict" else "temperature: 1.0" in shown
    monkeypatch.setenv("COMP_LINE", f"gru-bench {verb} dev")
    assert gru_bench("-sc", "query=bash") == 0
    assert "device=" in capsys.readouterr().out
