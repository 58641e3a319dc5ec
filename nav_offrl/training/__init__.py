"""The offline loop: configuration, checkpoints, metrics, run folder."""
