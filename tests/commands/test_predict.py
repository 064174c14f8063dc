"""``gru-bench predict``: what is written for new data of every form, and its messages."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose
from made_kept import keep, tickets

from gru_bench.commands.answers import Writer, cell, open_output
from gru_bench.commands.predict import predict
from gru_bench.commands.sample import sample
from gru_bench.commands.truth import Truth
from gru_bench.errors import UserError
from gru_bench.kept.load import load
from gru_bench.metrics import macro_f1

pytestmark = pytest.mark.usefixtures("own_caches", "hydra_conf")

Run = Callable[..., int]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, hydra_conf: None) -> Path:  # noqa: ARG001  # composes
    """A classifier of tickets."""
    folder = tmp_path_factory.mktemp("kept")
    keep(folder / "model", "task=text_classification", f"data.path={tickets(folder / 'tickets.csv')}",
         "task.max_length=6")  # fmt: skip
    return folder / "model"


@pytest.fixture
def run(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The verb itself on its config, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def called(*overrides: str, model: Path = kept) -> int:
        return predict(compose("predict", overrides=[f"run={model}", "threads=1", *overrides]))

    return called


def given(text: str | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input."""
    raw = text if isinstance(text, bytes) else text.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(raw))))


def of_model(kept: Path, texts: list[str]) -> list[dict[str, Any]]:
    return load(kept).predict([{"text": text} for text in texts], batch_size=1)


TEXTS = ["the printer came", 'my "mail", thanks', "=1+1 is black", "", "the the the the the the the zebra"]


def test_a_table_gets_its_answers_behind_its_own_columns(
    run: Run, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"no": str(i), "text": text, "label": "good"} for i, text in enumerate(TEXTS)]
    pd.DataFrame(rows).to_csv("new.csv", index=False)
    assert run("data.path=new.csv") == 0
    printed = capsys.readouterr()
    found = list(csv.DictReader(io.StringIO(printed.out)))
    assert list(found[0]) == ["no", "text", "label", "prediction", "probability", "tokens", "unknown", "cut"]
    wanted = of_model(kept, TEXTS)
    assert [row["prediction"] for row in found] == [answer["prediction"] for answer in wanted]
    assert [float(row["probability"]) for row in found] == pytest.approx([a["probability"] for a in wanted], abs=1e-5)
    assert [row["text"] for row in found] == [*TEXTS[:2], f"'{TEXTS[2]}", *TEXTS[3:]]  # no formula for a spreadsheet
    assert [row["cut"] for row in found] == ["0", "0", "0", "0", "2"]
    assert [row["unknown"] for row in found][-1] == "0", "what was cut off was not read"
    right = sum(answer["prediction"] == "good" for answer in wanted)
    assert f"accuracy {right / 5:.4f}, macro F1 " in printed.err
    assert "5 rows, " in printed.err


def test_json_lines_keep_values_as_they_are_and_hold_every_class(run: Run, kept: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"meta": {"n": 1.2345678901, "ok": True}, "text": TEXTS[0], "tags": ["a", 1], "prediction": "old"},
        {"text": None, "meta": {"n": float("nan")}, "late": None},
    ]
    Path("new.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert run("data.path=new.jsonl", "output=out.jsonl") == 0
    first, second = map(json.loads, Path("out.jsonl").read_text().splitlines())
    answers = of_model(kept, [TEXTS[0], ""])
    assert list(first) == ["meta.n", "meta.ok", "text", "tags", *answers[0]]
    assert (first["meta.n"], first["meta.ok"], first["tags"]) == (1.2345678901, True, ["a", 1])
    assert first["prediction"] == answers[0]["prediction"]  # the input's own gave way
    assert first["p(bad)"] == pytest.approx(answers[0]["p(bad)"], abs=1e-6)
    assert second["meta.n"] is None
    assert second["tokens"] == 0


def test_lines_from_standard_input(
    run: Run, kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given("\ufeffthe printer came\r\n\nmein Müll", monkeypatch)
    assert run("data.path=-", "format=jsonl", "batch_size=2", "probabilities=false") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in found] == ["the printer came", "", "mein Müll"]
    wanted = of_model(kept, [row["text"] for row in found])
    assert [row["prediction"] for row in found] == [answer["prediction"] for answer in wanted]
    assert "p(bad)" not in found[0]


def test_tables_from_standard_input(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given("no|text\n1|the mail\n", monkeypatch)
    assert run("data.path=-", "data.separator=pipe") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("1,the mail,")
    given('{"text": "the mail", "no": 3}\n', monkeypatch)
    assert run("data.path=-", "data.kind=jsonl", "keep_columns=false") == 0
    assert capsys.readouterr().out.splitlines()[0] == "prediction,probability,tokens,unknown,cut"


def test_the_only_column_is_the_text_and_another_one_is_named(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.csv").write_text("body\nthe mail\n")
    assert run("data.path=one.csv") == 0
    Path("two.tsv").write_text("body\tno\nthe mail\t1\n")
    assert run("data.path=two.tsv", "data.text=body") == 0
    assert capsys.readouterr().out.count("the mail") == 2


def test_parquet_and_packed_files(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"text": ["the mail", "the printer"], "label": [0, 1]})
    frame.to_parquet("new.parquet")
    frame.to_csv("new.csv.gz", index=False)
    for name in ("new.parquet", "new.csv.gz"):
        assert run(f"data.path={name}") == 0
        printed = capsys.readouterr()
        assert len(printed.out.splitlines()) == 3
        # numbers where the classes have names: their places among the classes
        assert "its numbers are taken for those of the classes bad, good" in printed.err


def test_columns_that_come_late(run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gru_bench.data.new_rows.ROWS", 2)
    rows = [{"text": "a"}, {"text": "b", "no": 1}, {"text": "c", "late": 2}]
    Path("new.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run("data.path=new.jsonl", "output=out.csv") == 0
    assert "late: rows far down have these columns" in capsys.readouterr().err
    assert Path("out.csv").read_text().splitlines()[0].startswith("text,no,prediction,")
    assert run("data.path=new.jsonl", "output=out.jsonl") == 0
    assert "late" not in capsys.readouterr().err
    assert [json.loads(line).get("late") for line in Path("out.jsonl").read_text().splitlines()] == [None, None, 2]


def test_a_name_that_tells_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.en").write_text("the mail came\nthe printer\n")
    assert run("data.path=new.en") == 2
    assert message(capsys).endswith("; for plain lines: data.kind=txt")
    assert run("data.path=new.en", "data.kind=txt") == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("the printer,")


def test_many_rows_pass_in_batches(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gru_bench.data.new_rows.ROWS", 7)
    Path("new.csv").write_text("text,no\n" + "".join(f"the printer w{i},{i}\n" for i in range(40)))
    assert run("data.path=new.csv", "output=a.csv") == 0
    monkeypatch.setattr("gru_bench.data.new_rows.ROWS", 1000)
    assert run("data.path=new.csv", "output=b.csv", "batch_size=3") == 0
    a, b = pd.read_csv("a.csv"), pd.read_csv("b.csv")
    assert len(a) == 40
    pd.testing.assert_frame_equal(a, b, atol=1e-5)


def message(captured: pytest.CaptureFixture[str]) -> str:
    """The one line that there is."""
    printed = captured.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("gru-bench predict: ")
    return line.removeprefix("gru-bench predict: ")


@pytest.mark.parametrize(
    ("content", "keys", "said"),
    [
        ("a\n", ["data.path=new.de"], "data.path=new.de: no such file"),
        ("a,b\n1,2\n", [], "data.text: which column of data.path=new.csv is it? There are a, b"),
        ("a,b\n1,2\n", ["data.text=c"], "data.text=c: no such column in data.path=new.csv; there are a, b"),
        ("text,b\n1,2\n", ["data.label=c"], "data.label=c: no such column in data.path=new.csv; there are text, b"),
        ("", [], "data.path=new.csv: an empty file"),
        ("text\n", [], "data.path=new.csv: no row in it"),
        ("the mail came\nthe mail came\n", [], "data.path=new.csv: data.text is not set, and the mail came is no name"),
        ("text,b\n1,2,3\n", [], "data.path=new.csv, line 2: 3 fields under a header of 2"),
        ("text,b\n1,2\n", ["data.source=text"], "data.source: this run's task reads data.text"),
        ("text,b\n1,2\n", ["output=no/a.csv"], "output=no/a.csv: its folder is not there"),
        ("text,b\n1,2\n", ["output=."], "output=.: ends in no suffix; valid: .csv, .jsonl, or format=csv|jsonl"),
        ("text,b\n1,2\n", ["batch_size=0"], "batch_size=0: must be greater than 0"),
        ("text,b\n1,2\n", ["data.kind=xls"], "data.kind='xls': "),
        ("text,b\n1,2\n", ["data.path=other.csv"], "data.path=other.csv: no such file"),
        ("text,b\n1,2\n", ["data.path=null"], "data.path=null: which data?"),
        ("text,b\n1,2\n", ["run=null"], "run=null: which run?"),
        ("text,b\n1,2\n", ["run=elsewhere"], "elsewhere: neither a folder nor the id of a run"),
    ],
)
def test_bad_input_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], content: str, keys: list[str], said: str
) -> None:
    Path("new.csv").write_text(content)
    assert run("data.path=new.csv", *keys) == 2
    assert message(capsys).startswith(said)
    assert sorted(path.name for path in Path().iterdir()) == ["new.csv"]


def test_a_wrong_row_is_named_by_its_place_in_the_file_and_leaves_no_output(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gru_bench.data.new_rows.ROWS", 2)
    Path("out.csv").write_text("as it was\n")
    rows: list[dict[str, Any]] = [{"body": "a"}, {"body": "a"}, {"body": "a"}, {"body": 5}]
    Path("new.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run("data.path=new.jsonl", "output=out.csv") == 2
    assert message(capsys) == "data.path=new.jsonl, row 4: text holds a number; valid: text (data.text=body)"
    assert Path("out.csv").read_text() == "as it was\n"
    assert sorted(path.name for path in Path().iterdir()) == ["new.jsonl", "out.csv"]


def test_bytes_that_are_no_text_are_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(b"a \xff b\n", monkeypatch)
    assert run("data.path=-") == 2
    assert message(capsys).startswith("data.path=-: no text in UTF-8")
    given(b"M\xfcll\n", monkeypatch)
    assert run("data.path=-", "data.encoding=latin-1") == 0
    assert "Müll," in capsys.readouterr().out


def test_a_task_that_draws_its_data_has_nothing_to_predict(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path / "model", "task=parity", "task.levels=[4]", "task.beyond=[]", "task.num_eval=4")
    assert run("data.path=x.csv", model=tmp_path / "model") == 2
    assert "its task, parity, draws its data from a generator" in message(capsys)
    assert sample(compose("sample", overrides=[f"run={tmp_path / 'model'}", "threads=1"])) == 2
    assert "its task, parity, is no language model; valid: a run of task=language" in capsys.readouterr().err


def test_tags_go_with_their_words(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"tokens": ["the", f"w{i % 9}", "ran"], "tags": ["D", "N", "V"]} for i in range(60)]
    Path("train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    keep(tmp_path / "model", "task=sequence_tagging", "data.path=train.jsonl")
    new: list[dict[str, Any]] = [
        {"tokens": ["the", "w1"], "tags": ["D", "X"]}, {"tokens": ["ran"], "tags": ["V", "V"]},
        {"tokens": ["ran"], "tags": None},
    ]  # fmt: skip
    Path("new.jsonl").write_text("\n".join(map(json.dumps, new)))
    model = tmp_path / "model"
    assert run("data.path=new.jsonl", "format=jsonl", model=model) == 0
    printed = capsys.readouterr()
    found = [json.loads(line) for line in printed.out.splitlines()]
    assert found[0]["words"] == ["the", "w1"]
    assert len(found[0]["prediction"]) == len(found[0]["probabilities"]) == 2
    assert "1 rows with another number of tags than words" in printed.err
    assert "1 of 2 tags are not among those that the model was trained on" in printed.err
    assert "(2 words)" in printed.err
    Path("new.txt").write_text("the w1 ran\n")
    assert run("data.path=new.txt", model=model) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert table[0]["words"] == "the w1 ran"
    assert len(table[0]["prediction"].split()) == 3


def test_files_of_a_corpus(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"tokens": ["the", f"w{i % 9}"], "upos": ["DET", "NOUN"]} for i in range(60)]
    Path("train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    keep(tmp_path / "model", "task=sequence_tagging", "data.path=train.jsonl", "data.tags=upos")
    word = "{}\t{}\t_\t{}\t_\t_\t_\t_\t_\t_\n"
    Path("new.conllu").write_text(f"# text\n{word.format(1, 'the', 'DET')}{word.format(2, 'w1', 'NOUN')}\n")
    assert run("data.path=new.conllu", "format=jsonl", model=tmp_path / "model") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["words"] == ["the", "w1"]
    assert "(2 words)" in printed.err
    Path("new.txt").write_text("__label__good the mail\n__label__bad a screen\n")
    assert run("data.path=new.txt", "keep_columns=false") == 0
    printed = capsys.readouterr()
    assert [line.split(",")[2] for line in printed.out.splitlines()[1:]] == ["2", "2"]
    assert "(2 rows)" in printed.err


def test_translations_are_held_against_the_target(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["task.num_train=40", "task.num_valid=8", "task.num_test=8", "task.highest=99"]
    keep(tmp_path / "model", "task=number_translation", *overrides)
    Path("new.csv").write_text("source,target\ntwenty one,ein und zwanzig\nthree,\n")
    assert run("data.path=new.csv", "data.target=target", model=tmp_path / "model") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "source,target,translation,tokens,unknown,unfinished"
    assert "BLEU " in printed.err
    assert "(1 rows)" in printed.err


def scored(classes: list[str], labels: list[Any], predictions: list[str]) -> list[str]:
    truth = Truth(classes, "label", "y")
    truth.add([{"y": label} for label in labels], [{"prediction": name} for name in predictions])
    return truth.lines()


def test_labels_are_held_against_predictions() -> None:
    lines = scored(["a", "b"], ["a", " b ", "b", None, -1], ["a", "b", "a", "a", "a"])
    f1 = macro_f1([0, 1, 0], [0, 1, 1], 2)
    assert lines == [
        "data.label=y: 2 rows without a label, not scored",
        f"accuracy 0.6667, macro F1 {f1:.4f} (3 rows)",
    ]


def test_a_label_that_training_did_not_have_counts_as_wrong_and_is_named() -> None:
    lines = scored(["a", "b"], ["a", "B", "B", "c"], ["a", "b", "b", "b"])
    assert lines[0] == (
        "data.label=y: 3 of 4 labels are not among those that the model was trained on, so they count as wrong: it has "
        "B, c, and the model a, b"
    )
    assert lines[1].startswith("accuracy 0.2500, ")


def test_labels_that_are_all_unknown_are_not_scored() -> None:
    (line,) = scored(["neg", "pos"], ["negative", "positive"], ["neg", "pos"])
    assert line == (
        "data.label=y: none of its labels is among those that the model was trained on, so nothing is scored: it has "
        "negative, positive, and the model neg, pos"
    )


@pytest.mark.parametrize(
    ("classes", "labels", "score"),
    [
        (["0", "1"], ["0", 1.0, "1.0"], "accuracy 1.0000"),  # names that are numbers are compared as numbers
        (["neg", "pos"], ["0", 1, 1.0], "accuracy 1.0000"),
        (["neg", "pos"], ["neg", "1", "1"], "accuracy 0.3333"),  # the first one has a name, so 1 is none
    ],
)
def test_numbers_as_labels(classes: list[str], labels: list[Any], score: str) -> None:
    assert scored(classes, labels, [classes[0], classes[1], classes[1]])[-1].startswith(score)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"

    def half() -> None:
        with open_output(str(out)) as stream:
            stream.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert not list(tmp_path.iterdir())
    with open_output(str(out)) as stream:
        stream.write("whole \ud800")
        assert not out.exists()
    assert out.read_text() == "whole \\ud800"
    mask = os.umask(0o022)
    os.umask(mask)
    assert out.stat().st_mode & 0o777 == 0o666 & ~mask
    with pytest.raises(UserError, match="a folder"), open_output(str(tmp_path)):
        pass


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("old.csv", "new.csv"):
        link = tmp_path / name
        link.symlink_to(tmp_path / "there" / name)
    (tmp_path / "there" / "old.csv").write_text("before")
    for name in ("old.csv", "new.csv"):
        with open_output(str(tmp_path / name)) as stream:
            stream.write("after")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "there" / name).read_text() == "after"
    lost = tmp_path / "lost.csv"
    lost.symlink_to(tmp_path / "nowhere" / "lost.csv")
    with pytest.raises(UserError, match="folder is not there"), open_output(str(lost)):
        pass


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (0.5, "0.5"), (float("nan"), ""), (["a", "b"], "a b"), ([0.5, 1], "0.5 1"),
     ([["a"]], '[["a"]]'), ({"a": None}, '{"a": null}'), ("@x", "'@x"), (["-a"], "'-a"), (-3, "-3"), ("", "")],
)  # fmt: skip
def test_cells(value: Any, text: str) -> None:
    assert cell(value) == text


def test_a_column_that_is_no_name_of_a_formula() -> None:
    stream = io.StringIO()
    Writer(stream, "csv", ["=cmd", "a"], ["hidden"], keep=True).write(
        [{"=cmd": 1, "a": 2}], [{"a": 3.00000001, "hidden": 4}]
    )
    assert stream.getvalue() == "'=cmd,a\n1,3.0\n"
