"""The parity gate: what an export must agree on with torch before it is written."""
