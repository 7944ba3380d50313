"""Labels from teachers: large networks of `transformers` write our dataset format for a small one to learn from."""
