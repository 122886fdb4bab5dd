"""Pages, drawings and documents for people, made of answers."""
