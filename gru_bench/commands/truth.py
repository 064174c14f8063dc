"""What predictions score where the new data also says what is right."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gru_bench.data.labels import list_some, plain
from gru_bench.errors import UserError
from gru_bench.metrics import accuracy, corpus_bleu, corpus_chrf, macro_f1
from gru_bench.tasks.reader import Reader
from gru_bench.tasks.reading.sequence_tagging import TagReader
from gru_bench.tasks.reading.text_classification import ClassReader
from gru_bench.tasks.reading.translation import TranslationReader

ROLES = {ClassReader.kind: "label", TagReader.kind: "tags", TranslationReader.kind: "target"}
"""The column that says what is right, by the reader's kind."""


class Truth:
    """Collects what is right and what was predicted, and scores it.

    Args:
        classes: Names of the classes, or tags, that the model knows.
        role: ``label`` or ``tags``.
        column: Of the new data.
    """

    def __init__(self, classes: Sequence[str], role: str, column: str) -> None:
        self.role, self.column = role, column
        self.classes = list(classes)
        self.ids = {name: i for i, name in enumerate(classes)}
        self.predicted, self.actual = array("l"), array("l")
        self.foreign: Counter[str] = Counter()
        self.missing = self.uneven = 0
        self.numbers: bool | None = None

    def add(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> None:
        """Take in some rows with their answers."""
        for row, answer in zip(rows, answers, strict=True):
            given = row.get(self.column)
            if self.role == "label":
                self._add(given, answer["prediction"])
            elif given is None:
                self.missing += 1
            else:
                tags = given.split() if isinstance(given, str) else list(given)
                if len(tags) != len(answer["prediction"]) + answer["cut"]:
                    self.uneven += 1
                    continue
                for tag, guess in zip(tags, answer["prediction"], strict=False):  # what was cut off has none
                    self._add(tag, guess)

    def _add(self, given: Any, guess: str) -> None:
        label = as_label(given)
        if label is None or (label == -1 and "-1" not in self.ids):  # -1 is how the hub says that there is none
            self.missing += 1
            return
        found = self.ids.get(str(label), self._by_number(label))
        if found is None:
            self.foreign[str(label)] += 1
        # a class of its own, which no prediction can be
        self.actual.append(len(self.classes) if found is None else found)
        self.predicted.append(self.ids[guess])

    def _by_number(self, label: Any) -> int | None:
        """The class of that number, where no class is named by one; the first label decides for all."""
        if self.numbers is None:
            self.numbers = isinstance(label, int) and not any(name.lstrip("-").isdigit() for name in self.classes)
        return label if self.numbers and isinstance(label, int) and 0 <= label < len(self.classes) else None

    def lines(self) -> list[str]:
        """What is to be said at the end, a line each."""
        what = f"data.{self.role}={self.column}"
        noun = "labels" if self.role == "label" else "tags"
        said: list[str] = []
        if self.uneven:
            said.append(f"{what}: {self.uneven:,} rows with another number of tags than words, not scored")
        if self.missing:
            lack = "rows without a label" if self.role == "label" else "rows or words without a tag"
            said.append(f"{what}: {self.missing:,} {lack}, not scored")
        number, foreign = len(self.actual), sum(self.foreign.values())
        if foreign:
            known = list_some(self.classes)
            others = list_some([name for name, _ in self.foreign.most_common()])
            rest = "nothing is scored" if foreign == number else "they count as wrong"
            which = "none of its" if foreign == number else f"{foreign:,} of {number:,}"
            are = "is" if foreign == number else "are not"
            said.append(f"{what}: {which} {noun} {are} among those that the model was trained on, so {rest}: it has "
                        f"{others}, and the model {known}")  # fmt: skip
        if number > foreign:
            if self.numbers:
                said.append(f"{what}: its numbers are taken for those of the classes {list_some(self.classes)}")
            actual, predicted = self.actual.tolist(), self.predicted.tolist()
            f1 = macro_f1(predicted, actual, len(self.classes) + bool(foreign))
            unit = "rows" if self.role == "label" else "words"
            said.append(f"accuracy {accuracy(predicted, actual):.4f}, macro F1 {f1:.4f} ({number:,} {unit})")
        elif not number and not said:
            said.append(f"{what}: nothing in it, so nothing is scored")
        return said


class References:
    """Collects translations and what they should be, and scores them; all are in memory until then.

    Args:
        column: Of the new data.
        lowercase: Whether case does not count, as in the task's own score.
    """

    def __init__(self, column: str, *, lowercase: bool) -> None:
        self.column, self.lowercase = column, lowercase
        self.texts: list[str] = []
        self.references: list[str] = []

    def add(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> None:
        """Take in some rows with their answers; those without a reference are left out."""
        for row, answer in zip(rows, answers, strict=True):
            reference = row.get(self.column)
            if isinstance(reference, str) and reference.strip():
                self.texts.append(answer["translation"])
                self.references.append(reference.strip())

    def lines(self) -> list[str]:
        """What is to be said at the end."""
        if not self.texts:
            return [f"data.target={self.column}: nothing in it, so nothing is scored"]
        bleu = corpus_bleu(self.texts, self.references, tokenize="13a", lowercase=self.lowercase)
        chrf = corpus_chrf(self.texts, self.references, lowercase=self.lowercase)
        return [f"BLEU {bleu.score:.2f}, chrF2 {chrf.score:.2f} ({len(self.texts):,} rows)"]


def truth_of(
    reader: Reader, names: Sequence[str], asked: Mapping[str, str | None], usual: Mapping[str, Any], where: str
) -> "Truth | References | None":
    """What is to be scored; None where the new data does not say what is right.

    Args:
        reader: Of the model.
        names: Columns of the new data.
        asked: Columns that the user names, by role.
        usual: Those of the training data.
        where: What a message calls the new data.

    Raises:
        UserError: The column that was asked for is not there.
    """
    role = ROLES.get(reader.kind, "")
    column = asked.get(role) or usual.get(role)
    if column is None or column not in names:
        if asked.get(role) is not None:
            raise UserError(f"data.{role}={column}: no such column in data.path={where}; there are {', '.join(names)}")
        return None
    if isinstance(reader, TranslationReader):
        return References(column, lowercase=reader.lowercase)
    assert isinstance(reader, ClassReader | TagReader)
    return Truth(reader.classes, role, column)


def as_label(value: Any) -> Any:
    """A label as it is compared; a number that a table of texts holds is a number."""
    label = plain(value)
    if isinstance(label, str):
        try:
            number = float(label)
        except ValueError:
            return label
        # 007 is a name, and so is 1e3
        return plain(number) if label in (str(number), str(plain(number))) else label
    return label
