"""The section on regimes: maps and crossings of a grid whose law is known."""

from typing import Any

import frames
import made_timings
import numpy as np
from made_timings import timing
from rendering import cell, render

from gru_bench.report.backend_maps import backend_pairs, by_size, draw_backends, letters, unbeaten
from gru_bench.report.length_lines import lines_of
from gru_bench.report.view import View


def test_a_grid_is_told_in_words() -> None:
    """The vendor's LSTM has a high cost of each call, so that the order changes with the length."""
    rows = [timing(steps=steps, batch=batch) for steps in (1, 20, 200) for batch in (1, 8)]
    rows += [timing(("gru", "native"), ("lstm", "native"), steps=steps) for steps in (1, 20, 200)]
    section = render("regimes", made_timings.alone(rows))
    assert set(section.figures) == {"regimes_train"}
    assert "changes along 2 of 3 lines" in section.markdown
    assert cell(section.markdown, "B 1", "both on the vendor's") == "GRU at T 1 to 20, LSTM at T 200"
    assert cell(section.markdown, "B 8", "both on the vendor's") == "GRU at T 1, LSTM at T 20 to 200"
    assert "GRU on ATen loop, LSTM on oneDNN" in section.markdown


def test_one_shape_is_no_map_and_tasks_are_in_none() -> None:
    assert render("regimes", made_timings.alone([timing()])).markdown == ""
    rows = [timing(steps=steps, task="adding") for steps in (1, 20)]
    assert render("regimes", made_timings.alone(rows)).markdown == ""
    assert render("regimes", frames.small()).markdown == ""


def test_other_budgets_are_in_no_map() -> None:
    rows = [timing(steps=steps) for steps in (1, 20)] + [timing(steps=50, budget="parameters", ratio=0.1)]
    section = render("regimes", made_timings.alone(rows))
    assert len(section.figures["regimes_train"].axes[0].patches) == 2


def test_lengths_are_lines_with_their_crossings() -> None:
    rows = [
        timing(situation="sequence", steps=steps, batch=1, hidden_size_asked=h, inputs=h)
        for steps in (1, 20, 200)
        for h in (64, 256)
    ]
    section = render("regimes", made_timings.alone(rows))
    axes = section.figures["regimes_sequence"].axes
    assert [ax.get_title(loc="left") for ax in axes] == ["H 64, B 1", "H 256, B 1"]
    assert [text.get_text() for text in axes[0].texts] == ["vendor: GRU, then LSTM"]
    (bracket,) = [line for line in axes[0].lines if line.get_marker() == "|"]
    assert np.asarray(bracket.get_xdata()).tolist() == [20.0, 200.0]


def test_lines_of_lengths_are_of_one_size_and_of_a_quiet_machine() -> None:
    at: dict[str, Any] = {"situation": "sequence", "batch": 1, "second_ms": 1.0}
    rows = [timing(steps=steps, first_ms=1.0, **at) for steps in (1, 20)]
    rows += [
        timing(steps=1, first_ms=9.0, budget="parameters", **at),
        timing(("gru", "vendor"), ("gru", "native"), steps=1, first_ms=7.0, forced=True, finding="noise", **at),
    ]
    lines = lines_of(View(made_timings.alone(rows)).timings)
    assert lines["gru", "vendor"] == [(1.0, 1.0), (20.0, 1.0)]
    assert ("gru", "native") not in lines
    busy = [timing(steps=steps, forced=True, finding="noise", **at) for steps in (1, 20)]
    assert not render("regimes", made_timings.alone(busy)).figures


def test_alone_the_maps_of_one_number_of_threads_lead_and_the_others_follow() -> None:
    rows = [timing(steps=steps, threads=threads) for steps in (1, 20, 200) for threads in (1, 2)]
    rows += [timing(situation="sequence", steps=steps, batch=1) for steps in (1, 20)]
    section = render("regimes", made_timings.alone(rows))
    assert set(section.figures) == {"regimes_train"}
    assert "Here: training step with 1 thread." in section.markdown
    assert "Along the others" not in section.markdown
    assert section.rest is not None
    assert set(section.rest.figures) == {"regimes_more_train", "regimes_more_sequence"}
    assert cell(section.rest.markdown, "1 thread, B 32; 2 threads, B 32", "both on the").startswith("GRU at T 1")
    whole = render("regimes", made_timings.with_timings(frames.small(), rows))
    assert set(whole.figures) == {"regimes_train", "regimes_sequence"}
    assert whole.rest is None


def test_the_map_of_backends_names_who_was_found_faster_and_guesses_nothing() -> None:
    def against(backend: str, steps: int, ratio: float) -> dict[str, Any]:
        return timing(("gru", backend), ("gru", "vendor"), steps=steps, ratio=ratio)

    rows = [against("native", 1, 2.0), against("native", 20, 1.0), against("native", 200, 0.5)]
    rows += [against("native", 500, 2.0), against("scan", 500, 3.0)]  # not against each other
    rows += [against("native", 900, 9.0) | {"forced": True, "finding": "noise"}]
    found = backend_pairs(View(made_timings.alone(rows)).timings)
    assert {place[0]: who for place, who in by_size(found, "steps", "batch").items()} == {
        1: ["native"], 20: ["native", "vendor"], 200: ["vendor"], 500: ["native", "scan"]}  # fmt: skip
    assert [text.get_text() for text in draw_backends(found).axes[0].texts] == ["N", "N V", "V", "N S"]
    direct = timing(("gru", "native"), ("gru", "scan"), steps=500, ratio=0.5)
    assert unbeaten([*found[3:], *View(made_timings.alone([direct])).timings]) == ["scan"]
    assert letters(["vendor", "vendor_aten", "bptt"]) == {"bptt": "B", "vendor": "V", "vendor_aten": "A"}
    maps = [timing(steps=steps) for steps in (1, 20)]
    assert "backends_train" in render("regimes", made_timings.with_timings(frames.small(), [*maps, *rows])).figures


def test_a_view_that_was_timed_at_fewer_places_lies_beside_the_same_place_of_the_other() -> None:
    rows = [timing(steps=steps, threads=threads) for steps in (1, 200) for threads in (1, 2)]
    rows += [timing(("gru", "native"), ("lstm", "native"), steps=steps, threads=2) for steps in (1, 200)]
    section = render("regimes", made_timings.with_timings(frames.small(), rows))
    panels = [ax.get_title(loc="left") for ax in section.figures["regimes_train"].axes if ax.axison]
    assert panels[:3] == ["both on the vendor's\n1 thread", "2 threads", "2 threads"]
    assert cell(section.markdown, "1 thread, B 32", "each on its fastest timed backend") == "–"
