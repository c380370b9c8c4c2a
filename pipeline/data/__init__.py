"""ESC-10: classes, divisions, the mixture table, levels and mixing; the synthetic set."""
