"""From messages to prompts."""
