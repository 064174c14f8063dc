"""New sentences, up to their verb, for a model of the generated agreement task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from gru_bench.tasks.reading.base import Known, RowError, device_of, in_order, texts_of

NUMBERS = ("singular", "plural")
"""By class."""
MOST_SHOWN = 5


@dataclass(frozen=True)
class VerbNumberReader(Known):
    """Whether the verb that comes next is singular or plural.

    A text is the words before the verb, of the grammar's own few words: there is no unknown word, so another one is
    refused. An answer holds the ``prediction``, its ``probability``, and the number of ``tokens``.

    Attributes:
        words: By id.
        ask: What stands in the place of the verb; a text may end with it or not.
    """

    kind: ClassVar[str] = "verb_number"
    roles: ClassVar[tuple[str, ...]] = ("text",)

    words: list[str]
    ask: str

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.words), "num_classes": len(NUMBERS)}

    def predict(
        self, model: nn.Module, rows: Sequence[Mapping[str, Any]], /, *, batch_size: int
    ) -> list[dict[str, Any]]:
        ids = [self._ids(text, number) for number, text in enumerate(texts_of(rows, "text"), start=1)]
        if not ids:
            return []
        lengths_R = torch.tensor([len(one) for one in ids])
        groups = lengths_R.argsort(stable=True).split(batch_size)
        found: list[torch.Tensor] = []
        with torch.no_grad():
            for rows_B in groups:
                lengths_B = lengths_R[rows_B]
                inputs_TB = pad_sequence([ids[row] for row in rows_B.tolist()]).to(device_of(model))
                logits_TBC = model(inputs_TB, lengths_B).cpu()
                found += logits_TBC[lengths_B - 1, torch.arange(len(rows_B))].double()
        answers: list[dict[str, Any]] = []
        for logits_C, one in zip(in_order(found, torch.cat(groups)), ids, strict=True):
            best = int(logits_C.argmax())
            probability = float(logits_C.softmax(dim=0)[best])
            answers.append({"prediction": NUMBERS[best], "probability": probability, "tokens": len(one) - 1})
        return answers

    def _ids(self, text: str, number: int) -> torch.Tensor:
        words = text.split()
        words = words if words[-1:] == [self.ask] else [*words, self.ask]
        index = {word: place for place, word in enumerate(self.words)}
        if unknown := [word for word in dict.fromkeys(words) if word not in index]:
            some = ", ".join(unknown[:MOST_SHOWN]) + (" ..." if len(unknown) > MOST_SHOWN else "")
            raise RowError(number, f"{some}: no words of this task's grammar; valid: {', '.join(self.words)}")
        return torch.tensor([index[word] for word in words])
