"""What the tracking store holds, each thing declared once: the facts of a run, the columns of all tables, every name.

The writer refuses a fact that is not declared here; the reader takes its columns and their types from here, and so do
the report and the frames of the tests. To add a fact, add it to :data:`RUN_FACTS` and write it. Runs that were written
before have it empty.
"""

from collections.abc import Iterable, Mapping

from gru_bench.store.fact import INTEGER, NUMBER, TEXT, TRUTH, Fact, by_name, columns_of

# tags of MLflow by which runs are found
KIND = "gru_bench.kind"
STATUS = "gru_bench.status"
ERROR = "gru_bench.error"
SWEEP = "gru_bench.sweep"
JOB = "gru_bench.job"
ROUND = "gru_bench.round"
CONFIG_KEY = "gru_bench.config_key"
GROUP_KEY = "gru_bench.group_key"
KEPT = "gru_bench.kept"
"""What a run was asked to keep besides its scores, as :func:`gru_bench.config.keys.extras` has it; empty for nothing.

Runs of older versions do not have it."""
PARENT = "mlflow.parentRunId"
OWNER = "gru_bench.owner"
"""Of a run or a sweep that is not over: the process that writes it, as :func:`gru_bench.process.owner` has it."""
BEAT = "gru_bench.beat"
"""When the owner last said that it lives, in seconds of ``time.time()``."""
DELIVERY = "gru_bench.delivery"
"""Drawn by the writer before MLflow knows of the run: what is delivered twice is found by it."""
SWEEP_KEY = "gru_bench.sweep_key"
"""Of a sweep: digest of what it plans. The same command goes on with the same sweep."""
GROUP_LABEL = "gru_bench.label"
"""Cell, task and what else sets a run apart from others of its sweep, but the seed: by it the UI groups runs."""
SOURCE_NAME, SOURCE_TYPE, SOURCE_COMMIT = "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit"
"""MLflow's own: the command, what kind of thing that is, and the commit of the code."""
SOURCE_KIND = "JOB"
"""Value of ``SOURCE_TYPE``: of a ``LOCAL`` source the UI shows what follows the last ``/`` alone."""

RUN_KIND, SWEEP_KIND, BENCH_KIND, TIMING_KIND, BASELINE_KIND = "run", "sweep", "bench", "timing", "baseline"
"""Values of the tag ``KIND``; only runs are rows of a report."""
STATUSES = ("finished", "failed", "killed", "unsupported", "missing")
"""How a job of a sweep can end; ``running`` comes before, and ``missing`` left no run."""

TRIAL, HORIZON = "trial", "horizon"
"""Values of the fact ``role``; a run that reports compare has none."""
DIVERGED = "Diverged"
"""How the error of a run begins whose loss was lost: a result, and not a fault."""

# artifacts
PLANNED_FILE = "planned.json"
VALUES_FILE, CURVES_FILE = "values.parquet", "curves.parquet"
CONFIG_FILE, DATA_FILE = "config.yaml", "data.yaml"
KERNEL_FILE, TRACEBACK_FILE = "kernel_audit.txt", "traceback.txt"
MODEL_FOLDER = "model"
"""A folder: the kept model, as ``kept/folder.py`` has its files, and around it what makes it a model of MLflow."""
MODEL_FILE = "model.pt"
"""The weights of a run of an older version, as torch saves a state dict; the model is rebuilt from ``config.yaml``."""
EXAMPLES_TABLE, SAMPLES_TABLE = "test_examples", "test_samples"
CONFUSION_TABLE = "test_confusion"
"""Table of a run whose task has classes: how many test examples of each class were taken for which."""
PROBE_TABLE = "probe_"
"""Prefix of the name of a table that a probe made; after it the probe's name, and the table's own."""
BENCH_EXPERIMENT = "bench_cells"
"""The experiment of what ``bench/cells.py`` measured: never a run of a report."""
BENCH_TABLE, BENCH_FILE = "bench", "bench.json"
BASELINES_EXPERIMENT = "baselines"
"""The experiment of what simple models score: never a run of a report."""
TIMING_SAMPLES = "timing_samples"
"""Table of a timing: every round's seconds a call of each arm, in the order in which they were taken."""
TIMING_LATENCIES = "timing_latencies"
"""Table of a timing of single steps: microseconds of each, of both arms."""
FIRST, SECOND = "first_", "second_"
"""Prefixes of the facts of a timing's two arms."""

BEST = "best_"
"""Prefix of the metric's name in MLflow where a curve already has that name; values.parquet has the plain name."""
TRIVIAL = "trivial_"
"""Prefix of the metric's name: what a guess that looks at no input scores."""
PART_SIZE, PART_SIZE_UNIT = "n", "examples"
"""Metric and unit of the number of test examples in a part (a slice) of the test split."""

DEPLOYMENT = "deployment"
"""Split of what was measured on a run's model after it was exported."""
SPLITS = ("train", "valid", "test", "speed", "memory", "probe", DEPLOYMENT)
"""The order of values."""
FAMILIES = ("rnn", "lstm", "gru")
"""The order of families in tables; a family is represented by its reference cell of the same name."""

ENVIRONMENT = "env_"
DATA_FACTS = "data."
GUESS = "data.guess."
"""Prefix of the params that hold what guesses score which look at no input, or have a given memory: they follow from
the data, and as metrics MLflow would chart them first. After it comes the metric's name, as in values.parquet."""
FINGERPRINT = "data_fingerprint"
"""The fact with which MLflow's own dataset of a run is written."""
FREE_FAMILIES = ("config.", DATA_FACTS, ENVIRONMENT)
"""Prefixes of names that need no declaration: the resolved config, facts of the data, and the environment.

``config.*`` is read for the fact ``settings`` alone, ``env_*`` as columns of text, and of ``data.*`` nothing but the
guesses' scores of a run that wrote no values.parquet.
"""


RUN_FACTS: dict[str, Fact] = by_name(
    # which run it is
    Fact("run_id", TEXT, "MLflow's id of the run; empty where a planned job left none", param=False),
    Fact("sweep", TEXT, "run id of the sweep's parent; empty for a single run", tag=SWEEP, param=False, example="5eeb"),
    Fact("experiment", TEXT, "name of MLflow's experiment", param=False, example="quick"),
    Fact("config_key", TEXT, "digest of all that can change the result", tag=CONFIG_KEY, param=False),
    Fact("group_key", TEXT, "the same without the seed: runs that may be averaged", tag=GROUP_KEY, param=False),
    Fact("job", INTEGER, "number of the job in its sweep", "1", tag=JOB, param=False, example=0),
    Fact("task", TEXT, "yaml name of the task", tag="task", config="task", example="adding"),
    Fact("family", TEXT, "what the cell is a variant of", tag="family"),
    Fact("cell", TEXT, "yaml name of the cell", tag="cell", config="cell"),
    Fact("backend", TEXT, "yaml name of the backend", tag="backend", setting=True, config="backend", node="backend",
         example="loop"),
    Fact("kernel", TEXT, "what ran the cell, as a profiler saw it", example="ATen loop"),
    # model and budget
    Fact("hidden_size_asked", INTEGER, "size that the config asks for; the budget may change it", "units",
         config="hidden_size", example=64),
    Fact("hidden_size", INTEGER, "size that was trained", "units", tag="hidden_size", example=64),
    Fact("num_layers", INTEGER, "layers of the cell", "layers", setting=True, config="num_layers", example=1),
    Fact("num_parameters", INTEGER, "trainable parameters of the whole model", "parameters", tag="num_parameters"),
    Fact("state_size", INTEGER, "numbers that its recurrent layers carry from step to step", "numbers"),
    Fact("budget", TEXT, "what is held equal between cells", tag="budget", setting=True, config="budget",
         node="budget", example="hidden"),
    Fact("seed", INTEGER, "from which all random streams of the run derive", "1", tag="seed", config="seed"),
    # where it ran
    Fact("device", TEXT, "cpu or cuda", setting=True, config="device", example="cpu"),
    Fact("machine", TEXT, "id of the machine's hardware", example="ab12cd34"),
    Fact("threads", INTEGER, "threads of torch", "threads", setting=True, config="threads", example=1),
    Fact("shared", TRUTH, "whether other work ran on the machine at the same time", example=True),
    Fact("seeds_in_batch", INTEGER, "runs that differ in the seed alone and were trained together", "1", example=1),
    Fact("dtype", TEXT, "float32, float64 or bfloat16 (mixed precision)", setting=True, config="dtype",
         example="float32"),
    # how it was trained
    Fact("learning_rate", NUMBER, "the rate before its schedule", "1", setting=True, config="trainer.learning_rate",
         example=0.003),
    Fact("learning_rate_from", TEXT, "trials (this cell's own, at these very settings), other settings (this cell's "
         "own, at others), family (trials of the family's reference cell), task (one rate for all cells, no trials), "
         "fallback (a rate not tuned for this cell) or user (command line or experiment)"),
    Fact("learning_rate_trials", INTEGER, "rates tried for this cell; 0 without trials of its own", "rates"),
    Fact("learning_rate_trial_seeds", INTEGER, "seeds of each such trial", "seeds"),
    Fact("learning_rate_extra", TEXT, "rates that were tried for this cell or family beyond the common grid, in words"),
    Fact("tuning_key", TEXT, "digest of the settings that trials depend on"),
    Fact("optimizer", TEXT, "its yaml name; where the command line gives another class, that class", setting=True,
         config="optimizer", node="trainer.optimizer"),
    Fact("schedule", TEXT, "how the rate changes while training; named like the optimizer", setting=True,
         config="schedule", node="trainer.schedule"),
    Fact("stopping", TEXT, "when training ends before its limits; named like the optimizer", setting=True,
         config="stopping", node="trainer.stopping"),
    Fact("batch_size", INTEGER, "sequences in a batch", "sequences", setting=True, config="task.batch_size",
         example=32),
    Fact("role", TEXT, "what the run is for in a sweep that tries rates first: trial; horizon, where it looks for the "
         "longest lag; empty for a run that is compared with others"),
    Fact("search_seeds", INTEGER, "seeds that a search for the longest lag gives a lag that is solved; missing in "
         "other runs", "seeds"),
    Fact("search_share", NUMBER, "share of them that must solve a lag", "1"),
    Fact("search_key", TEXT, "key of the config that is the lag, in a search for the longest"),
    Fact("looks", INTEGER, "most looks at the results that the run's sweep may take while it adds seeds, fixed before "
         "the first; 1 for a fixed number of seeds", "looks", example=1),
    # how it ended, and from which code
    Fact("status", TEXT, "finished, failed, killed, unsupported, running or missing", param=False, example="finished"),
    Fact("error", TEXT, "why it did not finish, in a line", tag=ERROR, param=False),
    Fact("git_commit", TEXT, "commit of the code", tag=SOURCE_COMMIT, example="0123456789abcdef"),
    Fact("dirty", TRUTH, "whether files differed from that commit", example=False),
    # what was measured, and against what
    Fact("primary_metric", TEXT, "the metric that the task is judged by", example="mse"),
    Fact("primary_unit", TEXT, "its unit", example="squared error"),
    Fact("primary_higher_is_better", TRUTH, "its direction", example=False),
    Fact("margin", NUMBER, "difference of two scores that matters", "unit of the primary metric", example=0.01),
    Fact("beats_trivial_by", NUMBER, "gain over the trivial guess below which nothing was learned",
         "unit of the primary metric", example=0.1),
    Fact("ceiling", NUMBER, "score from which the task counts as solved", "unit of the primary metric", example=0.001),
    Fact("test_selection", TEXT, "how test rows were chosen differently from validation rows, in words"),
    # the data
    Fact("trained_to", INTEGER, "largest length, lag, depth ... in training; missing where the task has no such levels",
         "as the task says"),
    Fact("data_source", TEXT, "id of the source and of the generator's version"),
    Fact("data_fingerprint", TEXT, "digest of the rows that were loaded", setting=True),
    Fact("generated", TRUTH, "whether a formula makes the data", example=True),
    # checks and remarks
    Fact("parity", TEXT, "passed or red: whether the backend computes what the reference computes"),
    Fact("parity_output_error", NUMBER, "largest error of outputs and states, relative to the largest value of the "
         "reference", "1"),
    Fact("parity_gradient_error", NUMBER, "likewise of the gradients", "1"),
    Fact("stopped", TEXT, "what ended training"),
    Fact("resumed_at", INTEGER, "optimizer step at which it last went on from a checkpoint; missing for a run of one "
         "piece", "steps"),
    Fact("resumed_from", TEXT, "id of the run that began it, where it went on from a checkpoint"),
    Fact("settings", TEXT, "in which other config keys the runs of this cell on this task differ", param=False),
    Fact("notes", TEXT, "what the data's source and the task had to decide"),
    Fact("kept", TEXT, "what it was asked to keep besides its scores: its model, and what probes find", tag=KEPT,
         param=False),
)  # fmt: skip
"""The columns of ``Results.runs``; after them come those of the environment, ``env_*``, as text."""

SWEEP_FACTS = by_name(
    Fact("overrides", TEXT, "what the command line changed"),
    Fact("launcher", TEXT, "Hydra's launcher"),
    Fact("looks_at", TEXT, "numbers of seeds at which a sweep looks that adds seeds until it has decided"),
    Fact("ended", TEXT, "why such a sweep ended"),
)
"""Params of a sweep's parent; no table lists them."""

VALUE_COLUMNS = by_name(
    Fact("run_id", TEXT, "the run's"),
    Fact("split", TEXT, "train, valid, test, speed, memory, probe or deployment"),
    Fact("metric", TEXT, "its name, with the unit last where it has one"),
    Fact("slice", TEXT, "by what the split was cut, such as length; empty for the whole"),
    Fact("slice_value", TEXT, "which part"),
    Fact("value", NUMBER, "exactly as it was measured; may be infinite", "as the column unit says"),
    Fact("unit", TEXT, "in words, or nothing"),
    Fact("higher_is_better", TRUTH, "missing where neither is better"),
)
CURVE_COLUMNS = by_name(
    Fact("run_id", TEXT, "the run's"),
    Fact("metric", TEXT, "split/name"),
    Fact("step", "int64", "when", "optimizer steps"),
    Fact("value", NUMBER, "exactly as it was measured", "as in the values of that metric"),
)

CODE_FACTS = (
    Fact("git_commit", TEXT, "commit of the code"),
    Fact("dirty", TRUTH, "whether files differed from that commit"),
)
"""Of all that is measured beside runs."""

BENCH_FACTS = by_name(
    Fact("machine", TEXT, "id of the machine's hardware", tag="machine"),
    Fact("torch", TEXT, "version of torch", tag="torch"),
    Fact("threads", INTEGER, "threads of torch", "threads"),
    Fact("dtype", TEXT, "type of weights and inputs"),
    Fact("device", TEXT, "cpu or cuda", tag="device"),
    *CODE_FACTS,
    Fact("rounds", INTEGER, "repetitions, whose median is taken", "rounds"),
    Fact("peak_gflops", NUMBER, "measured peak of the machine", "GFLOP/s"),
)
"""Params of one benchmark of ``bench/cells.py``."""
BENCH_COLUMNS = columns_of(
    "benchmark",
    BENCH_FACTS,
    Fact("cell", TEXT, "yaml name of the cell"),
    Fact("backend", TEXT, "yaml name of the backend"),
    Fact("kernel", TEXT, "what ran the cell, as a profiler saw it"),
    Fact("shape", TEXT, "TxBxH, or the name of a whole model"),
    Fact("ms", NUMBER, "forward and backward pass", "ms"),
    Fact("ratio_to_vendor", NUMBER, "the vendor's time over this one: above 1 is faster than the vendor", "1"),
    Fact("ratio_low", NUMBER, "lower end of its interval", "1"),
    Fact("ratio_high", NUMBER, "upper end of its interval", "1"),
    Fact("percent_of_peak", NUMBER, "operations a second against the machine's peak", "%"),
    Fact("parity", TEXT, "green or red"),
    without=("peak_gflops", "dirty"),
)

ARM_FACTS = by_name(
    Fact("cell", TEXT, "yaml name of the cell"),
    Fact("backend", TEXT, "yaml name of the backend"),
    Fact("kernel", TEXT, "what ran the cell, as a profiler saw it"),
    Fact("hidden_size", INTEGER, "size that was timed", "units"),
    Fact(
        "parameters",
        INTEGER,
        "trainable parameters of what was timed: where situation is stream, of a model's first recurrent layers",
        "parameters",
    ),
    Fact("state_bytes", INTEGER, "bytes that one sequence carries from step to step", "bytes"),
    Fact("gflop", NUMBER, "products of one call, by formula", "GFLOP"),
    Fact("percent_of_peak", NUMBER, "these a second against the machine's best product", "%"),
    Fact("ms", NUMBER, "median over the rounds of one call", "ms"),
    Fact("p50_us", NUMBER, "of single steps, where situation is stream", "microseconds"),
    Fact("p90_us", NUMBER, "likewise", "microseconds"),
    Fact("p99_us", NUMBER, "likewise", "microseconds"),
    Fact("peak_mib", NUMBER, "largest sum of tensor bytes alive in one call", "MiB"),
    Fact("parameters_mib", NUMBER, "of it parameters and buffers", "MiB"),
    Fact("gradients_mib", NUMBER, "of it gradients", "MiB"),
    Fact("optimizer_mib", NUMBER, "of it optimizer state", "MiB"),
    Fact("activations_mib", NUMBER, "of it the rest: what is kept for the way back, inputs, workspaces", "MiB"),
    Fact("resident_mib", NUMBER, "largest resident set of a fresh process that ran only this", "MiB"),
    Fact("joules", NUMBER, "energy of one call, where the machine says it", "J"),
)
"""Of one arm of a timing; in the table each is there twice, as ``first_NAME`` and ``second_NAME``."""

TIMING_FACTS = by_name(
    Fact("status", TEXT, "finished, failed or unsupported"),
    Fact("error", TEXT, "why it did not finish, in a line"),
    Fact("machine", TEXT, "id of the machine's hardware", tag="machine"),
    Fact("device", TEXT, "cpu or cuda", tag="device"),
    Fact("dtype", TEXT, "float32, float64 or bfloat16 (mixed precision)"),
    Fact("threads", INTEGER, "threads of torch", "threads"),
    Fact("torch", TEXT, "version of torch"),
    *CODE_FACTS,
    Fact("code", TEXT, "digest of the code that was timed and of the code that timed it"),
    Fact("config", TEXT, "digest of the yaml of the situation, the cells and the backends; of models, of their runs'"
         " configs"),
    Fact("instrument", TEXT, "what else was set: affinity, TF32, deterministic algorithms, compiler"),
    Fact("measured_at", TEXT, "when, in UTC, as ISO 8601"),
    Fact("situation", TEXT, "yaml name of the situation: train, batch, stream or sequence; of a model, batch is "
         "forward and loss, and stream a step of its first recurrent layers alone", tag="situation"),
    Fact("task", TEXT, "yaml name of the task whose whole model was timed; empty for layers alone", tag="task"),
    Fact("steps", INTEGER, "T: time steps a call", "steps"),
    Fact("batch", INTEGER, "B: sequences a call", "sequences"),
    Fact("inputs", INTEGER, "D: features a step", "features"),
    Fact("hidden_size_asked", INTEGER, "size before the budget", "units"),
    Fact("num_layers", INTEGER, "layers of the cell", "layers"),
    Fact("bidirectional", TRUTH, "whether both directions"),
    Fact("budget", TEXT, "what is equal between the two: hidden, parameters, state or flops"),
    *(Fact(f"{arm}{one.name}", one.kind, one.meaning, one.unit) for arm in (FIRST, SECOND)
      for one in ARM_FACTS.values()),
    Fact("ratio", NUMBER, "time of the second over time of the first: how many times as fast the first is", "1"),
    Fact("ratio_low", NUMBER, "lower end of its 95 % interval", "1"),
    Fact("ratio_high", NUMBER, "upper end", "1"),
    Fact("floor", NUMBER, "the same of the first against its identical twin: its interval's end furthest from 1, as a "
         "factor of at least 1", "1"),
    Fact("finding", TEXT, "first, second (the faster one), or noise: inside the noise"),
    Fact("rounds", INTEGER, "rounds that count", "rounds"),
    Fact("seconds", NUMBER, "how long they were to go on at least", "s"),
    Fact("repeated", INTEGER, "rounds that were disturbed, and taken again", "rounds"),
    Fact("warm", TRUTH, "whether times had settled before the rounds began"),
    Fact("others_cores", NUMBER, "cores that other processes used meanwhile", "cores"),
    Fact("steal_percent", NUMBER, "time that the host took away", "%"),
    Fact("mhz_low", NUMBER, "lowest clock seen, where the system tells it", "MHz"),
    Fact("mhz_high", NUMBER, "highest", "MHz"),
    Fact("forced", TRUTH, "whether it was measured on a busy machine on demand"),
)  # fmt: skip
"""Params of one timing of ``gru-bench time``: two arms in one fresh process."""
TIMING_COLUMNS = columns_of("timing", by_name(Fact("experiment", TEXT, "name of MLflow's experiment")) | TIMING_FACTS)

BASELINE_FACTS = by_name(
    Fact("baseline", TEXT, "which simple model: bag_of_words", tag="baseline"),
    Fact("task", TEXT, "yaml name of the task on whose rows it was measured", tag="task"),
    Fact("data_fingerprint", TEXT, "digest of the rows that were loaded"),
    Fact("recipe", TEXT, "digest of all else that decides its scores"),
    Fact("features", TEXT, "what it looks at, in words"),
    Fact("strength", NUMBER, "C of its regression: the inverse of the strength of regularization", "1"),
    Fact("num_features", INTEGER, "columns of its regression", "1"),
    Fact("class_weights", TEXT, "how much each class counts in its training, as the task has it; empty for all alike"),
    Fact("primary_metric", TEXT, "the metric by which features and strength were chosen, on validation rows"),
    Fact("seconds", NUMBER, "how long it took", "s"),
    Fact("notes", TEXT, "what a reader should know"),
    *CODE_FACTS,
)
"""Params of one baseline; its scores are in values.parquet, what it said of each test row where runs have theirs."""
BASELINE_COLUMNS = columns_of(
    "baseline",
    BASELINE_FACTS,
    Fact("split", TEXT, "valid or test"),
    Fact("metric", TEXT, "its name, as runs have it"),
    Fact("value", NUMBER, "the score", "as in the values of that metric"),
    without=("git_commit", "dirty"),
)

DECLARED: dict[str, dict[str, Fact]] = {
    RUN_KIND: RUN_FACTS, SWEEP_KIND: SWEEP_FACTS, BENCH_KIND: BENCH_FACTS, TIMING_KIND: TIMING_FACTS,
    BASELINE_KIND: BASELINE_FACTS,
}  # fmt: skip
"""What each kind of MLflow run may hold."""

SETTINGS = tuple(fact.name for fact in RUN_FACTS.values() if fact.setting)
"""Facts that are equal in a fair comparison of cells, and that label rows of one cell where they differ."""
NAMED_BY_CONFIG = {fact.config: fact for fact in RUN_FACTS.values() if fact.config}
"""Facts that repeat a key or a choice of the config: so a plan names them."""


def check_declared(names: Iterable[str], kind: str = RUN_KIND) -> None:
    """Refuse a fact that no reader would find.

    Raises:
        ValueError: A name has no free prefix and is not declared as written by that kind.
    """
    written = {fact.name for fact in DECLARED[kind].values() if fact.param or fact.tag}
    unknown = sorted(name for name in names if name not in written and not name.startswith(FREE_FAMILIES))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: not declared in gru_bench/store/schema.py as written by a {kind}")


def environment_columns(rows: Iterable[Mapping[str, object]]) -> dict[str, Fact]:
    """The columns of the environment that occur in some rows, by name."""
    names = sorted({name for row in rows for name in row if name.startswith(ENVIRONMENT)})
    return by_name(*(Fact(name, TEXT, "of the machine or its software") for name in names))
