"""The section on exported models, and the rows "deployed" of the verdict."""

import frames
from made_scores import results, runs_of
from rendering import cell, render

from gru_bench.store.read import Results

SCORES = {"gru": [0.80, 0.82], "lstm": [0.70, 0.72]}
EXPORTED = {
    "gru": {
        "float32_bytes": 750.0,
        "int8_bytes": 740.0,
        "float32_score": 0.80,
        "int8_score": 0.78,
        "float32_error": 2e-7,
    },
    "lstm": {"float32_bytes": 1000.0, "int8_bytes": 250.0, "float32_score": 0.70, "float32_error": 3e-7},
}


def exported(times: dict[str, float], cells: tuple[str, ...] = ("gru", "lstm")) -> Results:
    """Two seeds a cell, of which the first was exported."""
    runs, values = runs_of("a", SCORES)
    first = {run["cell"]: run["run_id"] for run in runs if run["seed"] == 0}
    values += [
        frames.value_row(first[name], "deployment", metric, value)
        for name in cells
        for metric, value in (EXPORTED[name] | {"float32_stream_p50": times[name]}).items()
    ]
    return results((runs, values))


def test_the_section_has_a_line_for_each_type() -> None:
    text = render("deployment", exported({"gru": 10.0, "lstm": 20.0})).markdown
    assert cell(text, "gru", "bytes") == "750"
    assert cell(text, "gru", "runs") == "1"
    assert cell(text, "gru", "score loss") == "0"
    assert cell(text, "gru", "worst error") == "2.0e-07"
    assert "| int8    |   740 |     0.0200 |" in text
    assert render("deployment", results(runs_of("a", SCORES))).markdown == ""


def test_the_verdict_says_which_is_smaller_and_faster() -> None:
    text = render("verdict", exported({"gru": 10.0, "lstm": 20.0})).markdown
    row = next(line for line in text.splitlines() if line.startswith("| a ") and "bytes" in line)
    assert "GRU, 750 to 1,000 bytes (0.75); int8: LSTM, 250 to 740 bytes (0.34)" in row
    assert "GRU, 10.0 to 20.0 µs" in row
    assert row.rstrip(" |").endswith("not measured")


def test_times_that_are_close_name_nobody() -> None:
    text = render("verdict", exported({"gru": 10.0, "lstm": 10.5})).markdown
    assert "about equal, 10.0 to 10.5 µs" in text


def test_one_family_alone_has_no_row() -> None:
    text = render("verdict", exported({"gru": 10.0, "lstm": 20.0}, cells=("gru",))).markdown
    assert "smaller file" not in text


def test_rows_that_may_not_be_compared_have_no_row() -> None:
    one, two = (runs_of("a", SCORES, num_layers=layers) for layers in (1, 2))
    ids = {(run["cell"], run["num_layers"]): run["run_id"] for run in (*one[0], *two[0]) if run["seed"] == 0}
    small = [("gru", 1, 750.0), ("lstm", 2, 2000.0)]
    values = [frames.value_row(ids[cell, layers], "deployment", "float32_bytes", size) for cell, layers, size in small]
    assert "smaller file" not in render("verdict", results((one[0], one[1] + values), two)).markdown
    values.append(frames.value_row(ids["lstm", 1], "deployment", "float32_bytes", 1000.0))
    text = render("verdict", results((one[0], one[1] + values), two)).markdown
    (row,) = [line for line in text.splitlines() if "bytes" in line]
    assert row.startswith("| a, num_layers 1 |")
    assert "GRU, 750 to 1,000 bytes (0.75)" in row
