"""Which pairs are timed, and in which order."""

from typing import Any

from gru_bench.timing.pairs import Arm, Pair, best_pairs, fastest, in_order, pairs

FAMILIES = {"gru": "gru", "gru_chrono": "gru", "lstm": "lstm", "rnn": "rnn", "mgu": "mgu"}
GRU, LSTM = "gru", "lstm"
VENDOR, BPTT, LOOP = "vendor", "bptt", "loop"


def measured(**gains: float | str) -> dict[Pair, dict[str, Any]]:
    """Facts of pairs of bptt against vendor by cell: how many times as fast, or a status."""
    found: dict[Pair, dict[str, Any]] = {}
    for cell, gain in gains.items():
        facts: dict[str, Any] = {"status": gain}
        if not isinstance(gain, str):
            facts = {"status": "finished", "ratio": gain, "finding": "first" if gain > 1 else "second"}
        found[Arm(cell, BPTT), Arm(cell, VENDOR)] = facts
    return found


def test_gru_comes_before_lstm_before_rnn_before_the_rest() -> None:
    assert in_order(["mgu", "rnn", "lstm", "gru_chrono", "gru", "lstm"], FAMILIES) == [
        "gru",
        "gru_chrono",
        "lstm",
        "rnn",
        "mgu",
    ]


def test_cells_against_each_other_then_backends_against_the_vendor() -> None:
    assert pairs([GRU, LSTM], [BPTT, VENDOR]) == [
        (Arm(GRU, BPTT), Arm(LSTM, BPTT)),
        (Arm(GRU, VENDOR), Arm(LSTM, VENDOR)),
        (Arm(GRU, BPTT), Arm(GRU, VENDOR)),
        (Arm(LSTM, BPTT), Arm(LSTM, VENDOR)),
    ]
    # without the vendor: against the first
    assert pairs([GRU], [LOOP, BPTT]) == [(Arm(GRU, BPTT), Arm(GRU, LOOP))]
    assert len(pairs(["gru", "lstm", "rnn"], [VENDOR, BPTT, LOOP])) == 3 * 3 + 3 * 2


def test_the_best_are_timed_where_they_run_on_two_backends() -> None:
    both = [GRU, LSTM], [VENDOR, BPTT]
    assert list(best_pairs(*both, measured(gru=2.0, lstm=0.8))) == [(Arm(GRU, BPTT), Arm(LSTM, VENDOR))]
    known = measured(gru=2.0, lstm=1.2) | {(Arm(GRU, BPTT), Arm(LSTM, BPTT)): {"status": "finished"}}
    assert not list(best_pairs(*both, known))


def test_what_could_not_be_timed_is_no_best() -> None:
    known = measured(gru=2.0, lstm="unsupported")
    assert fastest(LSTM, [VENDOR, BPTT], known) is None
    # it ran on one backend alone, against the other cell
    known[Arm(GRU, BPTT), Arm(LSTM, BPTT)] = {"status": "finished"}
    assert fastest(LSTM, [VENDOR, BPTT], known) == BPTT
    assert list(best_pairs([GRU, LSTM], [VENDOR, BPTT], known)) == []


def test_a_gain_inside_the_noise_is_none() -> None:
    known = measured(gru=2.0)
    known[Arm(GRU, BPTT), Arm(GRU, VENDOR)]["finding"] = "noise"
    assert fastest(GRU, [VENDOR, BPTT], known) == VENDOR
