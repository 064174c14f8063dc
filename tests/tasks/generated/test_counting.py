"""Counting languages: strings by hand, both rules on models that are right or wrong in one known way, the search."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Goal, Split
from gru_bench.tasks.generated import counting
from gru_bench.tasks.generated.counting import Counting, near_miss, spell

GOAL = Goal(margin=0.02, beats_trivial_by=0.3, ceiling=0.99)


def make(letters: int = 2, most_n: int = 30, threshold: float = 0.005) -> Counting:
    return Counting(
        None, letters=letters, levels=[2, 4], beyond=[8], most_n=most_n, threshold=threshold, batch_size=16, goal=GOAL
    )


class Counter(nn.Module):
    """Knows a^n b^n ... up to a number; the odd one out is confused at its last step.

    Args:
        letters: K.
        knows: The largest n at which it ends a string.
        sure: Logit of a legal symbol; all others have 0.
    """

    def __init__(self, letters: int, knows: int, sure: float = 20.0) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        self.letters, self.knows, self.sure = letters, knows, sure

    def forward(self, tokens_TB: Tensor, lengths: Tensor | None = None) -> Tensor:
        logits_TBC = torch.zeros(*tokens_TB.shape, self.letters + 1)
        for b, tokens in enumerate(tokens_TB.T.tolist()):
            seen = [0] * self.letters
            for t, token in enumerate(tokens):
                if token < self.letters:
                    seen[token] += 1
                for symbol in self.legal(token, seen):
                    logits_TBC[t, b, symbol] = self.sure
        return logits_TBC

    def legal(self, token: int, seen: list[int]) -> list[int]:
        if token == self.letters:
            return [0]
        if token == 0:
            return [0, 1]
        done = seen[token] >= min(seen[0], self.knows)
        return [token + 1] if done else [token]


def written(symbols: list[int], letters: int) -> str:
    return "".join("." if s == IGNORED else "$" if s == letters else "abc"[s] for s in symbols)


def test_strings_by_hand() -> None:
    inputs_TN, targets_TN = spell(torch.tensor([[3, 3], [1, 2]]))
    assert [written(column, 2) for column in inputs_TN.T.tolist()] == ["$aaabbb", "$abb$$$"]
    assert [written(column, 2) for column in targets_TN.T.tolist()] == ["aaabbb$", "abb$..."]
    inputs_TN, targets_TN = spell(torch.tensor([[2, 2, 2]]))
    assert written(inputs_TN[:, 0].tolist(), 3) == "$aabbcc"
    assert written(targets_TN[:, 0].tolist(), 3) == "aabbcc$"


@given(counts=st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=4))
def test_spelling_is_that_of_a_loop(counts: list[list[int]]) -> None:
    inputs_TN, targets_TN = spell(torch.tensor(counts))
    for n, blocks in enumerate(counts):
        string = "".join(letter * count for letter, count in zip("abc", blocks, strict=True))
        assert written(targets_TN[:, n].tolist(), 3).rstrip(".") == f"{string}$"
        assert written(inputs_TN[:, n].tolist(), 3).rstrip("$") == f"${string}".rstrip("$")
    assert len(targets_TN) == max(map(sum, counts)) + 1


def test_training_draws_every_number_of_its_range_and_counts_real_steps() -> None:
    stream = make().batches("train", torch.Generator().manual_seed(0))
    seen: set[int] = set()
    for _ in range(20):
        batch = next(stream)
        numbers = [(column == 0).sum().item() for column in batch.inputs.T]
        assert batch.num_tokens == sum(2 * n + 1 for n in numbers)
        assert numbers == [(column == 1).sum().item() for column in batch.inputs.T]
        seen.update(numbers)
    assert seen == {1, 2, 3, 4}


@pytest.mark.parametrize(("split", "top"), [("valid", 4), ("test", 8)])
def test_a_step_of_validation_and_test_is_one_of_a_string(split: Split, top: int) -> None:
    batches = list(make().batches(split))
    assert torch.cat([batch.lengths for batch in batches if batch.lengths is not None]).tolist() == [
        2 * n + 1 for n in range(1, top + 1)
    ]
    for batch in batches:
        assert batch.lengths is not None
        assert torch.equal((batch.targets != IGNORED).sum(dim=0), batch.lengths)


def test_in_training_each_string_counts_the_same() -> None:
    task = make()
    short, long = (counting.batch_of(torch.tensor([[n, n]])) for n in (1, 4))
    both = counting.batch_of(torch.tensor([[1, 1], [4, 4]]))
    model = Counter(2, knows=3, sure=2.0)
    losses = [task.loss(model, batch, None)[0].item() for batch in (short, long, both)]
    assert losses[0] != pytest.approx(losses[1], rel=0.01)
    assert losses[2] == pytest.approx((losses[0] + losses[1]) / 2)


@pytest.mark.parametrize("letters", [2, 3])
def test_a_model_that_counts_to_a_number_has_it_as_its_largest(letters: int) -> None:
    scores = make(letters).score(Counter(letters, knows=6), "test")
    assert scores.metrics["n_star_exact"] == scores.metrics["n_star_threshold"] == 6
    assert scores.metrics["accepted"] == scores.metrics["accepted_threshold"] == 1
    by_part = {(score.metric, score.slice_value): (score.value, score.n) for score in scores.slices}
    assert by_part["accepted", "2"] == (1.0, 2)
    assert by_part["accepted", "8"] == (0.5, 4)  # 5 and 6 of 5 to 8
    assert scores.examples["accepted"] == [1.0] * 6 + [0.0] * 2
    valid = make(letters).score(Counter(letters, knows=6), "valid")
    assert valid.metrics["n_star_exact"] == 4
    assert {score.slice_value for score in valid.slices} == {"2", "4"}


def test_the_search_goes_on_to_its_end_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "NUMBERS_AT_ONCE", 3)
    assert make().score(Counter(2, knows=100), "test").metrics["n_star_exact"] == 30
    assert make().score(Counter(2, knows=17), "test").metrics["n_star_threshold"] == 17


def test_the_largest_number_has_all_smaller_ones_below_it() -> None:
    assert counting.largest(torch.tensor([True, True, False, True])) == 2
    assert counting.largest(torch.tensor([False, True])) == 0


def test_the_rules_differ_where_a_model_is_right_but_not_sure() -> None:
    # each illegal symbol keeps a probability near 0.01: the near misses pass, though the right symbol is far above
    scores = make().score(Counter(2, knows=100, sure=4.5), "test")
    assert (scores.metrics["n_star_exact"], scores.metrics["n_star_threshold"]) == (30, 0)

    # and where it is sure that a comes after a: b has less than the threshold, but ranks above the end
    class Sure(Counter):
        def forward(self, tokens_TB: Tensor, lengths: Tensor | None = None) -> Tensor:
            logits_TBC = super().forward(tokens_TB, lengths)
            logits_TBC[..., 1] -= 10.0 * (tokens_TB == 0)
            return logits_TBC

    scores = make().score(Sure(2, knows=100), "test")
    assert (scores.metrics["n_star_exact"], scores.metrics["n_star_threshold"]) == (30, 0)


def slow_verdict(model: nn.Module, n: int, letters: int, threshold: float) -> tuple[bool, bool]:
    """Both rules, one string and one step at a time."""

    def probabilities(string: str) -> list[list[float]]:
        ids = ["abc".index(c) if c != "$" else letters for c in "$" + string]
        rows: list[list[float]] = model(torch.tensor(ids)[:, None])[:, 0].double().softmax(dim=1).tolist()
        return rows

    def accepted(string: str) -> bool:
        following = ["abc".index(c) for c in string] + [letters]
        return all(p[s] >= threshold for p, s in zip(probabilities(string), following, strict=True))

    alphabet = "abc"[:letters]
    blocks = [n] * letters
    string = "".join(letter * n for letter in alphabet)
    exact = True
    for step, p in enumerate(probabilities(string)):
        legal = {0, 1} if 1 <= step <= n else {letters if step == len(string) else "abc".index(string[step])}
        exact &= min(p[s] for s in legal) > max(p[s] for s in range(letters + 1) if s not in legal)
    misses = []
    for block in range(1, letters):
        for by in (1, -1):
            changed = [count + by * (k == block) for k, count in enumerate(blocks)]
            misses.append("".join(letter * count for letter, count in zip(alphabet, changed, strict=True)))
    return exact, accepted(string) and not any(accepted(miss) for miss in misses)


class Arbitrary(nn.Module):
    """Answers right, disturbed by noise that depends on the last symbols."""

    def __init__(self, letters: int, seed: int, noise: float) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        self.counter = Counter(letters, knows=100, sure=6.0)
        self.noise_XC = noise * torch.randn(40, letters + 1, generator=torch.Generator().manual_seed(seed))

    def forward(self, tokens_TB: Tensor, lengths: Tensor | None = None) -> Tensor:
        weighted_TB = (tokens_TB * torch.arange(1, len(tokens_TB) + 1)[:, None]).cumsum(dim=0)
        return self.counter(tokens_TB) + self.noise_XC[weighted_TB % 40]


@settings(max_examples=30)
@given(letters=st.sampled_from([2, 3]), seed=st.integers(0, 10**6), noise=st.sampled_from([0.5, 1.0, 2.0]))
def test_both_rules_are_those_of_a_loop(letters: int, seed: int, noise: float) -> None:
    task, model = make(letters, threshold=0.02), Arbitrary(letters, seed, noise)
    judged = task.judge(model, torch.arange(1, 7))
    assert list(zip(judged.exact.tolist(), judged.threshold.tolist(), strict=True)) == [
        slow_verdict(model, n, letters, 0.02) for n in range(1, 7)
    ]


def test_where_the_exact_rule_accepts_no_near_miss_has_only_first_choices() -> None:
    model = Counter(3, knows=5)
    counts_NK = torch.tensor([[5, 5, 5]])
    for block in (1, 2):
        for by in (1, -1):
            inputs_TN, targets_TN = spell(near_miss(counts_NK, block, by))
            first_TN = model(inputs_TN).argmax(dim=2)
            after_as = targets_TN > 1
            assert (first_TN != targets_TN)[after_as | (inputs_TN == 1)].any()


def test_a_constant_answer_and_no_memory_accept_nothing() -> None:
    task = make()
    assert task.trivial()["accepted"] == task.trivial()["n_star_exact"] == 0
    # 1 to 4: 10 a's, 10 b's, 4 ends
    shares = torch.tensor([10, 10, 4]) / 24
    assert task.trivial()["loss"] == pytest.approx(-(shares * shares.log()).sum().item())

    class Memoryless(Counter):
        def legal(self, token: int, seen: list[int]) -> list[int]:
            return {2: [0], 0: [0, 1], 1: [2]}[token]

    scores = task.score(Memoryless(2, knows=1), "test")
    assert scores.metrics["n_star_exact"] == 1
    without, perfect = task.memory_scores()
    assert [score for score in scores.slices if score.metric == "accepted"] == without.slices
    assert scores.metrics["accepted"] == without.scored == 0.25
    assert perfect.scored == 1
    assert {score.value for score in perfect.slices} == {1.0}


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UserError, match=r"task.most_n=6 is less than 8"):
        make(most_n=6)
    with pytest.raises(UserError, match=r"task.beyond has 3, but training draws every n up to 4"):
        Counting(None, letters=2, levels=[4], beyond=[3], most_n=9, threshold=0.1, batch_size=2, goal=GOAL)
    model = Counter(2, knows=1)
    model.encoder = nn.Identity()
    model.encoder.bidirectional = True  # type: ignore[assignment]
    task = make()
    with pytest.raises(UserError, match=r"model.bidirectional=true would show the next symbol"):
        task.loss(model, next(task.batches("valid")), None)
