"""What each command does with its composed config: which module has which."""

# Name -> module.
COMMANDS = {
    "train": "train",
    "find_lr": "train",
    "evaluate": "evaluate",
    "cross_validate": "cross_validate",
    "predict": "recommend",
    "recommend": "recommend",
    "similar": "use_a_run",
    "add_items": "use_a_run",
    "map_embeddings": "map_embeddings",
    "report": "report",
    "export": "use_a_run",
    "demo": "use_a_run",
}
