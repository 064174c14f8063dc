"""The Pareto front: known answers and what holds of any front; which costs a row is given."""

from typing import Any

import frames
import made_timings
from hypothesis import given, settings
from hypothesis import strategies as st
from made_timings import timing

from gru_bench.report.pareto import candidates, draw, front, on_front, points_table
from gru_bench.report.view import View

POINTS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=9)


def test_a_front_by_hand() -> None:
    points = [(1.0, 0.7), (2.0, 0.9), (3.0, 0.8), (2.0, 0.6), (4.0, 0.95)]
    assert front(points, True) == [0, 1, 4]
    assert front(points, False) == [0, 3]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(POINTS, st.booleans())
def test_what_is_on_the_front_is_beaten_by_none_and_all_else_by_one_on_it(
    points: list[tuple[float, float]], higher: bool
) -> None:
    kept = front(points, higher)
    sign = 1 if higher else -1

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a != b and a[0] <= b[0] and sign * a[1] >= sign * b[1]

    assert not any(beats(points[i], points[j]) for j in kept for i in range(len(points)))
    assert all(any(beats(points[i], points[j]) for i in kept) for j in range(len(points)) if j not in kept)
    costs = [points[i][0] for i in kept]
    assert costs == sorted(costs)


def test_a_cost_is_that_of_the_fastest_backend_and_only_what_was_measured_is_drawn() -> None:
    rows = [
        timing(("gru", "native"), ("gru", "vendor"), ratio=3.0, task="adding", first_ms=2.0, second_ms=6.0),
        timing(("gru", "native"), ("lstm", "native"), task="adding", situation="stream", batch=1, first_p50_us=9.0),
        timing(("gru", "native"), ("lstm", "native"), task="adding", hidden_size_asked=128, first_ms=0.1),
    ]
    view = View(made_timings.with_timings(frames.realistic(1, ("rnn", "lstm", "gru")), rows))
    (priced,) = candidates(view)
    costs = {row.group.cell: row.costs for row in priced.rows}
    assert costs["gru"] == {"ms": 2.0, "parameters": 12993.0, "us": 9.0}
    assert "ms" not in costs["lstm"]
    assert costs["rnn"] == {"parameters": 4353.0}
    assert [row.group.cell for row in on_front(priced, "parameters")] == ["rnn", "gru"]
    figure = draw(view, [priced])
    drawn = [sum(line.get_marker() != "None" for line in ax.lines) for ax in figure.axes]
    assert drawn == [1, 3, 2]
    assert [text.get_text() for text in figure.axes[0].texts] == ["gru"]


def test_a_cost_of_a_busy_machine_counts_where_there_is_no_other_and_has_a_star() -> None:
    pair = (("gru", "native"), ("lstm", "native"))
    busy: dict[str, Any] = {"task": "adding", "forced": True, "finding": "noise"}
    other = timing(*pair, task="adding", first_ms=2.0, second_ms=3.0)
    foreign = timing(*pair, task="adding", steps=9999, experiment="tuned", first_ms=0.1)
    results = frames.realistic(1, ("rnn", "lstm", "gru"))
    for rows, ms, backend in (
        ([timing(*pair, first_ms=1.0, **busy), foreign], 1.0, "native*"),
        ([timing(("gru", "vendor"), ("lstm", "vendor"), first_ms=1.0, **busy), other, foreign], 2.0, "native"),
    ):
        (priced,) = candidates(View(made_timings.with_timings(results, rows)))
        (gru,) = [row for row in priced.rows if row.group.cell == "gru"]
        assert (gru.costs["ms"], gru.backends["ms"]) == (ms, backend)
        assert ("busy machine" in points_table([priced])) == (backend == "native*")


def test_without_a_timing_of_a_task_nothing_is_drawn() -> None:
    assert candidates(View(frames.small())) == []
    assert candidates(View(made_timings.with_timings(frames.small(), [timing()]))) == []
