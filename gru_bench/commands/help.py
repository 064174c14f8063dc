"""``gru-bench VERB --help``: the choices of each group with their descriptions, read from the yaml files themselves."""

from pathlib import Path

USAGE = {
    "answer": (
        "gru-bench answer task=text_classification data.path=tickets.csv data.text=text data.label=queue\n"
        "       gru-bench answer task=trec [max_hours=1] [cells=[rnn,lstm,gru]] [key=value ...]"
    ),
    "train": (
        "gru-bench train [cell=gru] [task=language_modeling] [key=value ...]   one run\n"
        "       gru-bench train -m cell=rnn,lstm,gru seed=0,1,2                       a sweep\n"
        "       gru-bench train experiment=quick [hydra/launcher=workers]             a named sweep"
    ),
    "plan": (
        "gru-bench plan experiment=quick [pilot=60]          any arguments of gru-bench train\n"
        "       gru-bench plan -m cell=rnn,lstm,gru seed=0,1,2"
    ),
    "data": (
        "gru-bench data task=NAME [key=value ...]                                         a task's own data\n"
        "       gru-bench data task=text_classification data.path=FILE data.text=COLUMN data.label=COLUMN"
    ),
    "report": (
        "gru-bench report [experiment=NAME | sweep=ID] [output=FOLDER]   default: the latest sweep\n"
        "       gru-bench report --diff OLD NEW [key=value ...]                  what changed beyond noise\n"
        "       gru-bench report --check [RULES [RESULTS]] [key=value ...]       hold results to rules"
    ),
    "time": (
        "gru-bench time [cells=[gru,lstm]] [backends=[vendor,bptt]] [situation=[train,stream]] [key=value ...]\n"
        "       gru-bench time experiment=regimes_quick     a grid of sizes\n"
        "       gru-bench time experiment=quick             the models of the tasks of an experiment in the store"
    ),
    "probe": "gru-bench probe run=ID probe=[NAME,...] [key=value ...]   a run that has kept its model",
    "predict": (
        "gru-bench predict run=ID data.path=FILE [output=FILE] [key=value ...]\n"
        "       ... | gru-bench predict run=ID data.path=-      lines of text from standard input"
    ),
    "sample": "gru-bench sample run=ID [prompt='...'] [steps=200] [key=value ...]   a language model",
    "export": "gru-bench export run=ID|FOLDER [format=onnx|torch] [int8=true] [output=FOLDER]   a kept model",
    "doctor": "gru-bench doctor [cells=all] [backends=all] [device=cuda] [tracking.uri=...]",
}
HEADINGS = {"section": "sections (all of them are written):", "check": "rules (--check):"}
"""Of groups that no key chooses."""
MORE = {
    "answer": (
        "Says what the data is; pilots and plans; tries the same learning rates for each cell, by validation; runs\n"
        "seeds until it is decided or the time is over; times the models; writes the report; answers in three lines.\n"
        "Ended by whatever, the same command goes on. It also takes those keys of gru-bench train that say what is\n"
        "trained (task=, data.path=, hidden_size=, task.goal.margin= ...), see gru-bench train --help. With\n"
        "trainer.learning_rate= no rates are tried. backend= is bptt where it takes all cells, else loop; on CUDA\n"
        "vendor.\n"
        "Exit code: 0; 1 where runs failed, beside the answer; 2 for bad input; 130 interrupted."
    ),
    "plan": (
        "Prints the matrix with what is planned, done, to run and failed; how long the rest takes and what memory a\n"
        "worker needs, from runs that finished or else from a short pilot; and a number of workers that free cores\n"
        "and free memory allow, as the command to type. Runs nothing else, and writes nothing to the store.\n"
        "pilot=SECONDS: for all pilots together, 60 by default; 0 for none.\n"
        "Time is a range where the evidence is thin, and an upper bound where stopping rules may end runs.\n"
        "All other keys and choices: gru-bench train --help."
    ),
    "report": (
        "OLD, NEW, RESULTS: a results.csv, a report's folder, a store's file or URI, or an experiment or a sweep's id\n"
        "in the store. experiment= and sweep= choose the runs of a store named by its file or URI. Without RESULTS\n"
        "the runs are chosen as for a report. RULES: a yaml file, or a name from below. Both flags write no files.\n"
        "--diff compares test scores, task by task and cell by cell: a row is worse where its mean is worse by more\n"
        "than the task's margin and its interval (Holm's adjustment over all rows) is clear of zero.\n"
        "Exit code: 0; 2 for bad input; 3 where a row got worse (--diff) or a rule is broken (--check)."
    ),
    "predict": (
        "Rows are read, answered and written a batch at a time: a file of any length takes little memory. Columns of\n"
        "an answer: prediction and probability of texts; words and prediction (a tag each) of sentences; translation;\n"
        "perplexity (or bits_per_char) and nats of lines. tokens: how many the model read; unknown: how many of them\n"
        "it does not know; cut: how many it did not read, as in training. In CSV lists are joined by spaces, and what\n"
        "a spreadsheet would take for a formula gets an apostrophe in front."
    ),
}
"""What stands under a verb's usage."""

GROUPS = {
    "train": (
        "cell",
        "backend",
        "task",
        "budget",
        "optimizer",
        "schedule",
        "stopping",
        "probe",
        "experiment",
        "tracking",
    ),
    "answer": ("task", "tracking"),
    "data": ("task", "tracking"),
    "report": ("section", "check", "tracking"),
    "time": ("situation", "grid", "budget", "tracking"),
    "probe": ("probe", "tracking"),
    "predict": ("tracking",),
    "sample": ("tracking",),
    "export": ("tracking",),
    "doctor": ("tracking",),
}


def help_text(verb: str, folders: list[Path]) -> str:
    """Usage, the groups with their choices, and the keys of ``conf/VERB.yaml`` with their comments.

    Args:
        verb: A Hydra verb.
        folders: ``conf/``, and the user's own folders.
    """
    conf = folders[0]
    if verb == "plan":
        return f"usage: {USAGE[verb]}\n\n{MORE[verb]}"
    lines = [f"usage: {USAGE[verb]}", "", first_comment(conf / f"{verb}.yaml"), ""]
    lines += [MORE[verb], ""] if verb in MORE else []
    for group in GROUPS[verb]:
        files = sorted(path for folder in folders for path in (folder / group).glob("*.yaml"))
        width = max((len(file.stem) for file in files), default=0)
        lines.append(HEADINGS.get(group, f"{group}:"))
        lines += [f"  {file.stem:<{width}}  {first_comment(file)}" for file in files]
        if group == "task":
            lines.append("  (what a task's keys mean: see the yaml files in conf/kind, which these extend)")
        lines.append("")
    if verb == "train":
        lines += ["hydra/launcher, on the command line, not in an experiment file:"]
        lines += ["  basic    one run after the other (default)"]
        lines += ["  workers  hydra.launcher.n_jobs runs at once (-1: one a core); a worker that dies costs one run"]
        lines += ["  joblib   likewise; a worker that dies ends the sweep", ""]
    lines += ["keys:", *(f"  {line}" for line in plain_keys(conf / f"{verb}.yaml")), ""]
    if verb == "train":
        lines.append("GRU_BENCH_DATA=FOLDER in the environment: its data sets take precedence over the hub's.")
    lines.append("Your own yaml files: --config-dir FOLDER. Whole config: --cfg job. Hydra's own flags: --hydra-help.")
    return "\n".join(lines)


def first_comment(path: Path) -> str:
    """The first comment line of a yaml that is not a package directive."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ")
    return ""


def plain_keys(path: Path) -> list[str]:
    """The lines of a yaml after its defaults list and before its ``hydra`` node, comments included."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept: list[str] = []
    inside = False
    for line in lines:
        if line.startswith(("defaults:", "hydra:")):
            inside = False
        elif line and not line.startswith((" ", "-")):
            inside = bool(kept) or not line.startswith("#") or line != lines[0]
        if inside and "_target_" not in line:
            kept.append(line)
    return [line for line in kept if line]
