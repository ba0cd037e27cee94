"""Wrong labels: models that make them, `corrupt` by their names, label files, and noisy labels as a value.

Nothing here trains: noise that asks a clean model for its opinion is handed the opinion.
"""
