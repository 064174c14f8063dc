"""What a run keeps of its model: which weights, what is said of them, and the folder with both."""

import math
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

import gru_bench
from gru_bench.config.check import Save
from gru_bench.kept.mlmodel import Form, form_of, write_mlmodel
from gru_bench.kept.weights import State, copied
from gru_bench.kept.write import write_kept
from gru_bench.models.encoder import num_parameters
from gru_bench.run import loaded
from gru_bench.run.job import Job
from gru_bench.run.record import Recorder
from gru_bench.store.schema import MODEL_FOLDER
from gru_bench.tasks.reader import Reader
from gru_bench.training.fit import Event, Fit


class Weights:
    """The weights that a run keeps.

    Args:
        which: ``best``: of the best validation step, with which the test split is scored. ``last``: of the last step,
            from which training could go on. ``none``.
    """

    def __init__(self, which: Save) -> None:
        self.which = which
        self._last: State | None = None

    def hook(self, event: Event) -> None:
        """A hook of the trainer: at the end of training the model still has the weights of the last step."""
        if self.which == "last" and event.kind == "end":
            self._last = copied(event.model.state_dict())

    def keep(self, job: Job, record: Recorder, model: nn.Module, fit: Fit, hidden_size: int) -> None:
        """Once training has ended and the model has its best weights again: put the folder among the run's artifacts.

        Args:
            job: The run's, loaded.
            record: Of the run.
            model: Trained.
            fit: How training went.
            hidden_size: That was trained.
        """
        if self.which == "none":
            return
        state = copied(model.state_dict()) if self._last is None else self._last
        reader, sizes = job.task.reader(), job.task.sizes()
        form = form_of(model, reader, sizes, job.place)
        facts = self._facts(job, record, fit) | {
            "hidden_size": hidden_size,
            "num_parameters": num_parameters(model),
            "sizes": sizes,
        }
        run_id = record.run.known_id
        write = partial(write_folder, state=state, job=job, facts={"run_id": run_id} | facts, reader=reader, form=form)
        record.run.file(MODEL_FOLDER, write)

    def _facts(self, job: Job, record: Recorder, fit: Fit) -> dict[str, Any]:
        metric = job.task.primary_metric.name
        scored = fit.valid.metrics[metric] if fit.valid is not None else math.nan
        if self.which == "last":
            scored = next((value for name, _, value in reversed(record.drawn) if name == f"valid/{metric}"), math.nan)
        return {
            **{name: job.facts[name] for name in ("task", "cell", "backend")},
            "seed": job.settings.seed,
            "kept": self.which,
            "step": fit.best_step if self.which == "best" else fit.steps,
            "metric": metric,
            "valid_score": scored if math.isfinite(scored) else None,
            "data_fingerprint": loaded.known(job.task).fingerprint,
            "config_key": job.keys[0],
            "gru_bench": gru_bench.__version__,
        }


def write_folder(
    folder: Path, state: State, job: Job, facts: dict[str, Any], reader: Reader | None, form: Form | None
) -> None:
    """Write the kept model, and around it MLflow's.

    Raises:
        OSError: The folder cannot be written.
    """
    write_kept(folder, state, job.node, facts, reader)
    if form is not None:
        write_mlmodel(folder, form, facts["run_id"])
