"""A trained model in formats that others read, with its vocabularies and a model card."""
