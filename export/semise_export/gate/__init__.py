"""The parity gate: every graph must agree with torch, in the figures of the task, before a bundle is written."""
