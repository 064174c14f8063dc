"""``gru-bench sample``: text that a kept language model writes. Wiring only."""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt
from omegaconf import DictConfig

from gru_bench.commands import messages
from gru_bench.commands.predict import load_kept
from gru_bench.config.check import Node, check_arguments, check_node, construct, to_node
from gru_bench.errors import UserError
from gru_bench.measure.room import room
from gru_bench.tasks.reading.language_modeling import LanguageReader
from gru_bench.tasks.reading.writing import needed_bytes, unknown_in, write


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The plain keys of ``conf/sample.yaml``."""

    run: str | int | None
    prompt: str | int | float
    num: Annotated[int, Gt(0)]
    steps: Annotated[int, Gt(0)]
    temperature: Annotated[float, Gt(0)]
    top_k: Annotated[int, Gt(0)] | None
    seed: Annotated[int, Ge(0)]
    device: str
    threads: Literal["auto"] | Annotated[int, Gt(0)]


def sample(config: DictConfig) -> int:
    """Print the texts, or bad input in one line. Returns the exit code, 0 or 2."""
    try:
        keys, uri = take_keys(to_node(config))
        kept = load_kept(keys.run, device=keys.device, threads=keys.threads, uri=uri)
        if not isinstance(kept.reader, LanguageReader):
            raise UserError(
                f"run={keys.run}: its task, {kept.facts.get('task')}, is no language model; valid: a run of "
                "task=language_modeling, or of another task on running text"
            )
        need, there = needed_bytes(kept.reader, num=keys.num, steps=keys.steps), room(kept.place.device)
        if need > there:
            raise UserError(
                f"num={keys.num}, steps={keys.steps}: need at least {need / 1e9:.3g} GB, and {there / 1e9:.3g} GB are "
                "free; valid: fewer"
            )
        prompt = str(keys.prompt)
        if unknown := unknown_in(prompt, kept.reader):
            print(f"gru-bench sample: prompt: the model knows no {', '.join(unknown)} and reads <unk>", file=sys.stderr)
        texts = write(
            kept.module,
            kept.reader,
            prompt,
            num=keys.num,
            steps=keys.steps,
            temperature=keys.temperature,
            top_k=keys.top_k,
            seed=keys.seed,
        )
    except messages.BAD_INPUT as error:  # printed here, since Hydra would put a line of its own before it
        print(messages.line("sample", error), file=sys.stderr)
        return 2
    for number, text in enumerate(texts, start=1):
        if len(texts) > 1:
            print(f"--- {number} of {len(texts)} ---")
        print(text)
    return 0


def take_keys(node: Node) -> tuple[Keys, str | None]:
    """The keys and the store's URI.

    Raises:
        UserError: A key or value that does not fit.
    """
    plain = {key: value for key, value in node.items() if key not in ("tracking", "hydra")}
    check_arguments(Keys, plain, "", "sample")
    check_node(node["tracking"], "tracking")
    return Keys(**plain), construct(node["tracking"]).uri
