"""Readers: what they make of new texts is what their task makes of its test rows, for every task that has one."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import CONF, yaml_names
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tasks import loaded
from torch import nn

from gru_bench.backends.vendor import Vendor
from gru_bench.data.parallel import SIDES, Limits, learn_side
from gru_bench.data.vocabulary import BOS, EOS, PAD, UNK
from gru_bench.errors import UserError
from gru_bench.run.build import ModelBuilder, Place, make_cell
from gru_bench.tasks.base import Task
from gru_bench.tasks.generated.agreement_grammar import WORDS, AgreementGrammar
from gru_bench.tasks.generated.number_translation import NumberTranslation
from gru_bench.tasks.generated.sentiment import Sentiment
from gru_bench.tasks.objectives import model_language
from gru_bench.tasks.reader import Reader
from gru_bench.tasks.reading import READERS, read_reader
from gru_bench.tasks.reading.base import RowError
from gru_bench.tasks.reading.language_modeling import LanguageReader
from gru_bench.tasks.reading.sequence_tagging import TagReader
from gru_bench.tasks.reading.text_classification import ClassReader
from gru_bench.tasks.reading.translation import TranslationReader
from gru_bench.tasks.reading.verb_number import VerbNumberReader
from gru_bench.tasks.text.language_modeling import LanguageModeling
from gru_bench.tasks.text.sequence_tagging import SequenceTagging
from gru_bench.tasks.text.text_classification import TextClassification
from gru_bench.tasks.text.translation import Translation

pytestmark = pytest.mark.usefixtures("own_caches")

WITHOUT = {
    "adding", "anbn", "anbncn", "associative_recall", "copy_memory", "cycle_navigation", "delayed_recall", "dyck1",
    "dyck2", "even_pairs", "event_order", "modular_arithmetic", "noisy_recall", "parity", "selective_copy",
    "word_problem",
}  # fmt: skip
"""Tasks of numbers or of symbols that mean nothing outside of them."""


def model_of(task: Task, node: Any) -> nn.Module:
    """A model whose answers differ from row to row: larger values than fresh ones have."""
    builder = ModelBuilder(node, task.sizes(), Place(torch.device("cpu"), torch.float32))
    model = builder.build(make_cell(node), Vendor(), 8, seed=0).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(4 if "bias" not in name else 1)
    return model


def raw_rows(task: Task, folder: Path) -> list[dict[str, Any]]:
    """The test rows as their owner has them, by role."""
    if isinstance(task, Sentiment):
        return [{"text": " ".join(sentence.words)} for sentence in task.sentences["test"]]
    if isinstance(task, NumberTranslation):
        return [{"source": " ".join(pair.source)} for pair in task.pairs["test"]]
    if isinstance(task, AgreementGrammar):
        columns = (column for batch in task.examples.whole["test"] for column in batch.inputs.T.tolist())
        return [{"text": " ".join(WORDS[i] for i in ids)} for ids in columns]
    frame = pd.read_parquet(folder / "test.parquet").to_dict("records")
    columns_by_role = task.data.columns
    return [{role: value_at(row, column) for role, column in columns_by_role.items()} for row in frame]


def value_at(row: Any, column: str) -> Any:
    value: Any = row
    for part in column.split("."):
        value = value[part]
    return value


def listen(monkeypatch: pytest.MonkeyPatch, task: Task, method: str, place: int) -> list[Any]:
    """What a method of the task is given at that place, each time that it is called."""
    heard: list[Any] = []
    before = getattr(task, method)

    def called(*given: Any) -> Any:
        heard.append(given[place])
        return before(*given)

    monkeypatch.setattr(task, method, called)
    return heard


def answered(task: Task, model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the task's own scoring answers to each test row."""
    if isinstance(task, Translation | NumberTranslation):
        texts = listen(monkeypatch, task, "judge", place=0)
        task.score(model, "test")
        return list(texts[0])
    if isinstance(task, SequenceTagging):
        tags = listen(monkeypatch, task, "_samples", place=1)
        task.score(model, "test")
        return [[task.classes[i] for i in tags[0][row]] for row in range(len(tags[0]))]
    if isinstance(task, AgreementGrammar):
        right = np.array(task.score(model, "test").examples["correct"])
        truth = np.array([int(answer) for answer in task._answers("test")])
        return [("singular", "plural")[i] for i in np.where(right == 1, truth, 1 - truth)]
    assert isinstance(task, TextClassification | Sentiment)
    return [task.classes[i] for i in task.score(model, "test").examples["prediction"]]


@pytest.mark.parametrize("name", yaml_names("task"))
def test_tasks_of_texts_have_a_reader_and_no_others(name: str) -> None:
    target = yaml.safe_load((CONF / "task" / f"{name}.yaml").read_text()).get("task", {}).get("_target_")
    # a yaml that names no class extends one that does: those are all of data sets
    has_one = target is None or get_class(target).reader is not Task.reader
    assert has_one == (name not in WITHOUT)


QUICK = {
    "agreement", "agreement_grammar", "conll2000", "language_modeling", "language_modeling_char", "multi30k_de",
    "number_translation", "sentiment", "sst2", "text_classification", "translation",
}  # fmt: skip
"""One of each class and way to take texts apart; all the others are slow together."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in yaml_names("task")
        if name not in WITHOUT
    ],
)
@pytest.mark.usefixtures("hydra_conf")
def test_a_reader_answers_as_its_task_does(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, node = loaded(name, tmp_path, small=True)
    made = task.reader()
    assert made is not None
    reader = read_reader(json.loads(json.dumps({"kind": made.kind, **made.as_json()})))
    assert reader.sizes() == task.sizes()
    model = model_of(task, node)
    with torch.no_grad():
        if isinstance(task, LanguageModeling):
            follows_the_stream(task, reader, model, monkeypatch)
            return
        wanted = answered(task, model, monkeypatch)
        answers = reader.predict(model, raw_rows(task, tmp_path), batch_size=task.batch_size)
    key = "translation" if isinstance(reader, TranslationReader) else "prediction"
    assert [answer[key] for answer in answers] == wanted
    assert len({str(answer) for answer in wanted}) > 1, "all answers are the same: the test would see little"
    json.dumps(answers, allow_nan=False)  # plain values, as a line of JSON holds them


def follows_the_stream(
    task: LanguageModeling, reader: Reader, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole test text as one row has the nats that scoring gives it, where that reads it as one column."""
    monkeypatch.setattr(model_language, "EVAL_COLUMNS", 1)
    text = task.data.load()["test"][:3000].rpartition("\n")[0] + "\n"
    monkeypatch.setitem(task.prepared.arrays, "test", task.stream("test")[: num_tokens(reader, text) + 1])
    scores = task.score(model, "test")
    (answer,) = reader.predict(model, [{"text": text}], batch_size=4)
    assert answer["nats"] == pytest.approx(sum(scores.examples["nats"]), rel=1e-5)
    assert answer["tokens"] == sum(scores.examples["tokens"])
    assert answer[task.primary] == pytest.approx(scores.metrics[task.primary], rel=1e-5)
    assert answer["unknown"] == (task.stream("test")[1:] == task.vocabulary.unk).sum()


def num_tokens(reader: Reader, text: str) -> int:
    assert isinstance(reader, LanguageReader)
    return sum(len(reader.take_apart(line)) for line in text.splitlines(keepends=True))


TEXTS = st.lists(st.text(min_size=1, max_size=8), max_size=6, unique=True)
LENGTHS = st.none() | st.integers(1, 2**40)
CLASSES = st.lists(st.text(max_size=8), min_size=2, max_size=5, unique=True)


def with_specials(*specials: str) -> st.SearchStrategy[list[str]]:
    return TEXTS.map(lambda tokens: [*specials, *(token for token in tokens if token not in specials)])


SIDE = st.fixed_dictionaries({"tokens": with_specials(PAD, UNK, BOS, EOS)})

MADE = {
    ClassReader: st.builds(
        ClassReader, with_specials(PAD, UNK), CLASSES, st.sampled_from(["words", "whitespace", "chars"]),
        st.booleans(), LENGTHS,
    ),
    TagReader: st.builds(TagReader, with_specials(PAD, UNK), CLASSES, st.booleans(), LENGTHS),
    TranslationReader: st.builds(
        TranslationReader,
        st.fixed_dictionaries(dict.fromkeys(SIDES, SIDE)),
        st.sampled_from(["words", "whitespace"]), st.booleans(), st.integers(1, 10**6),
    ),
    LanguageReader: st.builds(
        LanguageReader, with_specials(UNK), st.sampled_from(["word", "char"]), st.sampled_from(["words", "whitespace"])
    ),
    VerbNumberReader: st.builds(VerbNumberReader, TEXTS, st.text(max_size=8)),
}  # fmt: skip


def test_each_reader_has_its_strategy() -> None:
    assert set(MADE) == set(READERS.values())


@given(st.one_of(*MADE.values()))
@settings(max_examples=60, deadline=None)
def test_json_gives_the_same_reader_again(reader: Reader) -> None:
    text = json.dumps({"kind": reader.kind, **reader.as_json()})
    again = read_reader(json.loads(text))
    assert again == reader
    assert again.sizes() == reader.sizes()


@given(st.one_of(*MADE.values()), st.data())
@settings(max_examples=30, deadline=None)
def test_a_reader_without_one_of_its_values_is_refused_in_one_line(reader: Reader, data: st.DataObject) -> None:
    known = {"kind": reader.kind, **reader.as_json()}
    key = data.draw(st.sampled_from(sorted(known)))
    for broken in ({k: v for k, v in known.items() if k != key}, {**known, key: 1.5}):
        with pytest.raises(UserError, match=rf"^reader\.json: .*{'kind' if key == 'kind' else key}") as raised:
            read_reader(broken)
        assert len(str(raised.value).splitlines()) == 1


class Favorite(nn.Module):
    """Gives each token its own id as the class: a model that needs no training."""

    def __init__(self, C: int, *, of_last: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(C) * 8)
        self.of_last = of_last

    def forward(self, ids_TB: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        logits_TBC = self.weight[ids_TB]
        return logits_TBC[lengths - 1, torch.arange(len(lengths))] if self.of_last else logits_TBC


CLASS_READER = ClassReader([PAD, UNK, "bad", "good"], ["pad", "unk", "bad", "good"], "words", True, 3)


def test_a_text_is_cut_and_counted_as_in_training() -> None:
    rows = [{"text": text} for text in ("Good", "good what good bad bad", "", None, math.nan, "so good")]
    answers = CLASS_READER.predict(Favorite(4, of_last=True), rows, batch_size=2)
    assert [answer["prediction"] for answer in answers] == ["good", "good", "unk", "unk", "unk", "good"]
    assert [answer["tokens"] for answer in answers] == [1, 3, 0, 0, 0, 2]
    assert [answer["cut"] for answer in answers] == [0, 2, 0, 0, 0, 0]
    assert [answer["unknown"] for answer in answers] == [0, 1, 0, 0, 0, 1]
    assert answers[0]["probability"] == pytest.approx(math.exp(8) / (math.exp(8) + 3))
    assert sum(answers[0][name] for name in CLASS_READER.details()) == pytest.approx(1)


def test_a_tagger_takes_lists_and_texts_and_says_what_it_cut() -> None:
    reader = TagReader([PAD, UNK, "a", "b"], ["P", "U", "A", "B"], True, 2)
    rows: list[dict[str, Any]] = [
        {"tokens": ["A", "b", "a"]}, {"tokens": "  b\tx "}, {"tokens": []}, {"tokens": None},
        {"tokens": np.array(["b"], dtype=object)}, {"tokens": ["a", None]},
    ]  # fmt: skip
    answers = reader.predict(Favorite(4, of_last=False), rows, batch_size=4)
    assert [answer["words"] for answer in answers] == [["A", "b"], ["b", "x"], [], [], ["b"], ["a", UNK]]
    assert [answer["prediction"] for answer in answers] == [["A", "B"], ["B", "U"], [], [], ["B"], ["A", "U"]]
    assert [answer["cut"] for answer in answers] == [1, 0, 0, 0, 0, 0]
    assert [answer["unknown"] for answer in answers] == [0, 1, 0, 0, 0, 1]
    assert [len(answer["probabilities"]) for answer in answers] == [2, 2, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"txt": "a", "id": 1}, "row 2: no text; there are txt, id"),
        ({}, "row 2: no text; there are no keys"),
        ({"text": 3}, "row 2: text holds a number; valid: text"),
        ({"text": ["a"]}, "row 2: text holds a list; valid: text"),
        ("a", "row 2: text; valid: a dictionary with text"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(row: Any, message: str) -> None:
    with pytest.raises(RowError) as raised:
        CLASS_READER.predict(Favorite(4, of_last=True), [{"text": "a"}, row], batch_size=2)
    assert str(raised.value) == message


def test_a_list_of_other_things_than_words_is_named() -> None:
    reader = TagReader([PAD, UNK], ["A", "B"], False, None)
    with pytest.raises(RowError, match=r"^row 1: tokens holds a list with a number in it; valid: a list of words$"):
        reader.predict(Favorite(2, of_last=False), [{"tokens": ["a", 3]}], batch_size=2)


@given(st.one_of(*MADE.values()))
@settings(max_examples=15, deadline=None)
def test_nothing_gives_nothing(reader: Reader) -> None:
    assert reader.predict(nn.Linear(1, 1), [], batch_size=4) == []


def test_a_word_outside_of_the_grammar_is_refused() -> None:
    reader = VerbNumberReader(WORDS, "<verb>")
    with pytest.raises(RowError, match=r"^row 2: zebra, sings: no words of this task's grammar; valid: the, one"):
        reader.predict(Favorite(2, of_last=False), [{"text": "the key"}, {"text": "the zebra sings"}], batch_size=2)


class Forgetful(nn.Module):
    """Says one word and ends, or never ends."""

    def __init__(self, *, ends: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.ends = ends

    def greedy(self, source_TB: torch.Tensor, _: Any, /, *, bos: int, eos: int, max_length: int) -> torch.Tensor:
        rest = [eos] if self.ends else [4] * (max_length - 1)
        return torch.tensor([4, *rest])[:, None].expand(-1, source_TB.shape[1])


@pytest.mark.parametrize("ends", [True, False])
def test_a_translation_says_whether_it_ended(ends: bool) -> None:
    side = {"tokens": [PAD, UNK, BOS, EOS, "eins"]}
    reader = TranslationReader({"source": dict(side), "target": dict(side)}, "words", True, 5)
    (answer,) = reader.predict(Forgetful(ends=ends), [{"source": "Eins zwei"}], batch_size=3)
    assert answer == {
        "translation": "eins" if ends else " ".join(["eins"] * 5),
        "tokens": 2,
        "unknown": 1,
        "unfinished": int(not ends),
    }


TOKENS = {"tokens": [PAD, UNK, BOS, EOS]}


@pytest.mark.parametrize(
    ("codecs", "kind"),
    [
        ({}, "words"),
        ({"source": {}, "target": TOKENS}, "words"),
        ({"source": {"tokens": "abc"}, "target": TOKENS}, "words"),
        ({"source": {"tokens": []}, "target": TOKENS}, "words"),
        ({"source": TOKENS, "target": TOKENS}, "bpe"),
        ({"source": {"pieces": "{"}, "target": {"pieces": "{"}}, "bpe"),
    ],
)
def test_sides_of_a_translation_that_are_broken_are_refused_in_one_line(codecs: dict[str, Any], kind: str) -> None:
    reader = read_reader(
        {"kind": "translation", "codecs": codecs, "vocabulary": kind, "lowercase": True, "most_words": 4}
    )
    with pytest.raises(UserError, match=r"^reader\.json: [^\n]*valid: the file as its run kept it$"):
        reader.sizes()


def test_pieces_of_words_are_read_as_in_training() -> None:
    texts = {"train": ["The cats sat down.", "A cat sat."] * 3, "valid": ["A mat?"], "test": ["The DOG  sat 猫", ""]}
    limits = Limits("bpe", True, None, 300, 2)
    sides = {side: learn_side(side, texts, limits) for side in ("source", "target")}
    reader = TranslationReader({side: made[0] for side, made in sides.items()}, "bpe", True, 9)
    again = read_reader(json.loads(json.dumps({"kind": reader.kind, **reader.as_json()})))
    assert isinstance(again, TranslationReader)
    wanted = sides["source"][1]["test"].sequences
    for row, text in enumerate(texts["test"]):
        ids = [again.source.vocabulary.index[piece] for piece in again._spell(text)] or [again.source.vocabulary.unk]
        assert ids == wanted[row].tolist()
    assert again.target.text(sides["target"][1]["test"].sequences[0][:-1].tolist()) == "the dog sat 猫"
