"""Texts, tasks and models for tests of language modeling."""

from typing import Any, Literal

import torch

from gru_bench.backends.base import Backend
from gru_bench.backends.loop import Loop
from gru_bench.cells.gru import GRU
from gru_bench.data.text import Text
from gru_bench.models.encoder import Encoder
from gru_bench.models.language_model import LanguageModel
from gru_bench.models.streams import Streams
from gru_bench.tasks.base import Goal
from gru_bench.tasks.text.language_modeling import LanguageModeling


def given(train: str, valid: str = "valid\n", test: str = "test\n") -> Text:
    return Text({"train": train, "valid": valid, "test": test})


def make_task(data: Text, level: Literal["word", "char"] = "char", **changed: Any) -> LanguageModeling:
    streams = {"seq_len": 7, "batch_size": 4, "max_train_tokens": None, "max_eval_tokens": None}
    vocabulary = {"tokenizer": "auto", "max_vocab_size": None, "min_count": 1}
    goal = {"goal": Goal(margin=0.1, beats_trivial_by=1.0, ceiling=1.0)}
    task = LanguageModeling(data, level=level, **(streams | vocabulary | goal | changed))
    task.load()
    return task


def make_model(
    task: LanguageModeling,
    seed: int = 0,
    *,
    cell: type = GRU,
    hidden_size: int = 8,
    backend: Backend | None = None,
    **changed: Any,
):
    def build_encoder(input_size: int, streams: Streams, /, **chosen: Any) -> Encoder:
        place = {"device": torch.device("cpu"), "dtype": torch.float32}
        return Encoder(
            input_size, cell, backend or Loop(), streams, hidden_size=hidden_size, num_layers=1, **place, **chosen
        )

    arguments: dict[str, Any] = {
        "embedding_size": 5,
        "tied": False,
        "scale_embedding": False,
        "dropout": 0.0,
        "init": "uniform",
    }
    arguments |= {"init_range": None} | changed
    return LanguageModel(task.sizes(), build_encoder, Streams(seed), **arguments)


def letters(num: int, seed: int = 0) -> str:
    picks = torch.randint(3, (num - 1,), generator=torch.Generator().manual_seed(seed))
    return "".join("abc"[int(i)] for i in picks) + "\n"
