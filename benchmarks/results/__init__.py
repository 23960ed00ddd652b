"""The measured tables and figures of the documentation, each from runs that can be repeated."""
