"""``gru-bench time``: what is timed, what is stored, what is not repeated, and its messages."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import CONF, Command, yaml_names
from runs import STEPS, TINY, URI, stored

from gru_bench.commands import measuring
from gru_bench.config.check import construct, to_node
from gru_bench.measure import lanes
from gru_bench.measure.parity import Parity
from gru_bench.models.encoder import num_parameters
from gru_bench.run import timed, timing_plan
from gru_bench.run.timed import PairJob, builder, in_own_process
from gru_bench.run.timing_plan import sizes_of
from gru_bench.store.connect import absolute_uri
from gru_bench.store.find import fetched
from gru_bench.store.read import read
from gru_bench.store.schema import KIND, TIMING_KIND
from gru_bench.store.source import open_source
from gru_bench.timing.subjects import CPU
from gru_bench.timing.worker import Outcome

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

SMALL = ["hidden_size=4", "steps=3", "batch=2", "threads=1", "resident=false"]
FACTS = {
    "first_kernel": "ATen loop",
    "second_kernel": "oneDNN",
    "first_ms": 1.0,
    "second_ms": 1.3,
    "ratio": 1.3,
    "ratio_low": 1.2,
    "ratio_high": 1.4,
    "floor": 1.02,
    "finding": "first",
    "rounds": 30,
    "repeated": 0,
    "others_cores": 0.0,
    "steal_percent": 0.0,
}


class Machine:
    """Stands for this machine: how busy it is, and what a pair gives."""

    def __init__(self) -> None:
        self.jobs: list[PairJob] = []
        self.others: list[float] = []
        self.gives: Callable[[PairJob], Outcome] = lambda _: Outcome(facts=dict(FACTS), samples={"seconds": [1.0, 2.0]})

    def timed(self, job: PairJob) -> Outcome:
        self.jobs.append(job)
        return self.gives(job)

    def look(self, _: float) -> float:
        return self.others.pop(0) if self.others else 0.0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    # else it would wait for what another process of these tests trains, and say so
    monkeypatch.setattr(lanes, "folder", lambda: tmp_path / "lanes")
    monkeypatch.setattr(measuring, "in_own_process", made.timed)
    monkeypatch.setattr(measuring, "cores_used_by_others", made.look)
    monkeypatch.setattr(measuring.clock, "sleep", lambda _: None)
    return made


def timings(experiment: str = "timings") -> pd.DataFrame:
    return read(URI, experiment=experiment).timings


def test_one_pair_for_real(
    gru_bench: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def timed(job: PairJob) -> Outcome:
        assert job.peak_gflops is None
        return in_own_process(measuring.replace(job, peak_gflops=50.0))  # finding it takes seconds

    monkeypatch.setattr(measuring, "in_own_process", timed)
    few = ["rounds=30", "seconds=0.01", "block_ms=0.2", "wait=0", "force=true"]
    assert gru_bench("time", *SMALL, *few, "backends=[vendor]", "situation=[stream]") == 0
    (row,) = timings().to_dict("records")
    assert row["status"] == "finished"
    assert (row["first_cell"], row["second_cell"], row["situation"]) == ("gru", "lstm", "stream")
    assert (row["first_kernel"], row["second_kernel"]) == ("ATen loop", "oneDNN")
    assert (row["steps"], row["batch"], row["inputs"], row["hidden_size_asked"]) == (1, 2, 4, 4)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert row["floor"] >= 1
    assert row["rounds"] >= 30
    assert row["first_p50_us"] <= row["first_p90_us"] <= row["first_p99_us"]
    assert row["warm"] in (True, False)
    assert row["second_state_bytes"] == 2 * row["first_state_bytes"] == 2 * 4 * 4
    assert row["first_parameters_mib"] * 2**20 == 4 * (row["first_parameters"] + 8)  # torch's redundant biases
    assert row["first_gflop"] == pytest.approx(2 * 2 * 3 * 4 * 8 / 1e9)
    assert row["second_percent_of_peak"] == pytest.approx(2 * row["second_gflop"] / row["second_ms"] * 1000)
    assert "1 thread" in row["instrument"]
    source = open_source(absolute_uri(URI))
    (run,) = source.runs(list(source.experiments()), {KIND: TIMING_KIND})
    with fetched(source, run, ("timing_samples.parquet", "timing_latencies.parquet")) as files:
        assert files is not None
        blocks, latencies = map(pd.read_parquet, files)
    assert {"first", "second", "twin"} == set(blocks["arm"])
    assert len(blocks) >= 30 * 8
    assert list(latencies.columns) == ["first_us", "second_us", "disturbed"]
    assert len(latencies) >= 1000
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("situation T x B x H")
    assert "gru vendor (ATen loop)" in lines[1]
    assert lines[2] == "1 timed; stored in experiment timings: gru-bench report experiment=timings"


def test_pairs_and_the_best_of_each_cell(
    gru_bench: Command, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    def gives(job: PairJob) -> Outcome:
        slower = job.first.cell == job.second.cell == "lstm"
        change = {"ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6, "finding": "second"} if slower else {}
        return Outcome(facts=FACTS | change, samples={"seconds": [1.0]})

    machine.gives = gives
    assert gru_bench("time", *SMALL, "cells=[lstm,gru]", "situation=batch") == 0
    arms = [(job.first.cell, job.first.backend, job.second.cell, job.second.backend) for job in machine.jobs]
    assert arms == [
        ("gru", "vendor", "lstm", "vendor"),
        ("gru", "bptt", "lstm", "bptt"),
        ("gru", "bptt", "gru", "vendor"),
        ("lstm", "bptt", "lstm", "vendor"),
        ("gru", "bptt", "lstm", "vendor"),
    ]
    out = capsys.readouterr().out
    assert "GRU 1.30 times as fast (1.20 to 1.40), floor 1.020" in out
    assert "bptt 1.30 times as fast" in out
    assert "vendor 2.00 times as fast (1.67 to 2.50)" in out
    assert "GRU on bptt 1.30 times as fast" in out


def test_what_was_timed_is_not_timed_again(
    gru_bench: Command, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["time", *SMALL, "backends=[vendor]", "situation=[train,batch]"]
    assert gru_bench(*command) == 0
    assert len(machine.jobs) == 2
    assert gru_bench(*command) == 0
    assert len(machine.jobs) == 2
    assert gru_bench(*command, "budget=parameters") == 0  # something else
    assert len(machine.jobs) == 4
    assert machine.jobs[-1].first.hidden_size == 5
    monkeypatch.setattr(measuring, "code_digest", lambda: "other")
    assert gru_bench(*command) == 0
    assert len(machine.jobs) == 6
    assert gru_bench(*command, "again=true") == 0
    assert len(machine.jobs) == 8
    found = timings()
    assert len(found) == 8  # all that was measured
    assert gru_bench(*command, "seconds=4") == 0  # no more than was asked for before
    assert len(machine.jobs) == 8
    for longer in ("seconds=6", "rounds=31"):
        assert gru_bench(*command, longer) == 0
    assert len(machine.jobs) == 8 + 2 * 2
    assert set(found["code"].to_list()[-4:]) == {"other"}


def test_another_yaml_of_the_same_name_is_timed_anew(gru_bench: Command, machine: Machine, tmp_path: Path) -> None:
    command = ["time", *SMALL, "backends=[vendor]", "cells=[gru,mine]", "situation=stream", f"--config-dir={tmp_path}"]
    (tmp_path / "cell").mkdir()
    for number, cell in enumerate(("lstm", "rnn", "rnn")):
        (tmp_path / "cell" / "mine.yaml").write_text((CONF / "cell" / f"{cell}.yaml").read_text(encoding="utf-8"))
        assert gru_bench(*command) == 0
        assert len(machine.jobs) == (1, 2, 2)[number]
    assert gru_bench(*command, "situations.stream.latencies=3000") == 0
    assert len(machine.jobs) == 3


def test_a_process_that_dies_is_a_pair_that_failed(
    gru_bench: Command, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gru_bench("time", *SMALL, "backends=[vendor]", "situation=train") == 0
    python = tmp_path / "python"
    for what, error in (("kill -9 $$", "ended with -9: no message"), ("echo no luck >&2; exit 3", "with 3: no luck")):
        python.write_text(f"#!/bin/sh\n{what}\n")
        python.chmod(0o755)
        monkeypatch.setattr(timed.sys, "executable", str(python))
        outcome = in_own_process(machine.jobs[0])
        assert outcome.status == "failed"
        assert outcome.error.endswith(error)


def test_a_process_whose_parent_died_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = timed.Attended(CPU.device, timed.os.getppid())
    watch.look()
    monkeypatch.setattr(timed.os, "getppid", lambda: 1)
    watch.parent = 2
    with pytest.raises(SystemExit):
        watch.look()


def test_a_pair_that_fails_is_a_row_and_the_rest_goes_on(gru_bench: Command, machine: Machine) -> None:
    def gives(job: PairJob) -> Outcome:
        if job.first.backend != job.second.backend:
            return Outcome(facts=dict(FACTS), samples={"seconds": [1.0]})
        return Outcome("failed", "RuntimeError: no luck")

    machine.gives = gives
    assert gru_bench("time", *SMALL, "situation=train") == 1
    found = timings()
    assert list(found["status"]) == ["failed", "failed", "finished", "finished"]
    assert list(found["error"]) == ["RuntimeError: no luck"] * 2 + ["", ""]
    assert gru_bench("time", *SMALL, "situation=train") == 1
    assert len(machine.jobs) == 4 + 2  # a failure is tried again


def test_a_red_backend_is_not_timed(
    gru_bench: Command, machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def checked(_: object, backend: object, *__: object, **___: object) -> Parity:
        return Parity(1.0, 1.0, getattr(backend, "name", "") not in red, 1e-5)

    red = {"bptt"}
    monkeypatch.setattr(timing_plan.parity, "check", checked)
    assert gru_bench("time", *SMALL, "situation=train") == 0
    found = timings()
    assert list(found["status"]) == ["finished"] + ["unsupported"] * 3
    assert found["error"][1].startswith("backend=bptt is not offered for cell=gru")
    assert {job.first.backend for job in machine.jobs} == {"vendor"}
    red.add("vendor")
    assert gru_bench("time", *SMALL, "situation=train") == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("gru-bench time: backend=vendor is not offered for cell=gru")
    assert "\n" not in message


def test_a_busy_machine_is_waited_for_then_refused_or_forced(
    gru_bench: Command, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["time", *SMALL, "backends=[vendor]", "situation=train"]
    machine.others = [2.0, 2.0]
    assert gru_bench(*command) == 0  # it became quiet
    assert "gru-bench time waits: others use 2.0 cores" in capsys.readouterr().err
    assert list(timings()["forced"]) == [False]

    machine.others = [2.0] * 100
    assert gru_bench(*command, "again=true", "wait=20") == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith("gru-bench time: others use 2.0 cores of this machine")
    assert "force=true" in err[-1]
    assert len(machine.jobs) == 1

    assert gru_bench(*command, "num_layers=2", "force=true") == 0
    assert list(timings()["forced"]) == [False, True]
    assert "forced on a busy machine" in capsys.readouterr().out
    machine.others = []
    assert gru_bench(*command, "num_layers=2") == 0  # what was forced does not count as done
    assert len(machine.jobs) == 3

    seen = FACTS | {"repeated": 30, "others_cores": 1.5}
    machine.gives = lambda _: Outcome(facts=dict(seen), samples={"seconds": [1.0]}, busy=True)
    assert gru_bench(*command, "again=true") == 1
    assert len(machine.jobs) == 5  # it is tried twice
    source = open_source(absolute_uri(URI))
    *_, run = source.runs(list(source.experiments()), {KIND: TIMING_KIND})
    assert "busy while it was timed, twice" in run.params["error"]
    assert (run.params["repeated"], run.params["others_cores"]) == ("30", "1.5")
    assert not {"ratio", "finding"} & set(run.params)
    with fetched(source, run, ("timing_samples.parquet",)) as files:
        assert files is not None

    assert "failed" not in set(timings()["status"])  # what was measured before is not lost

    seen["finding"] = "noise"  # what else ran may have favoured an arm by any factor
    capsys.readouterr()
    assert gru_bench(*command, "again=true", "force=true") == 0
    assert "not called on a busy machine: 1.30 (1.20 to 1.40); 30 rounds count, 30 were disturbed" in (
        capsys.readouterr().out
    )


def test_the_models_of_an_experiment(gru_bench: Command, machine: Machine) -> None:
    assert gru_bench("train", "-m", "cell=lstm,gru", "backend=bptt", *TINY, *STEPS) == 0
    assert gru_bench("time", "experiment=adhoc", "resident=false") == 0
    found = stored().timings
    assert list(found["situation"]) == ["train", "batch", "stream", "stream"]
    assert set(found["task"]) == {"adding"}
    assert list(found["steps"]) == [5, 5, 1, 1]
    assert list(found["batch"]) == [8, 8, 1, 8]
    assert set(found["inputs"]) == {2}
    assert set(found["first_backend"]) == {"bptt"}
    assert set(found["first_cell"]) == {"gru"}
    # and for real, but in this process
    for job in machine.jobs[:3]:
        situation = construct(job.situation)
        subject = builder(job.first, job, CPU)()
        before = {name: value.clone() for name, value in subject.model.state_dict().items()}
        call = situation.call(subject)
        with situation.mode():
            for _ in range(300 if situation.trains else 2):
                call()
        moved = [(value - before[name]).abs().max() for name, value in subject.model.state_dict().items()]
        assert (0 < max(moved) < 1e-2) if situation.trains else max(moved) == 0
        assert subject.parity().passed
        assert subject.parameters == num_parameters(
            subject.encoders[0] if situation.name == "stream" else subject.model
        )
        assert (subject.gflop(trains=False, single=situation.name == "stream") or 0) > 0
        assert (subject.optimizer is not None) == situation.trains


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["cells=lstm,gru"], "cells=lstm,gru: several values are a list; valid: cells=[lstm,gru]"),
        (["cells=[gru,lstn]"], "cells: no cell 'lstn'; valid: gru, "),
        (["backends=[vendor,cudnn]"], "backends: no backend 'cudnn'; valid: bptt, "),
        (["cells=[gru]", "backends=[bptt]"], "one of each makes no pair"),
        (["rounds=29"], "rounds=29: too few for gaps of some per cent; valid: 30 or more"),
        (["device=cuda:7"], "device=cuda:7: torch sees 0 CUDA devices here"),
        (["situation=[]"], "situation=[]: none is chosen; valid: one or several of batch, "),
        (["situation=[drain]"], "situation=drain: no such choice"),
        (["experiment=nowhere"], "experiment=nowhere: neither a grid nor in "),
        (["experiment=regimes", "hidden_size=8"], "hidden_size: the grid sets it too"),
        (["experiment=quick", "steps=5"], "steps=5: models are timed as experiment=quick trained them; valid: without"),
        (["experiment=quick", "budget=parameters"], "budget=parameters: models are timed as experiment=quick trained"),
        (["experiment=quick", "situation=sequence"], "situation=[sequence]: of layers alone; valid with experiment=qu"),
        (
            ["situation=stream", "bidirectional=true", "backends=[vendor]"],
            "situation=stream: layers in both directions",
        ),
        (["steps=0"], "steps=0: "),
        (["threads=4096"], "threads=4096: never more than there are cores"),
        (["dtype=float16"], "dtype='float16'"),
    ],
)
def test_bad_input_is_one_line(
    gru_bench: Command, machine: Machine, capsys: pytest.CaptureFixture[str], arguments: list[str], wanted: str
) -> None:
    if arguments[0].startswith("device=cuda") and timing_plan.torch.cuda.is_available():
        pytest.skip("this machine has such a device")
    assert gru_bench("time", *arguments) == 2
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    assert message.startswith("gru-bench time: ")
    assert wanted in message
    assert not machine.jobs


@pytest.mark.parametrize("grid", yaml_names("grid"))
def test_grids_are_whole(grid: str) -> None:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = to_node(compose("time", overrides=[f"grid={grid}", "backends=[vendor]"]))
    asked = timing_plan.ask(node, "hidden", [CONF])
    assert {name for name, _ in asked.sizes} == {"train", "batch", "stream", "sequence"}
    assert len(asked.sizes) == len(set(asked.sizes))
    fewer = {"train": asked.situations["train"]}
    assert {name for name, _ in sizes_of(asked.keys, node["grid"], fewer, [])} == {"train"}


def test_help_is_short(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("time", "--help") == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in (*yaml_names("situation"), *yaml_names("grid")))
    assert len(out.splitlines()) < 90
