"""Cost with paired timings, and what the first page says of speed: known answers on timings made by hand."""

from typing import Any

import frames
import made_timings
import pytest
from made_scores import noisy, runs_of
from made_timings import timing
from rendering import cell, render

NATIVE = (("gru", "native"), ("lstm", "native"))


def test_without_timings_the_command_is_named() -> None:
    text = render("cost", frames.small()).markdown
    assert text.startswith("Which cell is faster was not measured: `gru-bench time experiment=quick` does.")


def test_ratios_by_situation_with_kernel_interval_and_floor() -> None:
    rows = [
        timing(*NATIVE, ratio=1.31, task="adding"),
        timing(ratio=0.8, task="adding"),
        timing(ratio=1.002, situation="batch", task="adding"),
    ]
    text = render("cost", made_timings.with_timings(frames.small(), rows)).markdown
    assert "### CPU of machine `ab12cd34`, float32, 1 thread" in text
    assert "3 pairs of 40 rounds; torch 2.13.0; commit 0123456789ab" in text
    assert cell(text, "training step", "fastest: found") == "GRU 1.31 times as fast (1.28 to 1.34; floor 1.01)"
    assert cell(text, "training step", "vendor: found") == "LSTM 1.25 times as fast (1.23 to 1.28; floor 1.01)"
    assert cell(text, "training step", "vendor: GRU on, LSTM on") == "ATen loop, oneDNN"
    assert cell(text, "batch inference", "vendor: found").startswith("inside noise (1.00, 0.982 to 1.02; floor 1.01)")
    assert "cores 0; TF32 off; deterministic off; g++ 12.2 -O3" in text
    assert "What the training runs saw" in text


def test_memory_arithmetic_and_latency_have_a_row_an_arm() -> None:
    rows = [
        timing(first_peak_mib=7.0, first_optimizer_mib=2.5, first_state_bytes=256, first_percent_of_peak=41.0),
        timing(situation="stream", steps=1, batch=1, first_p99_us=99.5, second_p99_us=101.0),
    ]
    text = render("cost", made_timings.alone(rows)).markdown
    memory = text[text.index("Memory of a call") :]
    assert cell(memory, "gru", "peak MiB") == "7.00"
    assert cell(memory, "gru", "optimizer") == "2.50"
    assert cell(memory, "gru", "state bytes a token") == "256"
    assert cell(memory, "lstm", "state bytes a token") == "512"
    assert cell(text[text.index("Time of a call") :], "gru", "% of peak") == "41.0"
    latency = text[text.index("Latency of a single") :]
    assert (cell(latency, "gru", "p99"), cell(latency, "lstm", "p99")) == ("99.5", "101")
    assert " J |" not in text  # no machine said what energy it took


def test_two_machines_have_tables_of_their_own() -> None:
    rows = [timing(ratio=2.0), timing(ratio=0.5, machine="ee00ee00", device="cuda:0")]
    text = render("cost", made_timings.alone(rows)).markdown
    assert text.index("### CPU of machine `ab12cd34`") < text.index("### CUDA device of machine `ee00ee00`")


def test_many_sizes_of_layers_are_counted_and_tasks_shown() -> None:
    rows = [timing(steps=steps, ratio=2.0 if steps < 20 else 0.5) for steps in range(1, 31)]
    rows.append(timing(task="adding", ratio=1.5))
    text = render("cost", made_timings.alone(rows), most_rows=8).markdown
    assert cell(text, "30 sizes of layers", "vendor: found") == (
        "GRU faster on 19 (2.00 times), LSTM faster on 11 (2.00 times); largest floor 1.01"
    )
    assert cell(text, "adding (T 100, B 32, H 64)", "vendor: found").startswith("GRU 1.50 times")
    assert "the smallest and the largest size" in text


def test_what_was_forced_repeated_or_refused_is_said() -> None:
    rows = [
        timing(ratio=1.5, forced=True, finding="noise", repeated=7, others_cores=1.4),
        timing(ratio=1.5, situation="batch", measured_at="2026-11-26T10:00:00"),
        timing(ratio=1.8, situation="batch"),
        timing(situation="stream") | {"status": "unsupported", "error": "no step of its own", "ratio": None},
    ]
    text = render("cost", made_timings.alone(rows)).markdown
    assert "other processes used up to 1.4 cores" in text
    assert "at most 7 rounds had to be taken again" in text
    assert "*: 1 of them on a busy machine" in text
    assert "Of 1 pair there are further measurements" in text
    assert "factor of at most 1.20" in text
    again = text[text.index("### Pairs measured more than once") :]
    assert cell(again, "batch inference", "ratio that counts") == "1.80 (1.76 to 1.84; floor 1.01)"
    assert cell(again, "batch inference", "measured, commit") == "2026-11-27 12:00, 0123456789ab"
    assert cell(again, "batch inference", "other ratio") == "1.50 (1.47 to 1.53; floor 1.01)"
    assert cell(again, "batch inference", "measured then, commit") == "2026-11-26 10:00, 0123456789ab"
    assert cell(text, "streaming, gru on vendor, lstm on vendor", "why") == "no step of its own"


def test_what_a_busy_machine_timed_is_left_out_where_something_else_is_there() -> None:
    pair = (("gru", "native"), ("gru", "vendor"))
    busy: dict[str, Any] = {"forced": True, "finding": "noise"}
    rows = [timing(*pair, ratio=2.0, first_ms=1.0), timing(*pair, ratio=8.0, steps=20, first_ms=1.0)]
    forced = [
        timing(*pair, ratio=64.0, steps=200, first_ms=1.0, **busy),
        timing(("gru", "native"), ("lstm", "native"), first_ms=9.0, second_ms=5.0, **busy),
    ]
    text = render("cost", made_timings.alone([*rows, *forced])).markdown
    assert cell(text, "2 sizes of layers", "found") == (
        "4.00 times as fast (2.00 to 8.00): faster at 2, slower at 0, inside noise at 0"
    )
    times = text[text.index("Time of a call") :]
    assert (cell(times, "native AVX-512", "ms"), cell(times, "native AVX-512*", "ms")) == ("1.00", "5.00")
    assert "64.0 times as fast" not in text


def test_timings_elsewhere_are_called_different() -> None:
    text = render("cost", made_timings.with_timings(frames.small(), [timing(threads=4, machine="other")])).markdown
    assert "Different from this report's runs: machine other here, ab12cd34 there; threads 4 here, 1 there." in text


# the first page


def test_the_verdict_has_a_row_a_situation_and_the_advice_names_only_what_was_measured() -> None:
    tasks = ("adding", "copy_memory")
    rows = [timing(*NATIVE, ratio=ratio, task=task) for task, ratio in zip(tasks, (1.5, 1.2), strict=True)]
    rows += [timing(ratio=ratio, task=task) for task, ratio in zip(tasks, (0.5, 1.2), strict=True)]
    rows.append(timing(situation="stream", batch=1, ratio=1.0))
    runs = frames.realistic(1, ("rnn", "lstm", "gru"))
    found = made_timings.with_timings(runs, rows)
    text = render("verdict", found).markdown
    assert cell(text, "training step", "each on its fastest timed backend") == (
        "of 2 tasks: GRU faster on 2 (1.20 to 1.50 times); largest floor 1.01; on native AVX-512"
    )
    assert "GRU faster on 1 (1.20 times), LSTM faster on 1 (2.00 times)" in cell(text, "training step", "both on the")
    assert cell(text, "streaming", "each on its fastest timed backend") == "–"
    assert "| batch inference" not in text
    advice = render("choose", found).markdown
    assert cell(advice, "training speed", "take") == "**GRU**"
    assert cell(advice, "latency of one step", "take") == "**either**"
    vendor = made_timings.with_timings(runs, [row for row in rows if row["first_backend"] == "vendor"])
    assert cell(render("choose", vendor).markdown, "training speed", "take") == "**depends on the task**"


@pytest.mark.parametrize(
    "other", [{"experiment": "tuned"}, {"device": "cuda:0"}, {"num_layers": 7}, {"budget": "state"}, {"task": "parity"}]
)
def test_a_model_that_these_runs_did_not_train_is_in_no_section(other: dict[str, object]) -> None:
    runs = frames.realistic(1, ("rnn", "lstm", "gru"))
    own = timing(task="adding", ratio=1.5)
    foreign = timing(task="adding", ratio=9.0, steps=9999, measured_at="2027-01-01") | other
    for name in ("verdict", "choose", "matched", "cost"):
        texts = [render(name, made_timings.with_timings(runs, rows)).markdown for rows in ([own], [own, foreign])]
        assert texts[0] == texts[1]
        assert ("1.50" in texts[0]) == (name != "matched")


@pytest.mark.parametrize("budget", ["parameters", "flops"])
def test_matched_views(budget: str) -> None:
    scores = {"gru": noisy(0.9, 6, 0.002, 1), "lstm": noisy(0.8, 6, 0.002, 2)}
    parts = [runs_of("a", scores, budget=name) for name in ("hidden", "parameters")]
    runs, values = ([row for part in parts for row in part[i]] for i in (0, 1))
    rows = [timing(ratio=1.4), timing(ratio=0.9, budget=budget)]
    text = render("matched", made_timings.with_timings(frames.make_results(runs, values), rows)).markdown
    assert cell(text, "equal hidden size", "score") == "GRU on 1"
    assert cell(text, "equal number of parameters", "score") == "GRU on 1"
    assert cell(text, "equal size of state", "score") == "not measured"
    assert cell(text, "equal hidden size", "training step").startswith("GRU 1.40 times as fast")
    named = {"parameters": "equal number of parameters", "flops": "equal arithmetic a token"}[budget]
    assert cell(text, named, "training step").startswith("LSTM 1.11 times as fast")
    assert cell(text, "equal seconds of training", "score").startswith("not known")
    assert render("matched", frames.small()).markdown == ""
