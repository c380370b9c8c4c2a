"""The one training loop, its checkpoints, trainings of several sets side by side."""
