"""Tables of rows, read and written: CSV, JSON, JSONL."""
