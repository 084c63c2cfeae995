"""Small vocabularies with tokenizers that work: SentencePiece, byte-level BPE and WordPiece.

Any text survives ``decode(encode(text))`` with the first two, with one exception that real SentencePiece vocabularies
share: U+2581, its stand-in for a space, comes back as a space. WordPiece lowercases and drops spaces by design.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field

SPACE = "\u2581"  # SentencePiece writes a space as this
CHATML_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|end|>")
WORDS = ("the", "and", "of", "to", "in", "is", "that", "hello", "world", "answer", "capital", "you", "for", "was")
WIDE = "\u00e9\u00fc\u03bb\u0436\u4f60\u597d\U0001f642"  # characters of 2, 3 and 4 bytes that are one token each

# llama_token_type in llama.h
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclass
class TinyVocab:
    """The tokens of a model in id order, and its tokenizer's GGUF keys.

    Attributes:
        model: GGUF's name of the tokenizer kind: "llama", "gpt2" or "bert".
        tokens: Token texts as the GGUF holds them; the index is the id.
        types: One ``llama_token_type`` for each token.
        scores: One score for each token (higher merges first); empty if the kind has none.
        keys: Further ``tokenizer.ggml.*`` keys, without that prefix.
        raw_bytes: The ids, in byte order, of the tokens that stand for one byte; empty for "bert".
        hidden: Ids that random weights should not favour: control tokens, unprintable bytes, parts of characters.
    """

    model: str
    tokens: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    keys: dict[str, object] = field(default_factory=dict)
    raw_bytes: list[int] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)

    def add(self, text: str, kind: int = NORMAL, score: float = 0.0) -> int:
        """The id of the new token."""
        self.tokens.append(text)
        self.types.append(kind)
        self.scores.append(score)
        token = len(self.tokens) - 1
        if kind != NORMAL:
            self.hidden.add(token)
        return token

    def id_of(self, text: str) -> int:
        """The id of the token written like this in the GGUF; ValueError if there is none."""
        return self.tokens.index(text)

    def pad_to(self, n_vocab: int) -> None:
        """Adds ordinary tokens, ``<extra0>`` and so on, up to the given size."""
        if n_vocab < len(self.tokens):
            raise ValueError(f"n_vocab={n_vocab}: this vocabulary has {len(self.tokens)} tokens of its own")
        for number in range(n_vocab - len(self.tokens)):
            self.add(f"<extra{number}>", NORMAL, -1000.0)

    def metadata(self) -> dict[str, object]:
        """All ``tokenizer.ggml.*`` keys."""
        keys: dict[str, object] = {"model": self.model, "tokens": self.tokens, "token_type": self.types, **self.keys}
        if self.model == "llama":
            keys["scores"] = self.scores
        return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


def spm_vocab(*, add_space_prefix: bool = True) -> TinyVocab:
    """A SentencePiece vocabulary with the 256 byte tokens, as Llama 2, Gemma and Phi-3 have."""
    vocab = TinyVocab("llama")
    vocab.add("<unk>", UNKNOWN)
    vocab.add("<s>", CONTROL)
    vocab.add("</s>", CONTROL)
    vocab.raw_bytes = [vocab.add(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    for text in CONTROL_TOKENS:
        vocab.add(text, CONTROL)
    for character in SPACE + string.ascii_letters + string.digits + string.punctuation + WIDE:
        vocab.add(character, NORMAL, -100.0)
    for rank, piece in enumerate(_pieces(SPACE)):
        vocab.add(piece, NORMAL, -float(rank))
    vocab.keys = {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        "add_bos_token": True,
        "add_eos_token": False,
        "add_space_prefix": add_space_prefix,
    }
    return vocab


def bpe_vocab() -> TinyVocab:
    """A byte-level BPE vocabulary as GPT-2 and Qwen have, without a BOS token."""
    vocab = TinyVocab("gpt2")
    letters = _byte_letters()
    vocab.raw_bytes = [vocab.add(letters[byte]) for byte in range(256)]
    vocab.hidden.update(token for byte, token in enumerate(vocab.raw_bytes) if not ord(" ") <= byte <= ord("~"))
    merges = []
    for piece in _pieces(letters[ord(" ")]):
        vocab.add(piece)
        merges.append(f"{piece[:-1]} {piece[-1]}")
    for character in WIDE:
        spelled = "".join(letters[byte] for byte in character.encode())
        for end in range(2, len(spelled) + 1):
            if spelled[:end] not in vocab.tokens:
                token = vocab.add(spelled[:end])
                merges.append(f"{spelled[: end - 1]} {spelled[end - 1]}")
                if end < len(spelled):
                    vocab.hidden.add(token)
    end_of_text = vocab.add("<|endoftext|>", CONTROL)
    for text in CONTROL_TOKENS:
        vocab.add(text, CONTROL)
    vocab.keys = {
        "pre": "qwen2",
        "merges": merges,
        "eos_token_id": end_of_text,
        "padding_token_id": end_of_text,
        "add_bos_token": False,
    }
    return vocab


def wordpiece_vocab() -> TinyVocab:
    """A WordPiece vocabulary as BERT has: lowercased words, in the spelling of llama.cpp's converter."""
    vocab = TinyVocab("bert")
    cls, sep, mask = 2, 3, 4
    vocab.add("[PAD]", CONTROL)
    vocab.add("[UNK]", UNKNOWN)
    for text in ("[CLS]", "[SEP]", "[MASK]"):
        vocab.add(text, CONTROL)
    for character in string.ascii_lowercase + string.digits:
        vocab.add(SPACE + character)
        vocab.add(character)
    for character in string.punctuation:
        vocab.add(SPACE + character)
    for word in WORDS:
        vocab.add(SPACE + word)
    vocab.keys = {
        "token_type_count": 2,
        "padding_token_id": 0,
        "unknown_token_id": 1,
        "bos_token_id": cls,
        "cls_token_id": cls,
        "seperator_token_id": sep,  # GGUF's spelling
        "mask_token_id": mask,
    }
    return vocab


def _pieces(space: str) -> list[str]:
    """Every prefix, from two characters on, of every word with a space before it."""
    pieces: dict[str, None] = {}
    for word in WORDS:
        for end in range(1, len(word) + 1):
            pieces[space + word[:end]] = None
    return list(pieces)


def _byte_letters() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(printable))
    return letters
