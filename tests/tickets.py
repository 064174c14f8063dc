"""Support tickets as people export them: quotes, line breaks, emoji, empty texts, labels that are missing."""

import csv
import random
from pathlib import Path

SAID = {
    "billing": ["I was charged twice for {what}", "The invoice for {what} is wrong", "Please refund {what}"],
    "login": ["I cannot sign in to {what}", "The password for {what} is refused", "{what} says my account is locked"],
    "bug": ["{what} crashes when I save", "Since the update {what} shows a blank page", "{what} loses my changes"],
}
WHAT = [
    "my order",
    "the app",
    "the web shop",
    'the "pro" plan',
    "the printer, upstairs",
    "version 2.0",
    "the café’s till",
]
BEFORE = ["", "Hi,\n", "Hello 👋, ", "URGENT: ", '"Quote" first: ', "Dear team,\n\n"]
AFTER = ["", ".", "!!", "\nThanks 🙏", ", can you help?", '\n\nSent from my "phone"']


def write_tickets(path: Path, rows: int = 400, seed: int = 0, noise: float = 0.15) -> Path:
    """Write a CSV with the columns ``text`` and ``queue``.

    Args:
        path: Of the file.
        rows: How many tickets.
        seed: Draws them.
        noise: Share of tickets whose label says nothing of their text; a tenth as many have no label.
    """
    draw = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "queue"])
        for number in range(rows):
            queue = draw.choice(list(SAID))
            text = draw.choice(SAID[queue]).format(what=draw.choice(WHAT))
            if draw.random() < noise:
                queue = draw.choice(list(SAID))
            label = "" if draw.random() < noise / 10 else queue
            writer.writerow(
                [number, draw.choice(BEFORE) + text + draw.choice(AFTER) + f" #{draw.randrange(10**6)}", label]
            )
    return path
