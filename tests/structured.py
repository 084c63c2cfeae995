"""Real answers under many schemas: `nox -s structured`. Each that is finished must be valid under its schema."""

from __future__ import annotations

import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import jsonschema

import tea_llm
from support.schemas import random_schema
from tea_llm.hub import pull

N_SCHEMAS = 100
QUESTION = [{"role": "user", "content": "Answer in JSON: describe any thing or person you like."}]


def main() -> None:
    """100 schemas that grow, some seeds each."""
    n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    with tea_llm.load(pull("smollm2-135m"), n_ctx=8192) as llm, ThreadPoolExecutor(8) as threads:

        def answer(index: int) -> tuple[int, str, str]:
            number, seed = divmod(index, n_seeds)
            schema = random_schema(random.Random(number), depth=1 + number // 20)
            result = llm.chat(QUESTION, response_format=schema, max_tokens=400, temperature=1.4, seed=seed)
            if result.finish_reason == "stop":
                validator = jsonschema.Draft202012Validator(
                    schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
                )
                validator.validate(json.loads(result.content))
            return len(json.dumps(schema)), result.finish_reason, result.content

        answers = list(threads.map(answer, range(N_SCHEMAS * n_seeds)))
    n_finished = sum(reason == "stop" for _, reason, _ in answers)
    sizes = sorted(size for size, _, _ in answers)
    print(
        f"{len(answers)} answers, {n_finished} finished, all of them valid; "
        f"schemas of {sizes[0]} to {sizes[-1]} characters, median {sizes[len(sizes) // 2]}"
    )


if __name__ == "__main__":
    main()
