"""Compiles regular expressions and JSON schemas to llama.cpp's GBNF grammars."""
