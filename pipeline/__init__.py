"""What the scripts share. Imports go one way: inference and training, networks, data and
evaluation, files; settings lie below all of them.
"""
