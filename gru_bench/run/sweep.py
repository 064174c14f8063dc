"""Opens the sweep's parent run before the first job, and gives each job, in whichever process, its sweep."""

import shlex
import sys
from collections.abc import Set
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from gru_bench.config.check import check_running, check_until, construct, to_node
from gru_bench.config.keys import WEIGHTS
from gru_bench.config.read_once import read_once
from gru_bench.config.running import RUNNING_KEYS, Only, Until
from gru_bench.config.shape import check_shape
from gru_bench.errors import UserError
from gru_bench.process import die_with_parent
from gru_bench.redact import without_secrets
from gru_bench.run.engines import is_elsewhere, refuse_batches, refuse_missing
from gru_bench.run.known import Known
from gru_bench.run.launch import Launch, Opened, Sweep, current_launch, launch_here, own_folders
from gru_bench.run.plan import (
    OWN_SWEEPER,
    Choices,
    check_folder,
    check_values,
    keys_of,
    list_plan,
    make_plan,
    varied,
)
from gru_bench.run.resume import (
    Left,
    alone,
    code_now,
    growing_key,
    hold,
    left_of,
    refuse_two,
    sweep_key,
    to_go_on_with,
    with_older_extras,
)
from gru_bench.store.connect import absolute_uri, is_waiting, sqlite_file
from gru_bench.store.done import Ledger, config_text, read_ledger
from gru_bench.store.signals import raise_on_signals
from gru_bench.store.source import StoredRun, open_source

if TYPE_CHECKING:
    from gru_bench.store.write import Store

OWN_STORE = "gru_bench.store.write.Store"
"""Of ``conf/tracking/mlflow.yaml``: its URI is known without making it, which takes a second."""


class SweepCallback(Callback):
    """The sweep travels on this object, which Hydra pickles to each worker.

    An environment variable would not do: workers are reused, and would keep the first sweep's.
    """

    def __init__(self) -> None:
        self.sweep: Sweep | None = None
        self.threads: int | None = None

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Of a single run: what is asked for in its place, if anything is.

        Raises:
            SystemExit: It was.
        """
        launch = launch_here()
        if launch is not None and launch.instead is not None:
            do_instead(config, launch)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check every value that the sweep takes, then open the parent run with the planned matrix.

        Raises:
            SystemExit: It was refused; the launch has the error. Hydra turns a callback's exception into a warning and
                goes on, but lets an exit through.
        """
        launch = current_launch()
        if launch.instead is not None:
            do_instead(config, launch)
        launch.hand_over = partial(self.take, config)
        try:
            check_shape(config, "train")
            read_once(GlobalHydra.instance().config_loader())
            plan_sweep(config, launch)
        except Exception as error:
            launch.error = error
            sys.exit(2)

    def take(self, config: DictConfig, sweep: Sweep) -> None:
        """Keep the sweep for the jobs that are launched next."""
        if self.sweep is None:  # a later round gets what the first one got
            self.threads = threads_of(config)
        self.sweep = replace(sweep, threads=self.threads)

    def on_job_start(self, config: DictConfig, *, task_function: Any, **_: Any) -> None:
        """In the job's process: put the sweep where the job finds it, on the object that Hydra is about to call."""
        task_function.sweep = self.sweep
        launch = launch_here()
        if launch is not None and self.sweep is not None:
            launch.tally.began(config.hydra.job.num)
        elif launch is None and config.hydra.runtime.choices.get("hydra/launcher") == "joblib":
            # joblib's workers would finish what they have, and then wait for more, for minutes
            die_with_parent()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Likewise, where jobs run in the process that launched them."""
        launch = launch_here()
        if launch is not None and self.sweep is not None and job_return.status == JobStatus.COMPLETED:
            launch.over(config.hydra.job.num, str(job_return.return_value))


def do_instead(config: DictConfig, launch: Launch) -> NoReturn:
    """Do what is asked for in place of the runs, and leave; the launch has the error, as for a sweep.

    Raises:
        SystemExit: In any case.
    """
    assert launch.instead is not None
    code = 2
    try:
        check_shape(config, "train")
        code = launch.instead(config, launch)
    except Exception as error:
        launch.error = error
    sys.exit(code)


def threads_of(config: DictConfig) -> int | None:
    """Threads of each run of the sweep, decided once and said if other work has a part in it; None if not auto.

    Raises:
        UserError: Workers that are no number.
    """
    if config.get("threads") != "auto" or is_elsewhere(config.hydra.launcher):
        return None
    from gru_bench.measure.threads import num_workers
    from gru_bench.run.cores import decide_threads

    decided = decide_threads("auto", num_workers(config.hydra.launcher))
    if decided.remark:
        print(decided.remark, file=sys.stderr, flush=True)
    return decided.number


def plan_sweep(config: DictConfig, launch: Launch) -> None:
    """Check what is planned, and open the parent run; that of a sweep that adds jobs waits for its first round.

    Raises:
        UserError: A value that does not fit, or a store or a folder that cannot be written.
        SystemExit: All jobs are done.
    """
    check_folder(str(config.hydra.sweep.dir))
    until, only, own = asked_for(config)
    launch.carried = [
        str(override) for override in config.hydra.overrides.task if str(override).partition("=")[0] in RUNNING_KEYS
    ]
    if until.until is not None:
        plan_growing(config, launch, until)
    elif own:
        plan_rest(config, launch, only)
    else:
        refuse_secrets(config)
        launch.plan = make_plan(config, adds_seeds=False)
        open_parent(config, launch, Left(list(range(len(launch.plan.jobs)))))


def asked_for(config: DictConfig) -> tuple[Until, Only, bool]:
    """When the sweep ends, which of its jobs are run, and whether our own sweeper plans it.

    Raises:
        UserError: A value that does not fit, or one that the others rule out.
    """
    until, only = check_until(config), check_running(config).only
    refuse_missing(config.hydra.launcher)
    refuse_batches(config)
    own = config.hydra.sweeper._target_.endswith(OWN_SWEEPER)
    if until.until is not None and not own:
        raise UserError(f"until={until.until}: not with hydra/sweeper={config.hydra.sweeper._target_}; valid: rounds")
    if only != "missing" and until.until is not None:
        raise UserError(f"only={only}: not with until={until.until}, which goes on by itself; valid: only=missing")
    if only not in ("missing", "all") and not own:
        raise UserError(f"only={only}: not with hydra/sweeper=basic, which runs all of its jobs; valid: rounds")
    return until, only, own


def plan_growing(config: DictConfig, launch: Launch, until: Until) -> None:
    """Plan a sweep that adds jobs."""
    from gru_bench.measure.threads import num_workers
    from gru_bench.run.searching import Searching
    from gru_bench.run.until import Deciding

    plan = launch.plan = make_plan(config, adds_seeds=until.until == "decided")
    store: Store = construct(to_node(config.tracking))
    key = growing_key(plan, until.until)
    launch.held = hold(store.uri, key)
    ledger = what_ran(store.uri, plan.experiment, with_code=False)
    parent = None if ledger is None else ledger.sweep_of(key)
    if parent is not None:
        refuse_two(parent)
    kind = Deciding if until.until == "decided" else partial(Searching, config)
    launch.growing = kind(launch, plan, until, store, facts_of(config), num_workers(config.hydra.launcher))
    launch.growing.sweep_key = key
    raise_on_signals()
    store.recover()


def plan_rest(config: DictConfig, launch: Launch, only: Only) -> None:
    """Plan what is left to do of a sweep, and go on with the parent run of an earlier call where there is one."""
    plan = launch.plan = list_plan(config)
    uri = uri_of(config)
    if uri is None:
        check_values(config, plan.jobs)  # which says what is wrong with it
    uri = uri or ""
    key = sweep_key(plan, only)
    with alone(uri, key):
        ledger = what_ran(uri, plan.experiment, with_code=only == "stale")
        if ledger is None or ledger.lost or is_waiting(uri):
            raise_on_signals()
            store: Store = construct(to_node(config.tracking))
            store.recover()
            ledger = read_ledger(open_source(uri), plan.experiment, with_code=only == "stale")
        keys, extras, ledger = compared(config, plan.jobs, ledger, uri)
        parent = to_go_on_with(ledger, key, keys, only)
        left = left_of(keys, ledger, only, parent, code_now() if only == "stale" else (), extras)
        if left.said:
            print(f"{plan.experiment}: {left.said}", flush=True)
        if not left.todo and is_told(parent, left):
            launch.nothing_left = uri, f"sweep={parent.run_id}" if parent else f"experiment={plan.experiment}"
            sys.exit(0)
        check_values(config, [plan.jobs[number] for number in left.todo])
        open_parent(config, launch, left, parent, key)


def compared(
    config: DictConfig, jobs: list[Choices], ledger: Ledger, uri: str
) -> tuple[list[str | None], list[Set[str]], Ledger]:
    """What tells whether a job is done: its key, what its run is to keep, and the ledger with what each run kept.

    Without any run there are no keys, since nothing is there to compare them with.
    """
    keys: list[str | None] = [None] * len(jobs)
    known = Known(config.hydra.runtime.config_sources)
    if any(run.key for run in ledger.runs):
        keys = keys_of(config, jobs, lambda text: print(text, flush=True), known)
    unasked = set() if is_given(config, "save") else set(WEIGHTS)  # a mere default makes no older run undone
    extras = [known.extras(key or "") - unasked for key in keys]
    if any(extras):
        ledger = with_older_extras(ledger, set(keys), partial(config_text, open_source(uri)))
    return keys, extras, ledger


def is_given(config: DictConfig, key: str) -> bool:
    """Whether the command line, or the sweep of an experiment, says something about a key."""
    given = [str(override).partition("=")[0].lstrip("+~") for override in config.hydra.overrides.task]
    return key in (*given, *(config.hydra.sweeper.get("params") or {}))


def is_told(parent: StoredRun | None, left: Left) -> bool:
    """Whether the parent run of a sweep with nothing left to do says so already: nothing is to be written."""
    if parent is None or parent.status == "FINISHED":
        return True
    return parent.status == "FAILED" and not left.stand_ins


def open_parent(config: DictConfig, launch: Launch, left: Left, parent: StoredRun | None = None, key: str = "") -> None:
    """Open the parent run, or that of an earlier call again, and hand the sweep to its jobs."""
    plan = launch.plan
    assert plan is not None
    store: Store = construct(to_node(config.tracking))
    raise_on_signals()  # from here on something is open
    store.recover()
    planned = left.planned(plan)
    if parent is None:
        sweep_id = store.open_sweep(plan.experiment, planned, facts_of(config), key=key)
    else:
        sweep_id = parent.run_id
        store.reopen_sweep(sweep_id, planned)
    launch.opened = Opened(store, sweep_id, plan.experiment)
    launch.todo = [plan.jobs[number] for number in left.todo]
    numbers = dict(enumerate(left.todo))
    launch.hand_over(Sweep(sweep_id, len(planned), varied(plan.jobs), numbers=numbers))


def facts_of(config: DictConfig) -> dict[str, str]:
    """What the parent run says of the command."""
    given = [*map(shlex.quote, own_folders(config.hydra)), *map(str, config.hydra.overrides.task)]
    overrides = " ".join(given)
    return {"overrides": overrides, "launcher": str(config.hydra.runtime.choices["hydra/launcher"])}


def uri_of(config: DictConfig) -> str | None:
    """The absolute URI of the store; None where what is given cannot be one."""
    node = to_node(config.tracking) if isinstance(config.get("tracking"), DictConfig) else {}
    if node.get("_target_") != OWN_STORE or not isinstance(node.get("uri"), str | None):
        return None
    return absolute_uri(node.get("uri"))


def what_ran(uri: str, experiment: str, *, with_code: bool) -> Ledger | None:
    """How the jobs of an experiment went so far; nothing where the store is still to be made.

    None for a file that is there, but cannot be read as it is: half-made, or just now, as on a full disk. It must not
    be taken for one without runs, or all of them would run again.
    """
    file = sqlite_file(uri)
    if not uri or (file is not None and not file.is_file()):
        return Ledger([], [])
    try:
        return read_ledger(open_source(uri), experiment, with_code=with_code)
    except UserError:
        if file is None:
            raise
        return None


def refuse_secrets(config: DictConfig) -> None:
    """Hydra's basic sweeper writes the whole config to ``multirun.yaml``; ours does not.

    Raises:
        UserError: There is a password or token in it.
    """
    for line in OmegaConf.to_yaml(config).splitlines():
        if without_secrets(line) != line:
            raise UserError(
                f"hydra/sweeper=basic: would write a secret to {config.hydra.sweep.dir}/multirun.yaml "
                f"({without_secrets(line.strip())}); valid: hydra/sweeper=rounds, or the secret in the environment"
            )
