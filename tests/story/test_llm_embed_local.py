"""AC-3: ``llm.embed`` makes vectors with the local model."""

from __future__ import annotations

import math
from typing import Any


def test_llm_embed_gives_a_vector(run: Any) -> None:
    result = run("llm.embed", text="A document")
    vector = result["embedding"]
    assert result["dimensions"] == len(vector) == 576
    assert all(isinstance(number, float) for number in vector)
    assert math.isclose(sum(number * number for number in vector), 1, abs_tol=1e-4)


def test_similar_texts_have_a_higher_similarity(run: Any) -> None:
    near = run("llm.similarity", text_a="The cat sat on the mat.", text_b="A cat was sitting on a mat.")
    far = run("llm.similarity", text_a="The cat sat on the mat.", text_b="Quarterly revenue rose by 3 %.")
    assert near["cosine_similarity"] > far["cosine_similarity"]
