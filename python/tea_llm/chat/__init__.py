"""Turns messages into prompts."""
