"""Records the token ids of Hugging Face's ``tokenizers`` for every assigned code point: tests/native/wordpiece.npz.

    python3 -m venv /tmp/hf && /tmp/hf/bin/pip install gguf numpy tokenizers unicodedata2
    PYTHONPATH=tests /tmp/hf/bin/python tests/native/record_wordpiece.py

The vocabulary is that of llama.cpp's ggml-vocab-bert-bge.gguf, which BERT's uncased English models share.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import unicodedata2  # type: ignore[import-not-found,unused-ignore]
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers  # type: ignore[import-not-found,unused-ignore]

from support.scripts import SCRIPTS
from support.vocab_fixtures import LLAMA_CPP

field = gguf.GGUFReader(LLAMA_CPP / "models" / "ggml-vocab-bert-bge.gguf").fields["tokenizer.ggml.tokens"]
words = [bytes(field.parts[index]).decode() for index in field.data]
first = words.index("[PAD]"), words.index("[UNK]"), words.index("[CLS]"), words.index("[SEP]"), words.index("[MASK]")
vocabulary = {
    word if index in first else word[1:] if word.startswith("\u2581") else "##" + word: index
    for index, word in enumerate(words)
}


def reference(lowers: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowers)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


uncased, cased = reference(True), reference(False)
codes = [code for code in range(0x110000) if unicodedata2.category(chr(code)) not in ("Cn", "Co", "Cs")]
ids = [uncased.encode(f"a{chr(code)}b {chr(code)}").ids for code in codes]
recorded = {
    "codes": np.diff(codes, prepend=0).astype(np.uint32),  # steps, which compress
    "lengths": np.array([len(one) for one in ids], np.uint8),
    "ids": np.array([token for one in ids for token in one], np.uint16),
}
for name, text in SCRIPTS.items():
    recorded[name] = np.array(uncased.encode(text).ids, np.uint16)
    recorded[f"{name}, cased"] = np.array(cased.encode(text).ids, np.uint16)
target = Path(__file__).with_name("wordpiece.npz")
np.savez_compressed(target, **recorded)  # type: ignore[arg-type]  # its allow_pickle is not among them
print(f"{target}: {len(codes)} code points of Unicode {unicodedata2.unidata_version}, {target.stat().st_size} bytes")
