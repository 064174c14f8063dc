"""Text that a language model writes, one token after the other."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gru_bench.data.vocabulary import EOS, keep_ends
from gru_bench.errors import UserError
from gru_bench.tasks.reading.base import device_of
from gru_bench.tasks.reading.language_modeling import LanguageReader

CLOSING = re.compile(r"([.,;:!?…)\]}%”])\1*|['’]\w+|n['’]t|''")
"""Tokens with no space before them."""
OPENING = re.compile(r"([(\[{$#@“])\1*|``")
"""Tokens with no space behind them."""
QUOTES = ('"', "'", "`")
"""Those that open and close alike."""
MOST_SHOWN = 10
DRAW_BYTES = 16
"""A token written takes the number that it is drawn by, and its id."""
LOGIT_BYTES = 32
"""Of one text and token of the vocabulary: its logit in 64 bits, sorted, added up, and where it came from."""


def write(
    model: nn.Module,
    reader: LanguageReader,
    prompt: str,
    /,
    *,
    num: int,
    steps: int,
    temperature: float,
    top_k: int | None,
    seed: int,
) -> list[str]:
    """Texts that begin with the prompt and go on as the model draws them.

    The prompt is read once, after the end of a line; then each drawn token is read by itself, with the state carried.
    Text number i depends on the seed and on i, not on how many are written.

    Args:
        model: A language model, in evaluation mode: ``(tokens, state) -> (logits, state)``.
        reader: Its own.
        prompt: What each text begins with; may be empty.
        num: Texts.
        steps: Tokens that each goes on for.
        temperature: Divides the logits: below 1 likely tokens become likelier. Above 0.
        top_k: Only the so many likeliest tokens are drawn; None for all.
        seed: Of the draws.

    Raises:
        UserError: The prompt has words, and none of them is in the vocabulary.
    """
    ids = ids_of(prompt, reader)
    device = device_of(model)
    draws_NS = torch.stack([draws(seed, number, steps) for number in range(num)]).to(device)
    written: list[Tensor] = []
    with torch.no_grad():
        inputs_TN = torch.tensor([reader.start, *ids], device=device)[:, None].expand(-1, num)
        state: Any = None
        for step in range(steps):
            logits_TNV, state = model(inputs_TN, state)
            chosen_N = draw(logits_TNV[-1].double() / temperature, draws_NS[:, step], top_k)
            written.append(chosen_N.cpu())
            inputs_TN = chosen_N[None]
    columns = torch.stack(written, dim=1).tolist()
    return [in_words([*ids, *column], reader) for column in columns]


def needed_bytes(reader: LanguageReader, *, num: int, steps: int) -> int:
    """Less than what :func:`write` needs for as many texts."""
    return num * (DRAW_BYTES * steps + LOGIT_BYTES * len(reader.tokens))


def unknown_in(prompt: str, reader: LanguageReader) -> list[str]:
    """The tokens of a prompt that the vocabulary lacks, each once.

    Raises:
        UserError: None of its tokens is known.
    """
    tokens = tokens_of(prompt, reader)
    unknown = [token for token in dict.fromkeys(tokens) if token not in reader.vocabulary.index]
    if tokens and len(unknown) == len(set(tokens)):
        what = "character" if reader.level == "char" else "word"
        shown = ", ".join(unknown[:MOST_SHOWN]) + (" ..." if len(unknown) > MOST_SHOWN else "")
        raise UserError(
            f"prompt: no {what} of it is in the model's vocabulary ({shown}); valid: one with known {what}s"
        )
    return unknown


def ids_of(prompt: str, reader: LanguageReader) -> list[int]:
    """The ids of a prompt; unknown tokens are ``<unk>``."""
    unknown_in(prompt, reader)
    return reader.vocabulary.encode(tokens_of(prompt, reader)).tolist()


def tokens_of(prompt: str, reader: LanguageReader) -> list[str]:
    """The tokens of a prompt, whose last line goes on."""
    tokens = [token for line in keep_ends(prompt) for token in reader.take_apart(line)]
    open_end = reader.level == "word" and prompt != "" and not prompt.endswith("\n")
    return tokens[:-1] if open_end else tokens  # take_apart() ends each line


def draws(seed: int, number: int, steps: int) -> Tensor:
    """(S,) numbers in [0, 1), in 64 bits, that text number ``number`` is drawn by."""
    content = hashlib.sha256(f"{seed} {number}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(content[:8], "big") >> 1)
    return torch.rand(steps, generator=generator, dtype=torch.float64)


def draw(logits_NV: Tensor, draws_N: Tensor, top_k: int | None) -> Tensor:
    """The token (N,) at which the probabilities, from the likeliest one on, add up to more than the number drawn."""
    sorted_NV, order_NV = logits_NV.sort(dim=1, descending=True, stable=True)
    cumulated_NV = sorted_NV[:, :top_k].softmax(dim=1).cumsum(dim=1)
    # the sum may stay below 1 by rounding
    at_N1 = (cumulated_NV <= draws_N[:, None] * cumulated_NV[:, -1:]).sum(dim=1, keepdim=True)
    return order_NV.gather(1, at_N1)[:, 0]


def in_words(ids: Sequence[int], reader: LanguageReader) -> str:
    """Ids as a text: characters as they are; words with spaces between them, and line ends for ``<eos>``."""
    tokens = reader.vocabulary.decode(ids)
    if reader.level == "char":
        return "".join(tokens)
    lines: list[list[str]] = [[]]
    for token in tokens:
        if token == EOS:
            lines.append([])
        else:
            lines[-1].append(token)
    return "\n".join(joined(line) for line in lines)


def joined(tokens: Sequence[str]) -> str:
    """The tokens of one line as people write them: punctuation stands at its word, quotes open and close in turn."""
    text, space = "", False
    open_quotes: set[str] = set()
    for token in tokens:
        closes = token in open_quotes or CLOSING.fullmatch(token) is not None
        opens = (token in QUOTES and not closes) or OPENING.fullmatch(token) is not None
        text += f" {token}" if space and not closes else token
        space = not opens
        if token in QUOTES:
            open_quotes ^= {token}
    return text
