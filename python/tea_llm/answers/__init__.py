"""From what a model wrote to content, reasoning and calls."""
