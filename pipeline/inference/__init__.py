"""Labels of recordings of any length: weights, windows, timelines, the web page."""
