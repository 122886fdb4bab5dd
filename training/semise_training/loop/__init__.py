"""The training loop, its checkpoints, its monitors and its run folder."""
