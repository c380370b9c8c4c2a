"""Metrics and intervals, run records, summaries, plots, the results page."""
