"""Which jobs are left: known answers over ledgers, and that any interruption leaves exactly the rest."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_bench.config.running import Only
from gru_bench.errors import UserError
from gru_bench.process import owner
from gru_bench.run.plan import Plan
from gru_bench.run.resume import Left, is_stale, left_of, sweep_key, to_go_on_with, with_older_extras
from gru_bench.store.done import Ledger, Outcome, outcome
from gru_bench.store.reap import SILENT_AFTER_S
from gru_bench.store.schema import BEAT, CONFIG_KEY, ERROR, JOB, KIND, OWNER, STATUS, SWEEP, SWEEP_KEY
from gru_bench.store.source import StoredRun

KEYS = ["k0", "k1", "k2", "k3", "k4", "k5", "k6"]
ENDINGS = {
    "finished": ("FINISHED", ""),
    "failed": ("FAILED", "ValueError: no"),
    "diverged": ("FAILED", "Diverged: the loss"),
    "unsupported": ("FAILED", "not here"),
    "killed": ("KILLED", "interrupted"),
    "running": ("RUNNING", ""),
}


def ran(key: str, how: str, *, sweep: str = "old", job: str = "", started: int = 0, code: str = "c") -> Outcome:
    status, error = ENDINGS[how]
    tags = {KIND: "run", CONFIG_KEY: key, SWEEP: sweep, JOB: job or key[1:], OWNER: owner()}
    tags |= {ERROR: error} if error else {}
    tags |= {STATUS: "unsupported"} if how == "unsupported" else {}
    params = {"git_commit": code, "dirty": "False"}
    return outcome(StoredRun(f"{key} {how} {started}", "1", status, started, "", params, tags))


def parent(sweep: str = "old", *, key: str = "the key", status: str = "FAILED", **tags: str) -> StoredRun:
    named = {OWNER: tags.get("owner", ""), BEAT: tags.get("beat", "")}
    return StoredRun(sweep, "1", status, 0, "", {}, {KIND: "sweep", SWEEP_KEY: key} | named)


EVERY_KIND = [ran(key, how) for key, how in zip(KEYS, ENDINGS, strict=False)]
"""Jobs 0 to 5 ended in each way, the sixth not at all."""


@pytest.mark.parametrize(
    ("only", "todo", "said"),
    [
        ("missing", [1, 4, 6], "3 of 7 runs are done; 3 to run (1 failed, 1 killed, 1 missing); 1 still running"),
        ("failed", [1, 2], "2 of 7 runs are done; 2 to run (2 failed); 1 still running in another process; 2 without"),
        ("stale", [0, 2, 3], "0 of 7 runs are done; 3 to run (3 stale); 1 still running in another process; 3 without"),
    ],
)
def test_each_way_to_end(only: Only, todo: list[int], said: str) -> None:
    left = left_of(KEYS, Ledger(EVERY_KIND, []), only, parent(), ("d", "False", ""))
    assert left.todo == todo
    assert left.said.startswith(said)
    assert not left.stand_ins


def test_a_fresh_sweep_says_nothing() -> None:
    assert left_of(KEYS, Ledger([ran("other", "finished")], []), "missing").todo == list(range(7))
    assert left_of([None, None], Ledger([], []), "missing") == Left([0, 1])


def test_a_result_of_another_sweep_stands_for_the_job() -> None:
    ledger = Ledger([ran("k1", "finished", sweep="other", job="7"), ran("k0", "finished")], [])
    left = left_of(["k0", "k1", "k2"], ledger, "missing", parent())
    assert left.todo == [2]
    assert left.stand_ins == {1: "k1 finished 0"}
    plan = Plan("quick", [{"seed": str(seed)} for seed in range(3)], {"cell": "gru"}, {})
    assert [job.get("run") for job in left.planned(plan)] == [None, "k1 finished 0", None]


def test_a_run_that_failed_before_it_had_a_key_is_known_by_its_job() -> None:
    ledger = Ledger([ran("", "failed", job="1"), ran("k0", "finished")], [])
    assert left_of(["k0", "k1"], ledger, "failed", parent()).todo == [1]
    assert left_of(["k0", "k1"], ledger, "failed", parent("another")).todo == []


def test_a_result_counts_whatever_came_later() -> None:
    for later in ("killed", "failed"):
        ledger = Ledger([ran("k0", "finished"), ran("k0", later, started=1)], [])
        assert left_of(["k0"], ledger, "missing").todo == []


def test_all_again_goes_on_in_its_own_sweep() -> None:
    runs = [ran("k0", "finished"), ran("k1", "finished"), ran("k0", "finished", sweep="again", started=5)]
    ledger = Ledger(runs, [parent(), parent("again", key="another key")])
    assert left_of(["k0", "k1"], ledger, "all").todo == [0, 1]
    again = to_go_on_with(ledger, "another key", ["k0", "k1"], "all")
    assert again is not None
    assert again.run_id == "again"
    assert left_of(["k0", "k1"], ledger, "all", again).todo == [1]
    over = Ledger([*runs, ran("k1", "failed", sweep="again", started=6)], ledger.sweeps)
    assert to_go_on_with(over, "another key", ["k0", "k1"], "all") is None


def test_a_sweep_that_ran_other_configs_is_not_gone_on_with() -> None:
    ledger = Ledger([ran("k0", "finished")], [parent()])
    assert to_go_on_with(ledger, "the key", ["k0", "k1"], "missing") == ledger.sweeps[0]
    assert to_go_on_with(ledger, "the key", ["new 0", "new 1"], "missing") is None
    assert to_go_on_with(ledger, "no such", ["k0", "k1"], "missing") is None


def test_two_cannot_write_one_sweep() -> None:
    now = time.time()
    with pytest.raises(UserError, match=r"^sweep old: the same command is still running in process \d+; wait"):
        to_go_on_with(Ledger([], [parent(status="RUNNING", owner=owner())]), "the key", [], "missing")
    far = "1 2 another space another machine"
    heard = parent(status="RUNNING", owner=far, beat=str(now - 60))
    with pytest.raises(UserError, match=r"last heard of \d+ s ago; it counts as over after 15 minutes"):
        to_go_on_with(Ledger([], [heard]), "the key", [], "missing")
    silent = parent(status="RUNNING", owner=far, beat=str(now - SILENT_AFTER_S - 60))
    assert to_go_on_with(Ledger([], [silent]), "the key", [], "missing") == silent


def test_what_is_stale() -> None:
    here = ("abc", "False", "1")
    assert not is_stale(here, here)
    assert not is_stale(("abc", "False", "0"), here)  # the commit says more than the version
    assert is_stale(("abd", "False", "1"), here)
    assert is_stale(("abc", "True", "1"), here)
    assert is_stale(("", "", "1"), here)
    assert not is_stale(("", "", "1"), ("", "", "1"))
    assert is_stale(("", "", ""), ("", "", "1"))


def test_the_key_of_a_sweep_is_that_of_what_it_plans() -> None:
    def key(jobs: list[dict[str, str]], only: Only = "missing", experiment: str = "quick") -> str:
        return sweep_key(Plan(experiment, jobs, {"cell": "gru", "seed": "0"}, {}), only)

    one = key([{"seed": "0"}, {"seed": "1"}])
    assert one == key([{"seed": "0"}, {"seed": "1"}], "failed")
    others = [key([{"seed": "0"}]), key([{"seed": "0"}, {"seed": "1"}], "all"), key([{"seed": "0"}, {"seed": "1"}],
              experiment="other")]  # fmt: skip
    assert len({one, *others}) == 4


@given(st.lists(st.lists(st.sampled_from(list(ENDINGS)[:5]), max_size=3), max_size=12))
def test_what_is_left_is_the_rest(histories: list[list[str]]) -> None:
    """Whatever came before: each job without a result is run, no other, and none twice."""
    keys = [f"k{number}" for number in range(len(histories))]
    runs = [ran(k, how, started=n) for k, history in zip(keys, histories, strict=True) for n, how in enumerate(history)]
    done = {n for n, history in enumerate(histories) if {"finished", "unsupported", "diverged"} & set(history)}
    left = left_of(keys, Ledger(runs, []), "missing")
    assert left.todo == [number for number in range(len(keys)) if number not in done]
    assert set(left.stand_ins) == done  # no parent: each belongs to another sweep
    after = Ledger(runs + [ran(keys[n], "finished", started=9) for n in left.todo], [])
    assert left_of(keys, after, "missing").todo == []


# what is kept besides the scores


def with_kept(run: Outcome, *kept: str) -> Outcome:
    return replace(run, kept=frozenset(kept))


def test_a_result_that_lacks_what_is_asked_for_is_not_done() -> None:
    asked = [{"save=best"}, {"save=best"}, {"save=last", "gates:1"}, {"gates:1"}, set(), {"save=best"}]
    runs = [
        with_kept(ran("k0", "finished"), "save=best", "gates:2"),
        with_kept(ran("k1", "finished"), "save=last"),
        with_kept(ran("k2", "finished"), "save=best"),
        with_kept(ran("k3", "finished"), "gates:2"),
        with_kept(ran("k4", "finished")),
        ran("k5", "unsupported"),
    ]
    left = left_of(KEYS[:6], Ledger(runs, []), "missing", parent(), (), asked)
    assert left.todo == [1, 2, 3]
    assert left.said == (
        "3 of 6 runs are done; 3 to run (1 without what probe asks for, "
        "1 without what save and probe ask for, 1 without what save asks for); only=all runs all again"
    )
    assert left_of(KEYS[:6], Ledger(runs, []), "failed", parent(), (), asked).todo == []


def test_any_result_that_has_it_will_do() -> None:
    runs = [
        with_kept(ran("k0", "finished", started=1), "save=best"),
        with_kept(ran("k0", "finished", started=2)),
    ]
    left = left_of(["k0"], Ledger(runs, []), "missing", None, (), [{"save=best"}])
    assert (left.todo, left.stand_ins) == ([], {0: "k0 finished 1"})


def test_runs_of_older_versions_are_asked_only_where_it_matters() -> None:
    texts = {"k0": "save: best\nprobes: {}\n", "k1": "save: none\n", "k2": "", "k3": "a: [damaged"}
    read = []

    def text_of(run: Outcome) -> str:
        read.append(run.key)
        return texts[run.key]

    runs = [ran(key, "finished") for key in texts]
    runs += [ran("k4", "failed"), ran("k5", "finished"), with_kept(ran("k6", "finished"), "save=best")]
    ledger = with_older_extras(Ledger(runs, []), {"k0", "k1", "k2", "k3", "k4", "k6"}, text_of)
    assert read == ["k0", "k1", "k2", "k3"]
    left = left_of(KEYS, ledger, "missing", parent(), (), [{"save=best"}] * 7)
    assert left.todo == [1, 2, 3, 4, 5]
