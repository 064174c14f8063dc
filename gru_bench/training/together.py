"""A stand-in."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Part:
    trainer: Any
    model: Any
    task: Any
    generator: Any
    clock: Any
    hooks: Any = ()
    progress: Any = None
    result: Any = None
    keeper: Any = None


def refusal(parts):
    return None


def fit_together(parts):
    errors = []
    for p in parts:
        p.result.together = len(parts)
        try:
            p.trainer.fit(
                p.model,
                p.task,
                p.generator,
                p.clock,
                hooks=p.hooks,
                progress=p.progress,
                result=p.result,
                keeper=p.keeper,
            )
        except BaseException as error:
            errors.append(error)
        else:
            errors.append(None)
    return errors
