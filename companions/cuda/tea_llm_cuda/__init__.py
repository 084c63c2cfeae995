"""The CUDA backend of tea-llm: a module in ``lib`` that ``tea_llm`` finds and loads. Nothing here is to be imported."""
