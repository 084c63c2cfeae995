"""Texts to embed: a thousand about everyday things, and the edges. The same in every process."""

from __future__ import annotations

import random

_WHO = (
    "the old sailor",
    "a nurse",
    "my neighbour",
    "the committee",
    "a young fox",
    "Dr. Müller",
    "the robot",
    "everyone",
)
_DID = (
    "repaired",
    "painted",
    "forgot",
    "sold",
    "described",
    "was afraid of",
    "dreamt about",
    "measured",
    "hid",
    "cooked",
)
_WHAT = (
    *("the broken engine", "a bowl of soup", "the tax report", "seven violins", "an email from Oslo", "the harbour"),
    *(
        "a database index",
        "the last train",
        "her grandmother's ring",
        "a theory of gravity",
        "the wet dog",
        "some bread",
    ),
)
_WHERE = (
    "in the kitchen",
    "at midnight",
    "during the storm",
    "for three weeks",
    "on the moon",
    "without a word",
    "again",
)
_MORE = (
    "It was raining.",
    "Nobody noticed!",
    "Why?",
    "See section 4.2 (draft).",
    "Cost: 12,50 €.",
    "That was in 1987.",
)


def sentences(n: int) -> list[str]:
    """Of one to six sentences each, 8 to 60 words, all different."""
    rng = random.Random(7)
    texts: dict[str, None] = {}
    while len(texts) < n:
        parts = []
        for _ in range(rng.randint(1, 5)):
            who, did, what, where = (rng.choice(words) for words in (_WHO, _DID, _WHAT, _WHERE))
            parts.append(f"{who} {did} {what} {where}.".capitalize())
            if rng.random() < 0.4:
                parts.append(rng.choice(_MORE))
        texts[" ".join(parts)] = None
    return list(texts)


EDGES = [
    "",
    " ",
    "a",
    "Hello, world!",
    "HELLO\tWORLD\n\n again",
    "naïve café, Straße, Ångström, İstanbul",
    "東京は日本の首都です。 北京 and 서울",
    "Привет, мир! Γειά σου Κόσμε. שלום",  # noqa: RUF001
    "🙂🙃 I ♥ emoji 👩‍👩‍👧 🇩🇪",
    "e = mc^2; f(x) := ∫ x dx ≤ 10 — “quoted” …",
    "null\x00byte and \u200bzero width \ufeff",
    "[CLS] [SEP] [UNK] [MASK] [PAD]",
    "snake_case camelCase https://example.org/a?b=c#d user@example.org",
    "a" * 100,
    "a" * 101,
    "before " + "b" * 150 + ", behind " + "c-" * 90,
    "é" * 101,
    "word " * 254,
    "word " * 510,
    "x y z " * 60,
]
"""Two have 256 and 512 tokens."""
