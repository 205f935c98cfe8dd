"""What a token and a text cost to generate, with and without a KV cache, and to read at once."""
