"""Translation of rows: pairs as sequences, vocabularies, scores against the raw references, and the command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, Command
from omegaconf import OmegaConf
from sacrebleu.metrics import BLEU, CHRF
from seq2seq_models import make_model, sure
from torch import Tensor, nn

from gru_bench.backends.vendor import Vendor
from gru_bench.cells.gru import GRU
from gru_bench.data.parallel import padding_share
from gru_bench.data.rows import Rows
from gru_bench.data.vocabulary import BOS, EOS, PAD, UNK
from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.metrics import bleu_from_statistics
from gru_bench.store import read as results
from gru_bench.tasks.base import Goal
from gru_bench.tasks.objectives.translate import greedy_ids
from gru_bench.tasks.text.translation import Translation, bleu_of, by_source_length

pytestmark = pytest.mark.usefixtures("own_caches", "unknown_words_allowed")

OPTIONS: dict[str, Any] = {
    "vocabulary": "words",
    "lowercase": True,
    "max_length": None,
    "max_vocab_size": None,
    "min_count": 1,
    "batch_size": 8,
    "goal": Goal(margin=0.5, beats_trivial_by=5.0, ceiling=60.0),
}
ANIMALS = {"dog": "Hund", "cat": "Kater", "bird": "Vogel", "fish": "Fisch", "horse": "Hengst"}
COLORS = {"red": "rote", "big": "große", "old": "alte"}


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    made = []
    for i in range(start, start + count):
        english, german = list(ANIMALS.items())[i % 5]
        color, farbe = list(COLORS.items())[i // 5 % 3]
        colors, farben = [color] * (i % 2), [farbe] * (i % 2)
        made.append(
            {"en": " ".join(["The", *colors, english, f"n{i}", "runs."]),
             "de": " ".join(["Der", *farben, german, f"n{i}", "läuft."])}
        )  # fmt: skip
    return made


SPLITS = {"train": rows(60), "valid": rows(11, 60), "test": rows(13, 71)}


def make(made: Any = None, columns: dict[str, Any] | None = None, **options: Any) -> Translation:
    data = Rows(SPLITS if made is None else made, **({"source": "en", "target": "de"} | (columns or {})))
    task = Translation(data, **(OPTIONS | options))
    task.load()
    return task


def texts(task: Translation, split: str) -> list[tuple[str, str]]:
    return [
        (
            task.source_codec.text(task.sources[split][row].tolist()),
            task.target_codec.text(task.targets[split][row].tolist()),
        )
        for row in range(len(task.sources[split]))
    ]


class Book(nn.Module):
    """Translates each source as its target, or as the given text, whatever comes before."""

    def __init__(self, task: Translation, split: str, answers: list[str] | None = None) -> None:
        super().__init__()
        self.size = task.sizes()["target_vocab_size"]
        self.output = sure(self.size)
        vocabulary = task.target_codec.vocabulary
        self.eos = vocabulary.index[EOS]
        self.book = {}
        for row in range(len(task.sources[split])):
            answer = task.targets[split][row].tolist()
            if answers is not None:
                answer = [*vocabulary.encode(answers[row].split()).tolist(), self.eos]
            self.book[tuple(task.sources[split][row].tolist())] = torch.tensor(answer)

    def _answers(self, source_TB: Tensor, lengths: Tensor) -> list[Tensor]:
        return [self.book[tuple(row[:n])] for row, n in zip(source_TB.T.tolist(), lengths.tolist(), strict=True)]

    def greedy(self, source_TB: Tensor, lengths: Tensor, /, **_: int) -> Tensor:
        return nn.utils.rnn.pad_sequence(self._answers(source_TB, lengths), padding_value=self.eos)

    def features(self, source_TB: Tensor, lengths: Tensor, target_SB: Tensor) -> Tensor:
        answers = nn.utils.rnn.pad_sequence([*self._answers(source_TB, lengths), torch.zeros(len(target_SB)).long()])
        return nn.functional.one_hot(answers[: len(target_SB), :-1], self.size).float()


# the data


def test_every_pair_comes_once_in_lower_case() -> None:
    task = make()
    assert texts(task, "train")[5] == ("the big dog n5 runs .", f"der große hund n5 läuft . {EOS}")
    assert texts(task, "test")[0] == (f"the old cat {UNK} runs .", f"der alte kater {UNK} läuft . {EOS}")
    for codec in (task.source_codec, task.target_codec):
        assert codec.vocabulary.tokens[:4] == [PAD, UNK, BOS, EOS]
    pad = task.source_codec.vocabulary.index[PAD]
    for split, generator in (("train", torch.Generator().manual_seed(0)), ("test", None)):
        seen = []
        for batch in task.batches(split, generator):  # type: ignore[arg-type]
            assert batch.lengths is not None
            assert batch.num_tokens == int(batch.lengths.sum() + (batch.targets != IGNORED).sum())
            for source, n, target in zip(batch.inputs.T, batch.lengths, batch.targets.T, strict=True):
                assert (source[n:] == pad).all()
                words = target[target != IGNORED].tolist()
                assert words[-1] == task.target_codec.vocabulary.index[EOS]
                seen.append((task.source_codec.text(source[:n].tolist()), task.target_codec.text(words)))
        assert sorted(seen) == sorted(texts(task, split))


def test_training_order_depends_on_the_seed_and_evaluation_has_one() -> None:
    task = make()

    def ids(split: Any, seed: int | None) -> list[int]:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return [int(i) for batch in task.batches(split, generator) for i in batch.inputs.flatten()]

    assert ids("train", 1) == ids("train", 1) != ids("train", 2)
    assert ids("test", None) == ids("test", None)


def test_batches_are_of_similar_length_on_both_sides(shared_data: Path) -> None:
    task = make_real(shared_data, rows=1000)
    groups = task._shuffled(torch.Generator().manual_seed(0))
    assert float(task.facts["padding_share"]) < 0.25
    drawn = torch.randperm(1000, generator=torch.Generator().manual_seed(0)).split(64)
    assert padding_share((task.sources["train"], task.targets["train"]), groups) < 0.6 * padding_share(
        (task.sources["train"], task.targets["train"]), drawn
    )


def test_what_is_empty_missing_or_long_is_counted() -> None:
    train = [
        *rows(40),
        {"en": "", "de": "Nichts."},
        {"en": "Nothing.", "de": "   "},
        {"en": None, "de": "Nichts."},
        {"en": "Nothing.", "de": None},
        {"en": "word " * 9, "de": "Wort"},
        {"en": "word", "de": "Wort " * 9},
    ]
    test = [{"en": "", "de": ""}, {"en": "word " * 30, "de": "Der Hund."}, {"en": None, "de": "x"}]
    task = make({"train": train, "valid": rows(5), "test": test}, max_length=8)
    expected = {
        "train_rows": 40,
        "train_incomplete": 4,
        "train_too_long": 2,
        "test_rows": 1,
        "test_incomplete": 2,
        "valid_also_in_train": 5,
    }
    assert {name: task.facts[name] for name in expected} == expected
    assert task.sources["test"].lengths.tolist() == [30]  # read whole
    assert task.most_words == 7 + 5  # <eos> is one of them
    assert "4 of 46 train rows lack a side and are not used" in task.notes
    assert "2 of 42 train rows have a side of more than 8 words and are not used" in task.notes
    with torch.no_grad():
        scores = task.score(Book(task, "test"), "test")
    assert scores.samples["hypothesis"] == ["der hund ."]
    assert {part.slice_value for part in scores.slices} == {"21-30"}


def test_a_split_whose_targets_are_hidden_is_refused() -> None:
    hidden = [row | {"de": None} for row in rows(9, 300)]
    with pytest.raises(UserError, match=r"no row of the test split has both sides; valid: data\.test_split=train"):
        make({"train": rows(100), "test": hidden})
    assert make({"train": rows(100), "test": hidden}, {"test_split": "train"}).facts["test_rows"] == 10


def test_words_that_spell_a_special_entry_are_unknown() -> None:
    train = [*rows(40), {"en": f"a {EOS} b", "de": f"{PAD} c {EOS} d {BOS}"}]
    splits = {"train": train, "valid": rows(5), "test": rows(5)}
    task = make(splits, vocabulary="whitespace")
    assert texts(task, "train")[-1] == (f"a {UNK} b", f"{UNK} c {UNK} d {UNK} {EOS}")
    pieces = make(splits, vocabulary="bpe", max_vocab_size=300)
    ids = pieces.targets["train"][40].tolist()
    assert min(ids[:-1]) >= 4
    assert ids[-1] == 3


@pytest.mark.parametrize("vocabulary", ["words", "whitespace", "bpe"])
def test_vocabularies_are_those_of_all_training_rows_at_every_fraction(vocabulary: str) -> None:
    size = 400 if vocabulary == "bpe" else None
    options = {"vocabulary": vocabulary, "max_vocab_size": size}
    first = make(**options)
    other = make(SPLITS | {"test": rows(9, 200)}, **options)
    assert first.source_codec.vocabulary.tokens == other.source_codec.vocabulary.tokens
    part = make(SPLITS, {"fraction": 0.3}, **options)
    assert part.facts["train_rows"] < first.facts["train_rows"]
    for codec in ("source_codec", "target_codec"):
        assert getattr(part, codec).vocabulary.tokens == getattr(first, codec).vocabulary.tokens
    assert set(texts(part, "train")) < set(texts(first, "train"))
    assert part.facts["test_rows"] == first.facts["test_rows"]


def test_limits_of_the_vocabulary() -> None:
    task = make(max_vocab_size=7, min_count=2)
    assert task.sizes() == {"source_vocab_size": 7, "target_vocab_size": 7}
    assert task.source_codec.vocabulary.tokens[4:] == [".", "runs", "the"]
    assert "n5" not in make(min_count=2).source_codec.vocabulary.index


def test_case_can_be_kept() -> None:
    task = make(lowercase=False)
    assert texts(task, "train")[5][1] == f"Der große Hund n5 läuft . {EOS}"
    assert "|case:mixed|" in next(note for note in task.notes if note.startswith("BLEU"))
    assert "|case:lc|" in next(note for note in make().notes if note.startswith("BLEU"))


@pytest.mark.parametrize("vocabulary", ["words", "bpe"])
def test_the_second_load_is_the_same_without_reading_the_rows(vocabulary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"vocabulary": vocabulary, "max_vocab_size": 300}
    first = make(**options)
    monkeypatch.setattr(Rows, "load", None)
    second = make(**options)
    assert second.fingerprint() == first.fingerprint()
    assert (second.notes, second.facts, second.sizes()) == (first.notes, first.facts, first.sizes())
    assert (second.trivial(), second.most_words) == (first.trivial(), first.most_words)
    assert texts(second, "test") == texts(first, "test")
    for change in ({"lowercase": False}, {"max_length": 5}, {"min_count": 2}, {"max_vocab_size": 301}):
        with pytest.raises(TypeError):
            make(**(options | change))


def test_the_fingerprint_follows_the_rows_and_the_references() -> None:
    first = make().fingerprint()
    assert make().fingerprint() == first
    assert make(SPLITS | {"test": rows(13, 72)}).fingerprint() != first
    shouted = [row | {"de": row["de"].upper()} for row in SPLITS["test"]]
    assert make(SPLITS | {"test": shouted}).fingerprint() != first  # the same ids, but other references


# scores


def test_scores_are_against_the_raw_references_and_in_the_order_of_the_rows() -> None:
    task = make()
    references = [row["de"] for row in SPLITS["test"]]
    hypotheses = [text.lower().replace(".", " .") for text in references]
    hypotheses[3] = "der hund"
    hypotheses[7] = "vogel der"
    with torch.no_grad():
        scores = task.score(Book(task, "test", hypotheses), "test")
    hypotheses = scores.samples["hypothesis"]
    assert hypotheses[3] == "der hund"
    assert hypotheses[0] == f"der alte kater {UNK} läuft ."
    assert scores.samples["reference"] == references
    bleu, chrf = BLEU(tokenize="13a", lowercase=True), CHRF(lowercase=True)
    assert scores.metrics["bleu"] == bleu.corpus_score(hypotheses, [references]).score
    assert scores.metrics["chrf"] == chrf.corpus_score(hypotheses, [references]).score
    assert f"BLEU: {bleu.get_signature()}" in task.notes
    assert f"chrF2: {chrf.get_signature()}" in task.notes
    statistics = {k: v for k, v in scores.examples.items() if k.startswith(("sys", "ref", "count", "total"))}
    assert bleu_from_statistics(statistics) == pytest.approx(scores.metrics["bleu"])
    assert scores.examples["chrf"][3] == chrf.sentence_score(hypotheses[3], [references[3]]).score
    assert all(len(column) == 13 for column in scores.examples.values())
    assert scores.examples["source_words"] == [5 + i % 2 for i in range(71, 84)]
    assert scores.examples["tokens"] == [6 + i % 2 for i in range(71, 84)]
    assert sum(scores.examples["nats"]) / sum(scores.examples["tokens"]) == pytest.approx(scores.metrics["loss"])
    wrong = [row for row, nats in enumerate(scores.examples["nats"]) if nats > 1]
    assert wrong == [3, 7]
    assert set(scores.metrics) == {metric.name for metric in task.metrics} == set(task.trivial())


def test_a_perfect_model_scores_what_its_vocabulary_allows() -> None:
    for options, least in (({"vocabulary": "bpe", "max_vocab_size": 300}, 100.0), ({}, 0.0)):
        task = make(**options)
        with torch.no_grad():
            metrics = task.score(Book(task, "test"), "test").metrics
        assert metrics["bleu"] == pytest.approx(task.facts["bleu_of_references"], abs=0.01)
        assert metrics["bleu"] >= least - 1e-9
        assert metrics["token_accuracy"] == 1
        assert (metrics["perplexity"], metrics["loss"]) == pytest.approx((1, 0), abs=1e-6)
    assert metrics["bleu"] < 60  # of six words one is unknown


def test_slices_are_corpora_of_their_own() -> None:
    def statistics(right: list[int]) -> dict[str, list[int]]:
        return {
            "sys_len": [8] * len(right),
            "ref_len": [8] * len(right),
            **{f"count_{n}": [r * (9 - n) for r in right] for n in range(1, 5)},
            **{f"total_{n}": [9 - n] * len(right) for n in range(1, 5)},
        }

    parts = by_source_length(np.array([0, 9, 10, 31, 500]))
    assert [(part.slice, part.value) for part in parts] == [
        ("source_length", "1-9"),
        ("source_length", "10-12"),
        ("source_length", "31+"),
    ]
    scores = [bleu_of(statistics([1, 0, 1, 1, 0]), part) for part in parts]
    assert scores[1] == pytest.approx(100)
    assert scores[0] == scores[2] == pytest.approx(bleu_from_statistics(statistics([1, 0])))


def test_the_trivial_guess_is_one_training_target() -> None:
    train = [{"en": f"w{i}", "de": f"Das {i} ist ein Haus ."} for i in range(50)]
    task = make({"train": train, "valid": train[:3], "test": [{"en": "a", "de": "Das 7 ist ein Haus ."}] * 4})
    trivial = task.trivial()
    guesses = [
        BLEU(lowercase=True).corpus_score([row["de"]] * 4, [["Das 7 ist ein Haus ."] * 4]).score for row in train
    ]
    assert any(trivial["bleu"] == pytest.approx(guess) for guess in guesses)
    assert trivial["bleu"] > 10
    assert trivial["token_accuracy"] == pytest.approx(1 / 7)
    ids = task.targets["train"].values
    share = [
        (float((ids == i).sum()) + 1) / (len(ids) + task.sizes()["target_vocab_size"]) for i in task.targets["test"][0]
    ]
    assert trivial["loss"] == pytest.approx(-torch.tensor(share, dtype=torch.float64).log().mean().item())
    assert trivial["perplexity"] == pytest.approx(2.718281828459045 ** trivial["loss"])


def test_an_untrained_model_stops_at_the_longest_translation() -> None:
    task = make()
    model = make_model(sizes=task.sizes(), attention="bahdanau", dtype=torch.float32).eval()
    with torch.no_grad():
        model.output.bias.fill_(0)
        model.output.bias[7] = 100.0  # never <eos>
        scores = task.score(model, "valid")
    assert all(len(text.split()) == task.most_words for text in scores.samples["hypothesis"])


# the real set


def make_real(shared_data: Path, *, rows: int, **options: Any) -> Translation:
    import pyarrow.parquet as pq

    made = {
        split: pq.read_table(shared_data / "multi30k" / f"{split}.parquet").slice(0, n).to_pylist()
        for split, n in (("train", rows), ("validation", 50), ("test", 50))
    }
    return make(made, **({"batch_size": 64, "min_count": 2} | options))


@pytest.mark.parametrize(("attention", "vocabulary"), [("luong", "words"), ("bahdanau", "bpe")])
def test_a_few_real_pairs_can_be_learned(shared_data: Path, attention: Any, vocabulary: str) -> None:
    task = make_real(shared_data, rows=24, batch_size=24, min_count=1, vocabulary=vocabulary, max_vocab_size=600)
    model = make_model(GRU, Vendor(), sizes=task.sizes(), attention=attention, bidirectional=True, hidden_size=48,
                       dtype=torch.float32)  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        for batch in task.batches("train", generator):
            loss, _, _ = task.loss(model, batch, None)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    batch = next(task.batches("train", generator))
    predicted = greedy_ids(model, batch.inputs, batch.lengths, task.target_codec.vocabulary, task.most_words)
    targets = [[i for i in row if i != IGNORED][:-1] for row in batch.targets.T.tolist()]
    assert sum(s == t for s, t in zip(predicted, targets, strict=True)) > 20


def test_prepared_data_takes_little_room(shared_data: Path) -> None:
    task = make_real(shared_data, rows=29_000)
    ids = sum(side[split].values.nbytes for side in (task.sources, task.targets) for split in side)
    assert task.prepared.num_bytes < 1.3 * ids
    facts_size = len(json.dumps(task.prepared.facts))
    assert facts_size < 0.4 * ids
    assert task.facts["train_rows"] == 29_000


def test_a_second_start_does_not_import_datasets(tmp_path: Path) -> None:
    pd.DataFrame(rows(60)).to_csv(tmp_path / "pairs.csv", index=False)
    code = (
        "import sys\n"
        "from gru_bench.data.rows import Rows\n"
        "from gru_bench.tasks.base import Goal\n"
        "from gru_bench.tasks.text.translation import Translation\n"
        f"data = Rows(path={str(tmp_path / 'pairs.csv')!r}, source='en', target='de')\n"
        f"Translation(data, **{OPTIONS | {'min_count': 2}!r}).load()\n"
        "print('datasets' in sys.modules, 'tokenizers' in sys.modules)"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert outputs == ["True False\n", "False False\n"]


# the command

QUICK = ["hidden_size=8", "model.embedding_size=8", "threads=1", "trainer.max_epochs=2", "trainer.learning_rate=0.02"]


@pytest.fixture
def gru_bench(gru_bench: Command) -> Command:
    """This task, small."""
    return lambda *arguments: gru_bench("train", "task=translation", *QUICK, *arguments)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["task.vocabulary=bpe", "task.max_vocab_size=300", "model.attention=bahdanau", "cell=lstm"],
        ["model.attention=none", "model.bidirectional=false", "cell=rnn", "num_layers=2"],
    ],
)
def test_own_data(gru_bench: Command, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame([*rows(150), {"en": "nobody knows", "de": None}]).to_csv("pairs.csv", index=False)
    assert gru_bench("data.path=pairs.csv", "data.source=en", "data.target=de", *options) == 0
    output = capsys.readouterr()
    assert "test bleu " in output.out
    assert "carved from train by a fixed hash" in output.err
    assert "1 of 151 train rows lack a side and are not used" in output.err
    found = results.read("sqlite:///mlflow.db", experiment="adhoc")
    (run,) = found.runs.to_dict("records")
    assert run["status"] == "finished"
    assert run["primary_metric"] == "bleu"
    values = found.values[found.values["split"] == "test"]
    assert {"bleu", "chrf", "token_accuracy", "perplexity", "loss", "trivial_chrf"} <= set(values["metric"])
    assert "source_length" in set(values["slice"])
    facts = OmegaConf.load(next(Path("mlartifacts").rglob("data.yaml"))).facts
    assert facts.train_incomplete == 1
    samples = pd.read_parquet(next(Path("mlartifacts").rglob("test_samples.parquet")))
    assert list(samples.columns) == ["source", "reference", "hypothesis"]
    assert samples["reference"].str.startswith("Der ").all()


COLUMNS = ["data.source=en", "data.target=de"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "data.path: name a folder, a file, or a data set on the hub"),
        (["data.path=./nothing"], "data.path=./nothing: no such folder or file"),
        (
            ["data.path=pairs.csv"],
            "data.source=source: no such column in the train split of pairs.csv; there are en, de",
        ),
        (["data.path=pairs.csv", "data.source=en", "data.target=null"], "data.target: which column of data.path"),
        (
            ["data.path=pairs.csv", "data.source=en", "data.target=n"],
            "data.target=n: it must hold text, and that column",
        ),
        (["data.path=three.tsv", *COLUMNS], "data.path=three.tsv, line 2: 3 fields under a header of 2; valid: a name"),
        (["data.path=latin.csv", *COLUMNS], "latin.csv: not UTF-8: byte 0xfc"),
        (
            ["data.path=void.csv", *COLUMNS],
            "the train split has 0 rows that can be used (30 of 30 train rows lack a side and are not used); valid:",
        ),
        (["data.path=pairs.csv", *COLUMNS, "task.max_length=2"], "task.max_length=2: each of the 24 training rows has"),
        (["data.path=pairs.csv", *COLUMNS, "task.max_length=0"], "task.max_length=0: must be greater than 0"),
        (
            ["data.path=pairs.csv", *COLUMNS, "task.vocabulary=bpe", "task.max_vocab_size=null"],
            "task.max_vocab_size=null: task.vocabulary=bpe needs 260 or more, such as 8000",
        ),
        (
            ["data.path=pairs.csv", *COLUMNS, "task.vocabulary=bpe", "task.max_vocab_size=259"],
            "task.max_vocab_size=259: task.vocabulary=bpe needs 260 or more, such as 8000",
        ),
        (["data.path=pairs.csv", *COLUMNS, "task.vocabulary=chars"], "must be 'words', 'whitespace' or 'bpe'"),
        (["data.path=pairs.csv", *COLUMNS, "model.attention=dot"], "must be 'none', 'luong' or 'bahdanau'"),
    ],
)
def test_bad_input_is_one_line(
    gru_bench: Command, changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame([row | {"n": 1} for row in rows(30)]).to_csv("pairs.csv", index=False)
    pd.DataFrame([row | {"de": None} for row in rows(30)]).to_csv("void.csv", index=False)
    Path("three.tsv").write_text("en\tde\ngreen\tgrün\tby nobody\n", encoding="utf-8")
    Path("latin.csv").write_bytes(b"en,de\ngreen,gr\xfcn\n")
    assert gru_bench(*changes) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert len(stderr.splitlines()) == 1


@pytest.mark.parametrize("nested", [False, True])
def test_the_french_set_runs_on_a_folder_in_its_columns(gru_bench: Command, nested: bool) -> None:
    Path("small").mkdir()
    for split, count, start in (("train", 90, 0), ("validation", 10, 90), ("test", 20, 100)):
        made = [{"en": row["en"], "fr": row["de"]} for row in rows(count, start)]
        made = [{"translation": row} for row in made] if nested else made
        pd.DataFrame(made).to_json(f"small/{split}.jsonl", orient="records", lines=True)
    columns = ["data.source=translation.en", "data.target=translation.fr"] if nested else []
    assert gru_bench("task=multi30k_fr", "data.path=small", *columns) == 0


def test_the_german_set_is_read_as_its_yaml_describes(gru_bench: Command, shared_data: Path) -> None:
    import pyarrow.parquet as pq

    Path("small").mkdir()
    for split, count in (("train", 200), ("validation", 20), ("test", 20)):
        table = pq.read_table(shared_data / "multi30k" / f"{split}.parquet").slice(0, count)
        pq.write_table(table, f"small/{split}.parquet")
    assert gru_bench("task=multi30k_de", "data.path=small") == 0


def test_bpe_needs_a_size() -> None:
    with pytest.raises(UserError, match=r"task\.max_vocab_size=null"):
        make(vocabulary="bpe")
