"""What an answer must look like, written as llama.cpp's GBNF: from regular expressions and from JSON schemas."""
