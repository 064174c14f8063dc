"""A bag of words: which words and pairs of words a text has, whatever their order, and a logistic regression on that.

It reads whole texts, as the task's tokenizer takes them apart: no limit on their length or on the vocabulary, which
spare a network time, is its own. So it is the classifier that somebody would take who has seconds and no network
(Wang and Manning, 2012, *Baselines and Bigrams*, find it hard to beat on texts). Its strength of regularization, and
whether words or parts of words serve better, are chosen on the validation rows; test rows are looked at once.
"""

import copy
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.data.encode import make_tokenize
from gru_bench.data.rows import contents
from gru_bench.tasks.base import SPLIT_SEEDS, Split
from gru_bench.tasks.objectives.classify import Classify
from gru_bench.tasks.text.text_classification import TextClassification

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

NAME = "bag_of_words"
VERSION = 1
"""Raise it when what follows changes the scores: then they are measured again."""
STRENGTHS = (0.5, 2.0, 8.0, 32.0, 128.0)
"""What is tried of scikit-learn's C, the inverse of the regularization's strength."""
WORD_GRAMS, LETTER_GRAMS, CHARACTER_GRAMS = (1, 2), (2, 5), (1, 5)
"""Lengths of the pieces: words in a row; letters within a word; characters of a text that is read by character."""
MOST_LETTERS = 600_000
"""Characters of all training texts, times classes beyond two, up to which parts of words are tried too: they take ten
times as long as words."""
MANY_ROWS = 20_000
"""Training rows from which a piece has to occur in two of them: most pairs of words occur once, and teach little."""
MOST_PARAMETERS = 4_000_000
"""Pieces times classes: with many classes the most frequent pieces alone are kept, or minutes become hours."""
MOST_ITERATIONS = 100


@dataclass(frozen=True)
class Result:
    """What a baseline scores.

    Attributes:
        features: What it looks at, in words.
        strength: C of the regression that was chosen.
        valid: Score by metric name on the validation rows, by which features and strength were chosen.
        test: The same on the test rows.
        examples: Of each test row what runs keep of theirs: ``correct``, ``nats``, ``label``, ``prediction``.
        num_features: Columns of the regression.
        seconds: All of it, on one core.
        notes: What a reader should know, one sentence each.
    """

    features: str
    strength: float
    valid: dict[str, float]
    test: dict[str, float]
    examples: dict[str, list[Any]]
    num_features: int
    seconds: float
    notes: list[str] = field(default_factory=list)


def recipe(task: Classify) -> dict[str, Any]:
    """All that decides the scores on given rows: two baselines of one recipe and one fingerprint are the same."""
    tokens = [task.tokenizer, task.lowercase] if isinstance(task, TextClassification) else []
    return {
        "baseline": NAME,
        "version": VERSION,
        "tokens": tokens,
        "pieces": [WORD_GRAMS, LETTER_GRAMS, CHARACTER_GRAMS, MOST_LETTERS, MANY_ROWS, MOST_PARAMETERS],
        "strengths": STRENGTHS,
        "chosen_by": task.primary,
        "class_weights": task.class_weights,
    }


def serves(task: Any) -> bool:
    """Whether a task has what a bag of words reads: one label for a text. The task is loaded."""
    if not isinstance(task, Classify) or len(task.classes) < 2 or len(task.labels("train").unique()) < 2:
        return False
    if isinstance(task, TextClassification):
        return True
    batch = next(task.batches("valid"))
    return batch.inputs.ndim == 2 and not batch.inputs.is_floating_point()


def fit(task: Classify) -> Result | None:
    """Train it, choose it, and test it; None where the training texts hold no piece that could be counted.

    Args:
        task: Loaded; one that :func:`serves`.
    """
    from sklearn.exceptions import ConvergenceWarning

    started = time.perf_counter()
    texts, labels, characters = read(task)
    weights_C = task.weights()
    best: tuple[tuple[float, float], str, float, Any, Any, dict[str, float]] | None = None
    notes: set[str] = set()
    for features, vectorizer in pieces(texts["train"], len(task.classes), characters):
        try:
            x_ND = vectorizer.fit_transform(texts["train"])
        except ValueError:  # as scikit-learn says that there is no piece at all
            continue
        valid_ND = vectorizer.transform(texts["valid"])
        model: Any = None
        for strength in STRENGTHS:
            model = regression(model, strength, weights_C)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.fit(x_ND, labels["train"].numpy())
            if any(issubclass(one.category, ConvergenceWarning) for one in caught):
                notes.add(f"the regression was stopped after {MOST_ITERATIONS} iterations")
            nats_NC = surprise(model, valid_ND, len(task.classes), len(texts["train"]))
            scores = judged(task, nats_NC, labels["valid"])
            rank = (scores[task.primary] * (1 if task.primary_metric.higher_is_better else -1), -scores["loss"])
            if best is None or rank > best[0]:
                best = rank, features, strength, copy.deepcopy(model), vectorizer, scores
    if best is None:
        return None
    _, features, strength, model, vectorizer, valid = best
    nats_NC = surprise(model, vectorizer.transform(texts["test"]), len(task.classes), len(texts["train"]))
    labels_N = labels["test"]
    predicted_N = nats_NC.argmin(dim=1)
    return Result(
        features=features,
        strength=strength,
        valid=valid,
        test=judged(task, nats_NC, labels_N),
        examples={
            "correct": (predicted_N == labels_N).long().tolist(),
            "nats": nats_NC[torch.arange(len(labels_N)), labels_N].tolist(),
            "label": labels_N.tolist(),
            "prediction": predicted_N.tolist(),
        },
        num_features=len(vectorizer.vocabulary_),
        seconds=time.perf_counter() - started,
        notes=sorted(notes),
    )


def read(task: Classify) -> tuple[dict[Split, list[list[str]]], dict[Split, Tensor], bool]:
    """Tokens and labels of all rows by split, and whether the tokens are characters.

    Raises:
        UserError: The data is no longer what it was.
    """
    if isinstance(task, TextClassification):
        tables = task.data.load().tables
        tokenize = make_tokenize(task.tokenizer, lowercase=task.lowercase)
        texts: dict[Split, list[list[str]]] = {
            split: [list(tokenize(text or "")) for text in contents(tables[split], "text")] for split in SPLIT_SEEDS
        }
        return texts, {split: task.labels(split) for split in SPLIT_SEEDS}, task.tokenizer == "chars"
    texts, labels = {}, {}
    for split in SPLIT_SEEDS:  # what a generator made is known by its ids alone
        generator = torch.Generator().manual_seed(0) if split == "train" else None
        batches = list(task.batches(split, generator))
        rows = [
            list(map(str, ids[:length].tolist()))
            for batch in batches
            for ids, length in zip(batch.inputs.T, lengths_of(batch), strict=True)
        ]
        targets_N = torch.cat([batch.targets for batch in batches]).long()
        if split != "train":
            back_N = task.order(split).argsort()
            rows, targets_N = [rows[row] for row in back_N.tolist()], targets_N[back_N]
        texts[split], labels[split] = rows, targets_N
    return texts, labels, False


def lengths_of(batch: Any) -> list[int]:
    """Steps of each sequence of a batch."""
    return batch.lengths.tolist() if batch.lengths is not None else [len(batch.inputs)] * batch.inputs.shape[1]


def pieces(train: list[list[str]], num_classes: int, characters: bool) -> list[tuple[str, Any]]:
    """What may be counted: each with its name and scikit-learn's vectorizer, which takes lists of tokens."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    def grams(length: tuple[int, int], analyzer: str, **options: Any) -> Any:
        least = 2 if len(train) >= MANY_ROWS else 1
        most = MOST_PARAMETERS // max(1, num_classes - 1)
        shared = {"sublinear_tf": True, "lowercase": False, "min_df": least, "max_features": most, "dtype": np.float32}
        return TfidfVectorizer(analyzer=analyzer, ngram_range=length, **shared, **options)

    as_tokens = {"tokenizer": as_it_is, "preprocessor": as_it_is, "token_pattern": None}
    if characters:
        return [("pieces of 1 to 5 characters", grams(CHARACTER_GRAMS, "word", **as_tokens))]
    found = [("words and pairs of words", grams(WORD_GRAMS, "word", **as_tokens))]
    letters = sum(len(word) + 1 for text in train for word in text) * max(1, num_classes - 1)
    if letters <= MOST_LETTERS and not all(word.isdecimal() for text in train[:100] for word in text):
        found.append(("parts of words, 2 to 5 letters", grams(LETTER_GRAMS, "char_wb", preprocessor=" ".join)))
    return found


def as_it_is(tokens: list[str]) -> list[str]:
    """A text that is taken apart already."""
    return tokens


def regression(before: Any, strength: float, weights_C: Tensor | None) -> Any:
    """A logistic regression; one of another strength before it is where its search begins."""
    from sklearn.linear_model import LogisticRegression

    if before is not None:
        return before.set_params(C=strength)
    weights = None if weights_C is None else dict(enumerate(weights_C.tolist()))
    return LogisticRegression(C=strength, class_weight=weights, max_iter=MOST_ITERATIONS, warm_start=True)


def surprise(model: Any, x_ND: "csr_matrix", num_classes: int, num_train: int) -> Tensor:
    """(N, C) nats of every class; a class that training lacks has the share that one more row would give it."""
    seen_C = torch.zeros(num_classes, dtype=torch.bool)
    seen_C[torch.from_numpy(model.classes_.astype(np.int64))] = True
    nats_NC = torch.full((x_ND.shape[0], num_classes), float(np.log(num_train + num_classes)), dtype=torch.float64)
    left = 1 - int((~seen_C).sum()) / (num_train + num_classes)
    logits = torch.from_numpy(np.asarray(model.decision_function(x_ND), dtype=np.float64))
    logits_NC = torch.stack([torch.zeros_like(logits), logits], dim=1) if logits.ndim == 1 else logits
    nats_NC[:, seen_C] = -F.log_softmax(logits_NC, dim=1) - float(np.log(left))
    return nats_NC


def judged(task: Classify, nats_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
    """The task's metrics."""
    loss = float(nats_NC[torch.arange(len(labels_N)), labels_N].mean())
    return task.judge(nats_NC.argmin(dim=1), labels_N) | {"loss": loss}
